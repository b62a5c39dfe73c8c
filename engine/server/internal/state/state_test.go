package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/engine/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.UnixMilli(1_700_000_000_000)

func open(t *testing.T, dir vfs.FS) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func change(t *testing.T, s *Store, f func(*Draft)) {
	t.Helper()
	d, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.End()
	f(d)
	if err := d.Save(noon); err != nil {
		t.Fatal(err)
	}
}

func example(d *Draft) {
	d.Account = Account{Started: 5, Ended: 6}
	s := d.Stream("orders", 7)
	s.Phase.Enter(Updating, noon, time.Second)
	s.OnDemand, s.AnyShard, s.WarmThroughput = true, true, 10
	s.KeyID, s.Policy, s.Metrics = "alias/k", `{"a":"b"}`, []string{"IncomingBytes"}
	s.Reshards, s.Modes, s.Encryptions = []int64{1}, []int64{2}, []int64{3}
	c := s.Register("app", noon)
	c.Tags, c.Policy = map[string]string{"k": "v"}, "{}"
	c.Phase.Enter(Creating, noon, time.Second)
}

func TestAStateComesBackAsItWasSaved(t *testing.T) {
	dir := vfs.Memory()
	s := open(t, dir)
	change(t, s, example)
	again := open(t, dir)
	if !reflect.DeepEqual(s.Load(), again.Load()) {
		t.Fatalf("saved\n%+v\nloaded\n%+v", s.Load(), again.Load())
	}
	if len(again.Load().Secret) != 32 || len(again.Load().Streams) != 1 {
		t.Fatalf("%+v", again.Load())
	}
}

func TestAPowerCutLeavesTheOldStateOrTheNewOne(t *testing.T) {
	dir := vfs.NewCrash()
	s := open(t, dir)
	born := dir.Ops()
	var saved []int // changes of the directory after which a save was acknowledged
	for i := range 3 {
		change(t, s, func(d *Draft) { d.Stream(fmt.Sprintf("s%d", i), 1).OnDemand = true })
		saved = append(saved, dir.Ops())
	}
	for r := dir.Replay(); r.Step(); {
		least, most := 0, 0
		for _, at := range saved {
			if at <= r.At() {
				least++
			}
		}
		most = least + 1
		for seed := range uint64(20) {
			b, err := read(r.Image(seed))
			if err != nil && r.At() < born {
				continue // there was none yet
			}
			if err != nil {
				t.Fatalf("after %d changes, seed %d: %v", r.At(), seed, err)
			}
			got, err := decode(b)
			if err != nil {
				t.Fatalf("after %d changes, seed %d: %v", r.At(), seed, err)
			}
			if n := len(got.Streams); n < least || n > most {
				t.Fatalf("after %d changes, seed %d: %d streams, want %d or %d", r.At(), seed, n, least, most)
			}
		}
	}
}

func TestASaveThatFailsChangesNothing(t *testing.T) {
	full := errors.New("disk full")
	for _, kind := range []vfs.OpKind{vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpRename, vfs.OpSyncDir} {
		dir := vfs.NewCrash()
		s := open(t, dir)
		change(t, s, example)
		before := s.Load()
		dir.Fail(func(op vfs.Op) error {
			if op.Kind == kind {
				return full
			}
			return nil
		})
		d, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d.Stream("orders", 7).Policy = "another"
		if err := d.Save(noon); !errors.Is(err, full) {
			t.Fatalf("%v: %v", kind, err)
		}
		d.End()
		if s.Load() != before || s.Load().Streams["orders"].Policy != `{"a":"b"}` {
			t.Fatalf("%v: the state was changed", kind)
		}
		dir.Fail(nil)
		change(t, s, func(d *Draft) { d.Stream("orders", 7).Policy = "later" })
		if got := open(t, dir).Load().Streams["orders"].Policy; got != "later" {
			t.Fatalf("%v: then %q", kind, got)
		}
	}
}

