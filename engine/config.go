package engine

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/engine/internal/wal"
)

// Durability is what an acknowledged put survives.
type Durability uint8

const (
	// Durable puts are synced to the disk before they are answered: they
	// survive a crash of the process, of the machine, and a power cut.
	Durable Durability = iota
	// LoseOnPowerFailure answers puts when they are written, and syncs them in
	// the background, at most [Config.SyncEvery] later. They survive a crash of
	// the process; a power cut or a crash of the operating system loses the
	// last ones, although they were acknowledged and may have been read.
	LoseOnPowerFailure
)

// Limits are the throughput limits of each shard.
type Limits uint8

const (
	// NoLimits lets a shard do what the machine can.
	NoLimits Limits = iota
	// KinesisLimits are those of Kinesis Data Streams: 1 MiB and 1000 records a
	// second in, beyond which a put fails with [stream.ErrThrottled]; 2 MiB and
	// 5 reads a second out, in sum over all readers of the shard, who are slowed
	// down to it (or refused: [Stream.Read]); 2 MiB a second to each subscription.
	KinesisLimits
)

// String returns "none" or "kinesis".
func (l Limits) String() string {
	switch l {
	case NoLimits:
		return "none"
	case KinesisLimits:
		return "kinesis"
	}
	return fmt.Sprintf("Limits(%d)", uint8(l))
}

// Config of an engine. The zero value works.
type Config struct {
	// Durability is what an acknowledged put survives. Default: Durable.
	Durability Durability
	// SyncEvery is how long LoseOnPowerFailure waits with a sync. Default: 10 ms.
	SyncEvery time.Duration
	// SegmentBytes is the size of a log file. Twice as much is taken from the
	// disk at once. At least 64 KiB; no record can be larger than about half of
	// it. Default: 64 MiB; 4 MiB in memory.
	SegmentBytes int64
	// ChunkBytes is how much of the log is gathered, in whole log files, before
	// it is rewritten in the background so that each shard's records lie
	// together. The more, the faster one shard of many is read from the disk.
	// That takes as much memory, and a third more, and room on the disk. Up to
	// eight times as much waits to be rewritten while puts are fast; then they
	// are held to the speed at which that is done, but never stopped by it. The
	// memory for the index of what waits, and the time of opening the engine,
	// which reads it, are bounded by that. Less than 0: never. Default: 256 MiB;
	// never in memory.
	ChunkBytes int64
	// CacheBytes is how much of the newest data is kept in memory for readers. By
	// default it is as much as is gathered before it is rewritten: small blocks of
	// many shards are read from memory, and from the disk when they lie together.
	// It is taken as data comes, and should be less on a small machine.
	// Default: 256 MiB; 64 MiB in memory.
	CacheBytes int
	// PendingBytes holds back puts while as much is not yet durable. Default: 16 MiB.
	PendingBytes int
	// MinRetention is the shortest retention that a stream may have. Less than
	// a day is for tests. Default: 24 h.
	MinRetention time.Duration
	// Logger is told what the engine does by itself. Default: slog.Default().
	Logger *slog.Logger

	fs vfs.FS // in place of a directory, for tests
}

const (
	day              = 24 * time.Hour
	maxRetention     = 365 * day
	minSegmentBytes  = 64 << 10
	maxSegmentBytes  = 1 << 30
	defaultMaxRecord = 1 << 20
	largestMaxRecord = 10 << 20
	maxTags          = 50
	maxShards        = 10_000
	// maxKept is how many shards a stream has with those that are closed, which cost
	// memory, and room in the manifest, until their retention is over. From one shard to
	// maxShards it takes 39,150.
	maxKept = 50_000
)

func (c Config) withDefaults(memory bool) Config {
	if memory {
		c.SegmentBytes = cmp.Or(c.SegmentBytes, 4<<20)
		c.ChunkBytes = cmp.Or(c.ChunkBytes, -1)
		c.CacheBytes = cmp.Or(c.CacheBytes, 64<<20)
	}
	c.SyncEvery = cmp.Or(c.SyncEvery, 10*time.Millisecond)
	c.SegmentBytes = cmp.Or(c.SegmentBytes, 64<<20)
	c.ChunkBytes = cmp.Or(c.ChunkBytes, 256<<20)
	c.CacheBytes = cmp.Or(c.CacheBytes, 256<<20)
	c.PendingBytes = cmp.Or(c.PendingBytes, 16<<20)
	c.MinRetention = cmp.Or(c.MinRetention, day)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c
}

