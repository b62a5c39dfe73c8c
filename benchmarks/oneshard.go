package main

import (
	"context"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"path/filepath"
	"time"

	"github.com/millrace/millrace/benchmarks/internal/disk"
	"github.com/millrace/millrace/benchmarks/internal/logs"
	"github.com/millrace/millrace/engine"
)

// The cases of one shard among many, and who reads.
const (
	oneCold     = "one cold shard of 4096, 1 KiB"
	allWarm     = "all of 4096 shards, warm, 1 KiB"
	byShards    = "Millrace, rewritten"
	scattered   = "Millrace, log as written"
	rawColdRead = "bare disk, cold, pread 1 MiB + CRC32C"
)

// manyShards is how the log is written from which one shard is read.
var manyShards = load{8, 500, 1024, 4096}

const (
	manyBytes = 1 << 30
	coldReads = 40 // shards of a round, each after the caches were dropped
)

// runOneShard reads one shard out of a log in which 4,096 are mixed, from the
// disk itself, and then all of them from the page cache.
func (b *bench) runOneShard(ctx context.Context) (err error) {
	if !b.wants(oneCold) && !b.wants(allWarm) {
		return nil
	}
	l := manyShards
	if b.quick {
		l.shards = 64
	}
	dir, done, err := b.temp()
	if err != nil {
		return err
	}
	defer done()
	asWritten, together := filepath.Join(dir, "log"), filepath.Join(dir, "rewritten")
	fromDisk := logAlone
	fromDisk.CacheBytes = 1
	log, n, err := filled(ctx, asWritten, fromDisk, l, b.amount(manyBytes))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	chunks, _, err := b.rewritten(ctx, together, engine.Config{}, l, b.amount(manyBytes))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, chunks.Close()) }()

	cold := func(who string, m *logs.Millrace) contender {
		return contender{who, func(ctx context.Context, _ string) (figures, error) {
			return b.coldShards(ctx, m, dir, l.size, n/l.shards)
		}}
	}
	warm := func(who string, m *logs.Millrace, files string) contender {
		return contender{who, func(ctx context.Context, _ string) (figures, error) {
			if _, err := disk.ReadAll(files, wholeStream); err != nil { // into the page cache
				return nil, err
			}
			return b.again(ctx, n, l.size, func(ctx context.Context) error { _, err := readAll(ctx, m.Stream, n); return err })
		}}
	}
	if err := b.compare(ctx, oneCold, cold(byShards, chunks), cold(scattered, log), contender{rawColdRead, func(context.Context, string) (figures, error) {
		if _, err := disk.DropCaches(dir); err != nil {
			return nil, err
		}
		return rawReading(asWritten, int64(n*l.size)/2, l.size)
	}}); err != nil {
		return err
	}
	return b.compare(ctx, allWarm, warm(byShards, chunks, together), warm(scattered, log, asWritten), contender{rawRead, func(context.Context, string) (figures, error) {
		if _, err := disk.ReadAll(asWritten, wholeStream); err != nil {
			return nil, err
		}
		return rawReading(asWritten, int64(n*l.size), l.size)
	}})
}

// coldShards reads some shards at random, one at a time, each from the disk.
func (b *bench) coldShards(ctx context.Context, m *logs.Millrace, dir string, size, perShard int) (figures, error) {
	shards, err := m.Stream.Shards(ctx)
	if err != nil {
		return nil, err
	}
	reads := coldReads
	if b.quick {
		reads = 1
	}
	var took, cpu time.Duration
	got := 0
	for range reads {
		how, err := disk.DropCaches(dir)
		if err != nil {
			return nil, err
		}
		b.note("Cold: before each read the page cache is dropped by %s. %d shards a round, each of about %d records.", how, reads, perShard)
		shard := shards[mrand.IntN(len(shards))].ID
		pin, err := m.Stream.Pin(ctx, shard)
		if err != nil {
			return nil, err
		}
		begin, used := time.Now(), cpuTime()
		n, err := readUntil(ctx, m.Stream, shard, pin)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", shard, err)
		}
		took, cpu, got = took+time.Since(begin), cpu+cpuTime()-used, got+n
	}
	return figures{
		recordRate: float64(got) / took.Seconds(), byteRate: float64(got*size) / 1e6 / took.Seconds(),
		cpuPerRecord: float64(cpu.Nanoseconds()) / float64(got),
	}, nil
}
