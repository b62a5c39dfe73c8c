package lease

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTroubleIsToldOfNowAndThenAndSoIsTheErrorThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told bytes.Buffer
		log := slog.New(slog.NewTextHandler(&told, nil))
		lines := func(text string) int { return strings.Count(told.String(), text) }
		joining := trouble{what: "joining"}

		joining.met(t.Context(), log, errors.New("no answer"))
		for range 60 {
			time.Sleep(time.Second)
			joining.met(t.Context(), log, errors.New("no table"))
		}
		if n := lines("no table"); n < 2 || n > 5 {
			t.Errorf("of the error that stays a person is told %d times in a minute:\n%s", n, told.String())
		}
		for range 3600 {
			time.Sleep(time.Second)
			joining.met(t.Context(), log, errors.New("no table"))
		}
		if n := lines("level=WARN"); n < 10 || n > 16 {
			t.Errorf("%d lines in an hour:\n%s", n, told.String())
		}
		joining.over(t.Context(), log)
		if lines("works again") != 1 {
			t.Errorf("that it is over is not told:\n%s", told.String())
		}

		told.Reset()
		for range 60 { // it comes and goes
			time.Sleep(10 * time.Second)
			joining.met(t.Context(), log, errors.New("no answer"))
			joining.over(t.Context(), log)
		}
		if n := lines("joining"); n > 4 {
			t.Errorf("%d lines in ten minutes of trouble that comes and goes:\n%s", n, told.String())
		}
	})
}

func TestTroubleThatComesBackAndStaysIsToldOfAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told bytes.Buffer
		log := slog.New(slog.NewTextHandler(&told, nil))
		beats := trouble{what: "beat"}
		beats.met(t.Context(), log, errors.New("no answer"))
		time.Sleep(time.Second)
		beats.over(t.Context(), log)

		for again := range 3 {
			time.Sleep(time.Minute)
			told.Reset()
			for range 5 {
				beats.met(t.Context(), log, errors.New("password authentication failed"))
				time.Sleep(3 * time.Second)
			}
			if lines := strings.Count(told.String(), "password"); lines < 1 || lines > 3 {
				t.Errorf("outage %d: in the first 15 seconds a person is told %d times:\n%s", again, lines, told.String())
			}
			beats.over(t.Context(), log)
			if !strings.HasSuffix(strings.TrimSpace(told.String()), "failed_for=15s") {
				t.Errorf("outage %d: how long it lasted is not told last:\n%s", again, told.String())
			}
		}
	})
}
