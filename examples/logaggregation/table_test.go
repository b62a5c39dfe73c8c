package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func Example_writeTables() {
	minute := func(m int) time.Time { return time.Date(2026, 11, 20, 6, m, 0, 0, time.UTC) }
	writeTables(os.Stdout, []entry{
		{Access, minute(0), "200", 1234},
		{Access, minute(0), "404", 5},
		{Access, minute(1), "200", 7},
		{Syslog, time.Time{}, "emerg", 1},
		{Syslog, minute(1), "debug", 2},
		{Unknown, time.Time{}, "unknown", 3},
	})
	// Output:
	// access log: lines by minute and status
	//             minute    200  404  total
	//   2026-11-20 06:00  1,234    5  1,239
	//   2026-11-20 06:01      7    ·      7
	//              total  1,241    5  1,246
	//
	// syslog: lines by minute and level
	//             minute  emerg  debug  total
	//            no time      1      ·      1
	//   2026-11-20 06:01      ·      2      2
	//              total      1      2      3
	//
	//    format  lines
	//    access  1,246
	//    syslog      3
	//      dpkg      0
	//   unknown      3
	//     total  1,252
}

func TestLongTablesAreCutAndTheirSumsAreNot(t *testing.T) {
	var entries []entry
	for i := range 1000 {
		at := time.Date(2026, 11, 20, 6, i, 0, 0, time.UTC)
		for status := range 15 {
			entries = append(entries, entry{Access, at, fmt.Sprint(200 + status), int64(status + 1)})
		}
	}
	var b strings.Builder
	writeTables(&b, entries)
	out := b.String()
	if n := strings.Count(out, "\n"); n > mostMinutes+15 {
		t.Errorf("%d rows", n)
	}
	for _, want := range []string{"970 earlier", "other", "120,000"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

func TestNumbersAreGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", 100000: "100,000"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is written %q", n, got)
		}
	}
}
