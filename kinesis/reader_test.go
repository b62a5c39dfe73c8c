package kinesis

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/stream"
)

const first = "shardId-000000000000"

func openAt(t testing.TB, s *Stream, shard string, from stream.Position) stream.Reader {
	t.Helper()
	r, err := s.Open(t.Context(), shard, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// read reads n records, whose payloads are to be numbers from first on.
func read(t testing.TB, r stream.Reader, first, n int) (last stream.Sequence) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	var b stream.Batch
	for got := 0; got < n; got += len(b.Records) {
		if err := r.Next(ctx, &b); err != nil {
			t.Fatalf("after %d of %d records: %v", got, n, err)
		}
		for i, record := range b.Records {
			if want := strconv.Itoa(first + got + i); strings.TrimRight(string(record.Data), "\x00") != want {
				t.Fatalf("record %s came, want %s", record.Data, want)
			}
		}
		last = b.Records[len(b.Records)-1].Sequence
	}
	return last
}

// nothingIn checks that Next gives nothing for a while.
func nothingIn(t testing.TB, r stream.Reader, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var b stream.Batch
	if err := r.Next(ctx, &b); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("next: %v, %d records", err, len(b.Records))
	}
}

func TestAQuietShardIsAskedEverMoreRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		r := openAt(t, s.stream(Config{}), first, stream.TrimHorizon)
		s.put(0, 1, 10)
		read(t, r, 0, 1)
		nothingIn(t, r, 10*time.Minute)
		asked := s.asked["GetRecords"]
		gap := func(i int) time.Duration { return asked[i+1].Sub(asked[i]) }
		for i := range len(asked) - 1 {
			if least := 200 * time.Millisecond; gap(i) < least || gap(i) > 10*time.Second {
				t.Fatalf("read %d comes %v after the one before", i+1, gap(i))
			}
		}
		if gap(1) > 250*time.Millisecond || gap(len(asked)-2) < 9*time.Second {
			t.Errorf("the gaps begin with %v and end with %v, want 250ms and 10s", gap(1), gap(len(asked)-2))
		}
		s.put(0, 1, 10)
		read(t, r, 1, 1)
		nothingIn(t, r, time.Second)
		if asked = s.asked["GetRecords"]; gap(len(asked)-2) > 250*time.Millisecond {
			t.Errorf("after a record a shard is asked after %v", gap(len(asked)-2))
		}
	})
}

func TestAShardWithoutLimitsIsReadAsFastAsItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.put(0, 30_000, 1000)
		r := openAt(t, s.stream(Config{}), first, stream.TrimHorizon)
		begin := time.Now()
		read(t, r, 0, 30_000)
		if took := time.Since(begin); took > 0 {
			t.Errorf("reading on waited %v", took)
		}
	})
}

func TestAShardThatAlwaysPromisesMoreIsNotAskedWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.boasts = true
		r := openAt(t, s.stream(Config{}), first, stream.TrimHorizon)
		time.Sleep(time.Millisecond)
		nothingIn(t, r, time.Minute)
		if n := s.count("GetRecords"); n > 500 {
			t.Errorf("it was asked %d times in a minute", n)
		}
	})
}

func TestAReaderKeepsToTheLimitsOnceItWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.limited = true
		s.put(0, 60_000, 1000)
		begin := time.Now()
		r := openAt(t, s.stream(Config{}), first, stream.TrimHorizon)
		read(t, r, 0, 60_000)
		took := time.Since(begin)
		if least := time.Duration(60_000 * 1000 / (2 << 20) * float64(time.Second)); took > 5*least/4 {
			t.Errorf("60 MB took %v, want about %v", took, least)
		}
		if refused := r.(*reader).feed.refusals; refused > 1 {
			t.Errorf("refused %d times in a row", refused)
		}
		if calls := s.count("GetRecords"); calls > 40 {
			t.Errorf("60 MB took %d reads", calls)
		}
	})
}

func TestReadersOfOneShardShareItsReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.limited = true
		s.put(0, 40_000, 1000)
		const readers = 3
		done := make(chan time.Duration, readers)
		begin := time.Now()
		for range readers {
			// Each in a process of its own: they learn nothing from each other.
			r := openAt(t, s.stream(Config{}), first, stream.TrimHorizon)
			go func() {
				read(t, r, 0, 40_000)
				done <- time.Since(begin)
			}()
		}
		<-done
		<-done
		if latest, alone := <-done, 20*time.Second; latest > 2*readers*alone {
			t.Errorf("three readers took %v, want not much more than three times %v; they read %d times", latest, alone, s.count("GetRecords"))
		}
	})
}