func (c Config) validate() error {
	switch {
	case c.Durability > LoseOnPowerFailure:
		return invalid("Config.Durability", c.Durability, "use Durable or LoseOnPowerFailure")
	case c.SyncEvery < 0:
		return invalid("Config.SyncEvery", c.SyncEvery, "use a positive duration")
	case c.SegmentBytes < minSegmentBytes || c.SegmentBytes > maxSegmentBytes:
		return invalid("Config.SegmentBytes", c.SegmentBytes, "use 64 KiB (65536) to 1 GiB (1073741824)")
	case c.SegmentBytes%4096 != 0:
		return invalid("Config.SegmentBytes", c.SegmentBytes, "use a multiple of 4096")
	case c.CacheBytes < 0:
		return invalid("Config.CacheBytes", c.CacheBytes, "use a positive number of bytes")
	case c.PendingBytes < 0:
		return invalid("Config.PendingBytes", c.PendingBytes, "use a positive number of bytes")
	case c.MinRetention < time.Millisecond || c.MinRetention > maxRetention:
		return invalid("Config.MinRetention", c.MinRetention, "use 1 ms to 8760 h")
	}
	return nil
}

func (c Config) log(fs vfs.FS) wal.Options {
	o := wal.Options{
		FS: fs, SegmentBytes: c.SegmentBytes, ChunkBytes: c.ChunkBytes, CacheBytes: c.CacheBytes, PendingBytes: c.PendingBytes, Logger: c.Logger,
	}
	if c.Durability == LoseOnPowerFailure {
		o.SyncEvery = c.SyncEvery
	}
	return o
}

// StreamConfig is what a new stream is like. The zero value works.
type StreamConfig struct {
	// Shards is how many equal shards the stream begins with, up to 10,000. Default: 1.
	Shards int
	// Retention is how long records can be read, up to 365 days. Room is given
	// back by whole files, which streams of equal retention share. Default: 24 h.
	Retention time.Duration
	// MaxRecordBytes bounds payload and partition key of a record together, up
	// to 10 MiB. Default: 1 MiB, or what fits into a log file when that is less.
	MaxRecordBytes int
	// Limits are the throughput limits of each shard. Default: NoLimits.
	Limits Limits
	// Tags are up to 50 names with values, for people. Default: none.
	Tags map[string]string
}

func (c StreamConfig) withDefaults(e Config) StreamConfig {
	c.Shards = cmp.Or(c.Shards, 1)
	c.Retention = cmp.Or(c.Retention, max(day, e.MinRetention))
	c.MaxRecordBytes = cmp.Or(c.MaxRecordBytes, min(defaultMaxRecord, wal.MaxRecord(e.SegmentBytes)))
	c.Tags = maps.Clone(c.Tags)
	return c
}

func (c StreamConfig) validate(e Config) error {
	if c.Shards < 1 || c.Shards > maxShards {
		return invalid("StreamConfig.Shards", c.Shards, "use 1 to 10000")
	}
	if err := checkRetention("StreamConfig.Retention", c.Retention, e); err != nil {
		return err
	}
	if err := checkMaxRecord("StreamConfig.MaxRecordBytes", c.MaxRecordBytes, e); err != nil {
		return err
	}
	if c.Limits > KinesisLimits {
		return invalid("StreamConfig.Limits", c.Limits, "use NoLimits or KinesisLimits")
	}
	return checkTags("StreamConfig.Tags", c.Tags)
}

func checkRetention(field string, d time.Duration, e Config) error {
	if d < e.MinRetention || d > maxRetention {
		return invalid(field, d, fmt.Sprintf("use %v to %v", e.MinRetention, maxRetention))
	}
	return nil
}

func checkMaxRecord(field string, n int, e Config) error {
	if n < 1 || n > largestMaxRecord {
		return invalid(field, n, "use 1 byte to 10 MiB (10485760)")
	}
	if most := wal.MaxRecord(e.SegmentBytes); n > most {
		return invalid(field, n, fmt.Sprintf("use at most %d, or a larger Config.SegmentBytes", most))
	}
	return nil
}

func checkName(name string) error {
	if len(name) < 1 || len(name) > 128 || strings.Trim(name, nameBytes) != "" {
		return invalid("stream name", clip(name), "use 1 to 128 of the characters a-z A-Z 0-9 _ . -")
	}
	return nil
}

const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

func checkTags(field string, tags map[string]string) error {
	if len(tags) > maxTags {
		return invalid(field, fmt.Sprintf("%d tags", len(tags)), "use at most 50")
	}
	for key, value := range tags {
		if n := utf8.RuneCountInString(key); n < 1 || n > 128 || !tagText(key) {
			return invalid(field+" key", clip(key), "use 1 to 128 letters, digits, spaces and _ . : / = + - @")
		}
		if utf8.RuneCountInString(value) > 256 || !tagText(value) {
			return invalid(field+" value of "+key, clip(value), "use at most 256 letters, digits, spaces and _ . : / = + - @")
		}
	}
	return nil
}
