package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"sync"
	"time"

	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/stream"
)

// load is a closed loop: each caller appends one batch after the other.
type load struct {
	callers, batch int
	size           int // of a record, key and data together
	shards         int // over which records are scattered at random
}

func (l load) String() string {
	return fmt.Sprintf("%s, %d × %d, %s", sizeName(l.size), l.callers, l.batch, shardsName(l.shards))
}

func sizeName(n int) string {
	if n >= 1024 && n%1024 == 0 {
		return fmt.Sprintf("%d KiB", n/1024)
	}
	return fmt.Sprintf("%d B", n)
}

func shardsName(n int) string {
	if n == 1 {
		return "1 shard"
	}
	return fmt.Sprintf("%d shards", n)
}

// keySize is the length of a partition key.
const keySize = 8

// prepared is how many records are ready before it is measured, so that making
// them costs nothing: enough to meet nearly all of 4,096 shards.
const prepared = 1 << 15

// records makes n records at random. Their data can not be compressed.
func (l load) records(n int) []logs.Record {
	all := make([]logs.Record, n)
	const pool = 1 << 20
	data := make([]byte, pool)
	_, _ = rand.Read(data)
	ranges := stream.SplitHashSpace(l.shards)
	for i := range all {
		key := fmt.Sprintf("%0*x", keySize, mrand.Uint32())
		at := mrand.IntN(pool - l.size)
		all[i] = logs.Record{Key: key, Shard: shardOf(ranges, key), Data: data[at : at+l.size-keySize]}
	}
	return all
}

// shardOf returns the place of the range that holds the key.
func shardOf(ranges []stream.HashRange, key string) int {
	h := stream.HashOf(key)
	lo, hi := 0, len(ranges)-1
	for lo < hi {
		if mid := (lo + hi) / 2; ranges[mid].End.Compare(h) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// run loads the log for warm and then, from a standstill, for d. What is
// measured ends with the last append that was begun within d.
func (l load) run(ctx context.Context, log logs.Log, warm, d time.Duration) (figures, error) {
	callers := make([]*caller, l.callers)
	shared := l.records(prepared)
	for i := range callers {
		callers[i] = &caller{writer: log.Writer(), records: shared, at: mrand.IntN(len(shared)), batch: l.batch}
	}
	if _, _, err := together(ctx, callers, warm); err != nil {
		return nil, err
	}
	var watch stopwatch
	watch.start()
	n, times, err := together(ctx, callers, d)
	u := watch.stop()
	if err != nil {
		return nil, err
	}
	f := figures{byteRate: float64(n*l.size) / 1e6 / u.wall.Seconds()}
	u.perRecord(f, n)
	distribution(f, "", times)
	return f, nil
}

// together lets all callers append for that long, and returns how many records
// they appended and how long each append took.
func together(ctx context.Context, callers []*caller, d time.Duration) (n int, times []time.Duration, err error) {
	var wg sync.WaitGroup
	until := time.Now().Add(d)
	for _, c := range callers {
		c.times = c.times[:0]
		wg.Go(func() { c.err = c.run(ctx, until) })
	}
	wg.Wait()
	for _, c := range callers {
		n += len(c.times) * c.batch
		times = append(times, c.times...)
		err = errors.Join(err, c.err)
	}
	return n, times, err
}

// caller is one of a load's.
type caller struct {
	writer  logs.Writer
	records []logs.Record
	at      int
	batch   int
	times   []time.Duration
	err     error
}

// run appends until that time, and at least once.
func (c *caller) run(ctx context.Context, until time.Time) error {
	for begin := time.Now(); len(c.times) == 0 || begin.Before(until); {
		if c.at+c.batch > len(c.records) {
			c.at = 0
		}
		if err := c.writer.Append(ctx, c.records[c.at:c.at+c.batch]); err != nil {
			return err
		}
		c.at += c.batch
		now := time.Now()
		c.times = append(c.times, now.Sub(begin))
		begin = now
	}
	return nil
}