func TestAnExpiredIteratorIsRenewedBehindTheLastRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		st := s.stream(Config{})
		for _, from := range []stream.Position{stream.TrimHorizon, stream.AtTime(time.Now()), stream.Latest} {
			r := openAt(t, st, first, from)
			n := len(s.shards[0].records)
			if from != stream.Latest {
				n = 0
			}
			time.Sleep(6 * time.Minute) // nobody asked in this time
			s.put(0, 3, 10)
			read(t, r, n, len(s.shards[0].records)-n)
			time.Sleep(6 * time.Minute)
			m := len(s.shards[0].records)
			s.put(0, 2, 10)
			read(t, r, m, 2)
		}
		if n := s.count("GetShardIterator"); n < 9 {
			t.Errorf("only %d iterators were asked for", n)
		}
	})
}

func TestARefusedReaderWaitsAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.put(0, 100, 10)
		s.fault = func(op string, n int) error {
			if (op == "GetRecords" || op == "GetShardIterator") && n%5 != 0 {
				return &types.ProvisionedThroughputExceededException{Message: aws.String("rate exceeded")}
			}
			return nil
		}
		read(t, openAt(t, s.stream(Config{PageBytes: 100}), first, stream.TrimHorizon), 0, 100)
		asked := s.asked["GetRecords"]
		for i := 1; i < len(asked); i++ {
			if gap := asked[i].Sub(asked[i-1]); gap < throttledMin {
				t.Fatalf("read %d comes %v after one that was refused", i, gap)
			}
		}
	})
}

func TestAReaderIsOnePageAheadAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.put(0, 20_000, 1000)
		r := openAt(t, s.stream(Config{PageBytes: 1 << 20}), first, stream.TrimHorizon)
		b := stream.Batch{MaxBytes: 256 << 10}
		held := 0
		for got := 0; got < 20_000; got += len(b.Records) {
			if err := r.Next(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // what is read ahead is there
			before := s.count("GetRecords")
			time.Sleep(time.Second)
			if after := s.count("GetRecords"); after != before {
				t.Fatal("the reader reads on although nobody takes what it has")
			}
			rd := r.(*reader)
			if rd.ahead != nil {
				f := <-rd.ahead
				rd.ahead <- f
				held = max(held, sizeOf(f.page)+sizeOf(rd.page))
			}
		}
		if held > 5<<20/2 {
			t.Errorf("a reader with pages of 1 MiB holds %d bytes", held)
		}
		if held < 1<<20 {
			t.Errorf("nothing is read ahead: %d bytes are held", held)
		}
	})
}

func TestAReaderOfLargePagesReadsAheadWhenOneIsNearlyUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.put(0, 20, 1<<20)
		r := openAt(t, s.stream(Config{PageBytes: 2 << 20}), first, stream.TrimHorizon)
		b := stream.Batch{MaxRecords: 1}
		for i := range 20 {
			if err := r.Next(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			// The first page is of ten records, since they were thought to be small.
			if n := s.count("GetRecords"); i < 7 && n > 1 || i == 9 && n < 2 {
				t.Errorf("after %d records of 1 MiB there were %d reads", i+1, n)
			}
		}
	})
}

func sizeOf(p *page) (bytes int) {
	for _, c := range p.chunks {
		bytes += cap(c)
	}
	return bytes + cap(p.entries)*56
}

func TestAClosedReaderLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.put(0, 20_000, 1000)
		s.fault = func(op string, n int) error {
			if op == "GetRecords" && n > 1 {
				return &types.ProvisionedThroughputExceededException{}
			}
			return nil
		}
		r := openAt(t, s.stream(Config{}), first, stream.TrimHorizon)
		read(t, r, 0, 4096)
		r.Close() // synctest fails when a goroutine is left
		if err := r.Next(t.Context(), &stream.Batch{}); !errors.Is(err, stream.ErrClosed) {
			t.Errorf("next: %v", err)
		}
	})
}

func TestRecordsThatAServiceRepeatsComeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.repeats = true
		s.put(0, 10, 10)
		r := openAt(t, s.stream(Config{PageBytes: 3 << 10}), first, stream.TrimHorizon)
		read(t, r, 0, 10)
		nothingIn(t, r, time.Minute)
		again := openAt(t, s.stream(Config{}), first, stream.After(mustParse(t, s.number(0, 6))))
		read(t, again, 7, 3)
	})
}

func mustParse(t testing.TB, text string) stream.Sequence {
	t.Helper()
	seq, err := stream.ParseSequence(text)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func TestTheChildrenOfAnEndedShardAreFoundWhereTheAnswerDoesNotNameThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, noChildren := range []bool{false, true} {
			s := newService(t, 2)
			s.noChildren, s.pageOfShards = noChildren, 1
			s.put(1, 5, 10)
			s.split(1)
			r := openAt(t, s.stream(Config{}), "shardId-000000000001", stream.TrimHorizon)
			read(t, r, 0, 5)
			for range 2 {
				end, ok := errors.AsType[*stream.ShardEndError](r.Next(t.Context(), &stream.Batch{}))
				if !ok || len(end.Children) != 2 || end.Children[0].ID != "shardId-000000000002" || !slices.Equal(end.Children[1].Parents, []string{"shardId-000000000001"}) {
					t.Errorf("the end is %+v", end)
				}
			}
		}
	})
}

func TestTheChildrenOfAShardThatLeftItsStreamSinceItsEndWasReadAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.noChildren = true
		s.put(0, 5, 10)
		s.split(0)
		r := openAt(t, s.stream(Config{}), first, stream.TrimHorizon)
		read(t, r, 0, 5)
		s.left = map[string]bool{first: true}
		end, ok := errors.AsType[*stream.ShardEndError](r.Next(t.Context(), &stream.Batch{}))
		if !ok || len(end.Children) != 2 {
			t.Errorf("the end is %+v", end)
		}
		s.gone = true
		again := s.stream(Config{})
		if _, err := again.children(t.Context(), first); !errors.Is(err, stream.ErrStreamNotFound) {
			t.Errorf("children of a shard of a stream that is gone: %v", err)
		}
	})
}

func TestAnIteratorThatEndsWithoutChildrenIsNoShardsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.shards[0].closed = true
		r := openAt(t, s.stream(Config{}), first, stream.TrimHorizon)
		err := r.Next(t.Context(), &stream.Batch{})
		if _, ended := errors.AsType[*stream.ShardEndError](err); err == nil || ended {
			t.Errorf("next: %v, want an error that is no shard's end", err)
		}
	})
}

func TestWhatComesBehindAnEndThatWasNoneIsReadBeforeTheShardEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.put(0, 3, 10)
		s.shards[0].closed = true
		r := openAt(t, s.stream(Config{}), first, stream.TrimHorizon)
		read(t, r, 0, 3)
		if err := r.Next(t.Context(), &stream.Batch{}); err == nil {
			t.Fatal("the shard has no children, and its end is no error")
		}
		s.shards[0].closed = false
		s.put(0, 3, 10)
		s.split(0)
		read(t, r, 3, 3)
		if err := r.Next(t.Context(), &stream.Batch{}); !is[*stream.ShardEndError](err) {
			t.Errorf("next: %v, want the shard's end", err)
		}
	})
}

