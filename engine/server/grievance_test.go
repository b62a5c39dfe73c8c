package server

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/stream"
)

func TestAFailureThatComesAgainIsToldOfOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &Server{config: Config{Logger: logTo(&log)}}
		here := &stream.CorruptError{Shard: "shardId-000000000000", File: "1.log", Offset: 4096, Detail: "checksum"}
		there := &stream.CorruptError{Shard: "shardId-000000000000", File: "1.log", Offset: 8192, Detail: "checksum"}
		for range 180 { // polls, for three minutes
			for _, err := range []error{here, there} {
				if f := s.translate(err); f.name != "InternalFailureException" {
					t.Fatal(f)
				}
			}
			s.putFailure("orders", &stream.PutResult{Err: errors.New("disk full")})
			time.Sleep(time.Second)
		}
		for _, what := range []string{"4096", "8192", "disk full"} {
			if n := strings.Count(log.String(), what); n != 3 {
				t.Errorf("%d lines of %s in three minutes", n, what)
			}
		}
		for i := range 10_000 {
			s.translate(fmt.Errorf("failure %d", i))
		}
		if n := len(s.grievances.told); n > mostTold {
			t.Errorf("%d failures are kept", n)
		}
	})
}