func TestWhatEverybodySeesIsNotChangedByADraft(t *testing.T) {
	s := open(t, vfs.Memory())
	change(t, s, example)
	seen := s.Load()
	text, _ := encode(seen)
	d, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	touch := func() {
		one := d.Stream("orders", 7)
		one.Metrics[0], one.Reshards[0] = "x", 9
		one.Consumers[0].Tags["k"] = "other"
		one.Register("b", noon)
		d.Stream("new", 1).OnDemand = true
	}
	touch()
	if after, _ := encode(seen); !bytes.Equal(text, after) {
		t.Fatal("a draft that is not saved is seen")
	}
	if err := d.Save(noon); err != nil {
		t.Fatal(err)
	}
	seen = s.Load()
	text, _ = encode(seen)
	d.Stream("orders", 7).Consumers[0].Tags["k"] = "third"
	touch()
	if after, _ := encode(seen); !bytes.Equal(text, after) {
		t.Fatal("what a draft changes after it was saved is seen")
	}
	d.End()
}

func TestOneChangesAtATimeAndWhoWaitsMayGiveUp(t *testing.T) {
	s := open(t, vfs.Memory())
	d, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("no more patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := s.Begin(ctx); !errors.Is(err, why) {
		t.Fatalf("%v", err)
	}
	d.End()
	change(t, s, func(*Draft) {})
}

func TestAnotherIncarnationBeginsWithNothing(t *testing.T) {
	s := open(t, vfs.Memory())
	change(t, s, example)
	change(t, s, func(d *Draft) {
		if one := d.Stream("orders", 8); one.OnDemand || len(one.Consumers) > 0 {
			t.Errorf("%+v", one)
		}
	})
}

func TestWhatIsLeftOfStreamsAndConsumersThatWentIsTakenAway(t *testing.T) {
	s := open(t, vfs.Memory())
	change(t, s, func(d *Draft) {
		d.Stream("gone", 1).OnDemand = true
		d.Stream("recreated", 1).OnDemand = true
		d.Stream("was made", 0).OnDemand = true
		d.Stream("was not made", 0).OnDemand = true
		d.Stream("blank", 4).Phase.Enter(Creating, noon, time.Second)
		one := d.Stream("stays", 5)
		one.Register("gone", noon).Phase.Enter(Deleting, noon, time.Second)
		one.Register("there", noon)
	})
	there := map[string]int64{"recreated": 2, "was made": 3, "blank": 4, "stays": 5}
	exists := func(name string) (int64, bool, error) { created, ok := there[name]; return created, ok, nil }
	change(t, s, func(d *Draft) { d.Prune(noon, exists) })
	if one := s.Load().Streams["blank"]; one == nil || one.Status(noon) != Creating {
		t.Errorf("what is being created was forgotten: %+v", one)
	}
	d, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	later := noon.Add(2 * time.Second)
	if err := errors.Join(d.Prune(later, exists), d.Save(later)); err != nil {
		t.Fatal(err)
	}
	d.End()
	left := s.Load().Streams
	if len(left) != 2 || left["was made"].Created != 3 || len(left["stays"].Consumers) != 1 {
		t.Fatalf("%+v", left)
	}
}

func TestNothingIsPrunedWhileItIsNotKnownWhatIsThere(t *testing.T) {
	s := open(t, vfs.Memory())
	change(t, s, example)
	closed := errors.New("closed")
	change(t, s, func(d *Draft) {
		if err := d.Prune(noon, func(string) (int64, bool, error) { return 0, false, closed }); !errors.Is(err, closed) {
			t.Errorf("%v", err)
		}
	})
	if len(s.Load().Streams) != 1 {
		t.Error("the stream was forgotten")
	}
}

func TestADraftThatChangedNothingIsNotWritten(t *testing.T) {
	dir := vfs.NewCrash()
	s := open(t, dir)
	change(t, s, example)
	before := dir.Ops()
	change(t, s, func(d *Draft) { d.Stream("another", 1) })
	if n := dir.Ops() - before; n != 0 {
		t.Fatalf("%d changes of the directory", n)
	}
}