func TestWhatIsNotFoundIsTheStreamOrTheShardAndNeverAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		st := s.stream(Config{})
		if _, err := st.Open(t.Context(), "shardId-000000000009", stream.TrimHorizon); !errors.Is(err, stream.ErrShardNotFound) {
			t.Errorf("open a shard that is not there: %v", err)
		}
		r := openAt(t, st, first, stream.TrimHorizon)
		shardGone := true
		s.fault = func(op string, n int) error {
			if shardGone && op == "GetRecords" {
				return &types.ResourceNotFoundException{}
			}
			return nil
		}
		if err := r.Next(t.Context(), &stream.Batch{}); !errors.Is(err, stream.ErrShardNotFound) || errors.Is(err, stream.ErrStreamNotFound) {
			t.Errorf("the shard has left the stream: %v", err)
		}
		shardGone, s.gone = false, true
		for what, err := range map[string]error{
			"next":     r.Next(t.Context(), &stream.Batch{}),
			"open":     second(st.Open(t.Context(), first, stream.TrimHorizon)),
			"pin":      second(st.Pin(t.Context(), first)),
			"shards":   second(st.Shards(t.Context())),
			"identity": second(st.Identity(t.Context())),
			"split":    st.Split(t.Context(), first, stream.FullRange.Middle()),
			"put":      second(st.Put(t.Context(), stream.Entry{PartitionKey: "k"})),
		} {
			if !errors.Is(err, stream.ErrStreamNotFound) || errors.Is(err, stream.ErrShardNotFound) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestARecreatedStreamIsNoticedByEveryCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		st := s.stream(Config{})
		id, err := st.Identity(t.Context())
		if err != nil || id.Name != orders {
			t.Fatalf("identity %v, %v", id, err)
		}
		s.put(0, 3, 10)
		idle := openAt(t, st, first, stream.TrimHorizon)
		last := read(t, idle, 0, 3)
		time.Sleep(time.Second)
		s.recreate()
		s.put(0, 3, 10)
		for what, err := range map[string]error{
			"identity":          second(st.Identity(t.Context())),
			"shards":            second(st.Shards(t.Context())),
			"open":              second(st.Open(t.Context(), first, stream.TrimHorizon)),
			"open after record": second(st.Open(t.Context(), first, stream.After(last))),
			"open at end":       second(st.Open(t.Context(), first, stream.Latest)),
			"pin":               second(st.Pin(t.Context(), first)),
			"split":             st.Split(t.Context(), first, stream.FullRange.Middle()),
			"next":              idle.Next(t.Context(), &stream.Batch{}),
		} {
			if !errors.Is(err, stream.ErrStreamNotFound) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if n := s.count("SplitShard"); n != 0 {
			t.Error("the shard of another stream was split")
		}
	})
}

// Iterators of some servers outlive their stream.
func TestAReaderDoesNotGoOnInAnotherStreamOfTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.fickle = true
		st := s.stream(Config{})
		r := openAt(t, st, first, stream.TrimHorizon)
		s.put(0, 3, 10)
		read(t, r, 0, 3)
		s.recreate()
		nothingIn(t, r, recheckEvery-time.Second)
		s.put(0, 10, 10)
		time.Sleep(2 * time.Second)
		if err := r.Next(t.Context(), &stream.Batch{}); !errors.Is(err, stream.ErrStreamNotFound) {
			t.Errorf("next: %v", err)
		}
	})
}

func TestAServiceThatIsSlowToSayWhoItIsHoldsUpNoRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.fickle = true
		st := s.stream(Config{})
		r := openAt(t, st, first, stream.TrimHorizon)
		s.mu.Lock()
		s.slowToSay = 20 * time.Second
		s.mu.Unlock()
		for i := range 300 {
			s.put(0, 1, 10)
			began := time.Now()
			read(t, r, i, 1)
			if took := time.Since(began); took > time.Second {
				t.Errorf("record %d came after %v", i, took)
			}
			time.Sleep(time.Second - time.Since(began))
		}
		s.recreate()
		ctx, cancel := context.WithTimeout(t.Context(), recheckEvery+40*time.Second)
		defer cancel()
		if err := r.Next(ctx, &stream.Batch{}); !errors.Is(err, stream.ErrStreamNotFound) {
			t.Errorf("in another stream: %v", err)
		}
	})
}

func TestAThousandReadersShareTheirQuestionsForTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		st := s.stream(Config{})
		done := make(chan error, 1000)
		for range cap(done) {
			go func() {
				r, err := st.Open(t.Context(), first, stream.TrimHorizon)
				if err == nil {
					err = r.Close()
				}
				done <- err
			}()
		}
		for range cap(done) {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if n := s.count("DescribeStreamSummary"); n > 5 {
			t.Errorf("%d questions were asked", n)
		}
	})
}

func TestErrorsOfTheKeyAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.put(0, 1, 10)
		r := openAt(t, s.stream(Config{}), first, stream.TrimHorizon)
		for _, failure := range []error{
			&types.KMSAccessDeniedException{}, &types.KMSDisabledException{}, &types.KMSInvalidStateException{}, &types.KMSNotFoundException{}, &types.KMSOptInRequired{},
		} {
			s.fault = func(string, int) error { return failure }
			if err := r.Next(t.Context(), &stream.Batch{}); !errors.Is(err, ErrEncryption) || !errors.Is(err, failure) {
				t.Errorf("%T: %v", failure, err)
			}
		}
		s.fault = nil
		read(t, r, 0, 1)
	})
}

func TestARecordOfTenMiBPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		for range 3 {
			s.put(0, 1, 10<<20)
			s.put(0, 1, 10)
		}
		r := openAt(t, s.stream(Config{}), first, stream.TrimHorizon)
		b := stream.Batch{MaxBytes: 1000, MaxFootprint: 1 << 20}
		for i := range 6 {
			if err := r.Next(t.Context(), &b); err != nil || len(b.Records) != 1 {
				t.Fatalf("%d records, %v", len(b.Records), err)
			}
			if want := []int{10<<20 + 1, 11}[i%2]; b.Bytes != want || b.Footprint > max(1<<20, 2*want)+chunkBytes {
				t.Errorf("record %d: %d bytes that keep %d alive", i, b.Bytes, b.Footprint)
			}
		}
	})
}

func TestATimeToComeIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, skew := range []time.Duration{0, -time.Minute, -time.Hour} {
			s := newService(t, 1)
			s.clock = skew
			at := time.Now().Add(skew).Add(3 * time.Second)
			s.put(0, 2, 10)
			r := openAt(t, s.stream(Config{}), first, stream.AtTime(at))
			s.put(0, 2, 10)
			nothingIn(t, r, 4*time.Second)
			s.put(0, 2, 10)
			read(t, r, 4, 2)
		}
	})
}

func TestANumberOfAnotherShardIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 2)
		st := s.stream(Config{})
		if _, err := st.Open(t.Context(), first, stream.After(mustParse(t, s.number(1, 7)))); !errors.Is(err, ErrForeignPosition) {
			t.Errorf("open: %v", err)
		}
		// What is smaller than every number of the shard is its beginning.
		s.put(1, 2, 10)
		read(t, openAt(t, st, "shardId-000000000001", stream.After(mustParse(t, s.number(0, 7)))), 0, 2)
	})
}

func TestATimeToComeLeavesOutWhatComesBeforeItAndNothingAfterTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		r := openAt(t, s.stream(Config{}), first, stream.AtTime(time.Now().Add(5*time.Second)))
		s.put(0, 1, 10)
		nothingIn(t, r, 6*time.Second)
		s.put(0, 1, 10)
		read(t, r, 1, 1)
		s.clock = -time.Minute // arrivals need not grow
		s.put(0, 1, 10)
		read(t, r, 2, 1)
	})
}

func TestANumberBehindTheEndOfAClosedShardIsNotItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.put(0, 5, 10)
		s.split(0)
		s.put(1, 1, 10)
		if _, err := s.stream(Config{}).Open(t.Context(), first, stream.After(mustParse(t, s.number(1, 1)))); !errors.Is(err, ErrForeignPosition) {
			t.Errorf("open: %v", err)
		}
	})
}

func TestTheEndOfAClosedShardIsAPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.put(0, 2, 10)
		s.split(0)
		for _, at := range []string{s.number(0, 1), s.number(0, 2)} {
			r := openAt(t, s.stream(Config{}), first, stream.After(mustParse(t, at)))
			if end, ok := errors.AsType[*stream.ShardEndError](r.Next(t.Context(), &stream.Batch{})); !ok || len(end.Children) != 2 {
				t.Errorf("after %s: no end with two children", at)
			}
		}
	})
}

func TestAnErrorIsReturnedOnceAndReadingGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, 1)
		s.put(0, 10, 1000)
		trouble := errors.New("the cable is out")
		s.fault = func(op string, n int) error {
			if op == "GetRecords" && n%2 == 0 {
				return trouble
			}
			return nil
		}
		r := openAt(t, s.stream(Config{PageBytes: 1000}), first, stream.TrimHorizon)
		failures, next := 0, 0
		var b stream.Batch
		for next < 10 {
			err := r.Next(t.Context(), &b)
			if errors.Is(err, trouble) {
				failures++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, record := range b.Records {
				if !strings.HasPrefix(string(record.Data), strconv.Itoa(next)) {
					t.Fatalf("record %.5q, want %d", record.Data, next)
				}
				next++
			}
		}
		if failures == 0 {
			t.Error("no error was seen")
		}
	})
}
