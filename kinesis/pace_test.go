package kinesis

import (
	"testing"
	"time"
)

func TestShardsAtRestAreAskedTogether(t *testing.T) {
	begin := time.Unix(1_790_000_000, 0)
	for i := range 1000 {
		asked := begin.Add(time.Duration(i) * 1234567 * time.Nanosecond)
		for _, gap := range []time.Duration{0, 250 * time.Millisecond, time.Second, 7 * time.Second} {
			got := together(asked, gap)
			if early := asked.Add(gap).Sub(got); early < 0 || early >= moment || gap < time.Second && early != 0 {
				t.Fatalf("a gap of %v ends %v early", gap, early)
			}
			if gap >= time.Second && got.UnixNano()%int64(moment) != 0 {
				t.Fatalf("%v is no common moment", got)
			}
		}
	}
}