func TestACommitmentLastsForADayAtLeast(t *testing.T) {
	var a Account
	if a.Committed(noon) {
		t.Error("committed from the beginning")
	}
	a.EndCommitment(noon)
	a.Commit(noon)
	a.EndCommitment(noon.Add(time.Hour))
	if !a.Committed(noon.Add(23*time.Hour)) || a.Committed(noon.Add(24*time.Hour)) {
		t.Errorf("%+v", a)
	}
	a.Commit(noon.Add(2 * time.Hour)) // goes on
	if a.Started != noon.UnixMilli() || !a.Committed(noon.Add(48*time.Hour)) {
		t.Errorf("%+v", a)
	}
	a.EndCommitment(noon.Add(30 * time.Hour))
	if a.Committed(noon.Add(30 * time.Hour)) {
		t.Errorf("%+v", a)
	}
	a.Commit(noon.Add(31 * time.Hour))
	if a.Started != noon.Add(31*time.Hour).UnixMilli() {
		t.Errorf("%+v", a)
	}
}

func TestPhasesEndByThemselvesButForDeletion(t *testing.T) {
	for _, c := range []struct {
		enter Status
		after time.Duration
		want  Status
	}{
		{"", 0, Active},
		{Creating, 0, Creating},
		{Creating, 999 * time.Millisecond, Creating},
		{Creating, time.Second, Active},
		{Updating, 0, Updating},
		{Updating, time.Second, Active},
		{Deleting, 0, Deleting},
		{Deleting, time.Hour, Deleting},
		{Creating, -time.Second, Active}, // the clock was set back
	} {
		var p Phase
		if c.enter != "" {
			p.Enter(c.enter, noon, time.Second)
		}
		if got := p.at(noon.Add(c.after)); got != c.want {
			t.Errorf("%s after %v: %s, want %s", c.enter, c.after, got, c.want)
		}
	}
}

func TestConsumersOfOneNameDifferInTheirSecond(t *testing.T) {
	s := &Stream{}
	seen := map[int64]bool{}
	for range 5 {
		c := s.Register("app", noon)
		if seen[c.Created/1000] {
			t.Fatalf("second %d was given twice", c.Created/1000)
		}
		seen[c.Created/1000] = true
		c.Phase.Enter(Deleting, noon, 0)
		if s.Consumer("app", noon) != nil || len(s.Consumers) != 1 {
			t.Fatalf("%+v", s.Consumers)
		}
	}
}

func TestConsumersAreInTheOrderOfTheirNames(t *testing.T) {
	s := &Stream{}
	for _, name := range []string{"b", "a", "c"} {
		s.Register(name, noon)
	}
	if s.Consumers[0].Name != "a" || s.Consumers[1].Name != "b" || s.Consumers[2].Name != "c" {
		t.Fatalf("%+v", s.Consumers)
	}
}

func put(t *testing.T, dir vfs.FS, b []byte) {
	t.Helper()
	f, err := dir.Create(Name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

func TestANewerVersionAndDamageAreRefusedWithTheFix(t *testing.T) {
	dir := vfs.Memory()
	change(t, open(t, dir), example)
	whole, err := read(dir)
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, []byte("millrace-server 2 something else\n"))
	if _, err := Open(dir); !errors.Is(err, ErrVersion) {
		t.Errorf("a newer version: %v", err)
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		if _, err := decode(b); err == nil || !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err := decode(whole[:i]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d: %v", i, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	b, _ := encode(&State{Secret: make([]byte, 32), Streams: map[string]*Stream{"s": {Consumers: []*Consumer{{Name: "a"}}}}})
	f.Add(b[25:])
	f.Add([]byte(`{"secret":"","streams":{"a":null,"b":{"consumers":[null]}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		decode(body)
		s, err := decode(sealed(body))
		if err != nil {
			return
		}
		store := &Store{dir: vfs.Memory(), turn: make(chan struct{}, 1)}
		store.now.Store(s)
		change(t, store, func(d *Draft) {
			for name, one := range s.Streams {
				d.Stream(name, one.Created).Register("x", noon)
			}
			d.Prune(noon, func(string) (int64, bool, error) { return 1, true, nil })
		})
	})
}
