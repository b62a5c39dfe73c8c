package worker

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/stream/streamtest"
)

func TestABadConfigurationIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		want   string // field, value and fix
	}{
		"no application":         {func(c *Config) { c.Application = "" }, "Config.Application is empty: name the fleet"},
		"no stream":              {func(c *Config) { c.Streams = nil }, "Config.Streams is empty: give at least one"},
		"a nil stream":           {func(c *Config) { c.Streams = append(c.Streams, nil) }, "Config.Streams[1] is nil: leave it out"},
		"no lease store":         {func(c *Config) { c.Leases = nil }, "Config.Leases is nil: give a lease store"},
		"a nil pointer to one":   {func(c *Config) { c.Leases = (*lease.Memory)(nil) }, "Config.Leases is nil: give a lease store"},
		"a stream that is one":   {func(c *Config) { c.Streams = append(c.Streams, (*streamtest.Memory)(nil)) }, "Config.Streams[1] is nil: leave it out"},
		"rows of another fleet":  {func(c *Config) { c.Leases = rowsOf{c.Leases, "b"} }, "Config.Application is \"a\", and the lease store holds the rows of application \"b\""},
		"no processor":           {func(c *Config) { c.Processor = nil }, "Config.Processor is nil: give a function"},
		"a name with #":          {func(c *Config) { c.Name = "host#1" }, "Config.Name is \"host#1\": leave out the characters # and @"},
		"a name with @":          {func(c *Config) { c.Name = "@leader" }, "Config.Name is \"@leader\": leave out"},
		"from the future":        {func(c *Config) { c.From = stream.AtTime(time.Now().Add(5 * time.Hour)) }, "mind the time zone"},
		"from after a number":    {func(c *Config) { c.From = stream.After(stream.MakeSequence(0, 0, 9)) }, "Config.From is AFTER:9: a first position"},
		"negative memory":        {func(c *Config) { c.Memory = -1 }, "Config.Memory is -1: use at least 1048576"},
		"negative longest retry": {func(c *Config) { c.Retry.Max = -1 }, "Config.Retry.Max is -1ns: use at least 1ms"},
		"negative checkpoints":   {func(c *Config) { c.CheckpointEvery = -time.Second }, "Config.CheckpointEvery is -1s: use at least 1ms"},
		"negative failover":      {func(c *Config) { c.FailoverTime = -time.Second }, "Config.FailoverTime is -1s: use at least 100ms"},
		"from a number":          {func(c *Config) { c.From = stream.At(stream.MakeSequence(0, 0, 9)) }, "Config.From is AT:9: a first position must fit every shard"},
		"from the end":           {func(c *Config) { c.From = stream.ShardEnd }, "Config.From is SHARD_END: a first position"},
		"negative records":       {func(c *Config) { c.BatchRecords = -1 }, "Config.BatchRecords is -1: use at least 1"},
		"negative bytes":         {func(c *Config) { c.BatchBytes = -5 }, "Config.BatchBytes is -5: use at least 1"},
		"little memory":          {func(c *Config) { c.Memory = 5 }, "Config.Memory is 5: use at least 1048576"},
		"negative shards":        {func(c *Config) { c.MaxShards = -3 }, "Config.MaxShards is -3: use at least 1"},
		"negative retry":         {func(c *Config) { c.Retry.Min = -1 }, "Config.Retry.Min is -1ns: use at least 1ms"},
		"retry upside down":      {func(c *Config) { c.Retry = processors.Backoff{Min: time.Hour, Max: time.Second} }, "Config.Retry.Max is 1s, shorter than Retry.Min, 1h0m0s: raise it"},
		"checkpoints at once":    {func(c *Config) { c.CheckpointEvery = 1 }, "Config.CheckpointEvery is 1ns: use at least 1ms"},
		"an unknown policy":      {func(c *Config) { c.Aggregates = 9 }, "Config.Aggregates is Policy(9): use kpl.Deliver"},
		"no drain":               {func(c *Config) { c.Drain = -time.Second }, "Config.Drain is -1s: use at least 1ms"},
		"hasty failover":         {func(c *Config) { c.FailoverTime = time.Millisecond }, "Config.FailoverTime is 1ms: use at least 100ms"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{
				Application: "a", Streams: []stream.Stream{streamtest.NewMemory("s", 1)}, Leases: lease.NewMemory(),
				Processor: func(processors.Shard) processors.RecordProcessor {
					return processors.Func(func(context.Context, *processors.Batch) error { return nil })
				},
			}
			if _, err := New(cfg); err != nil {
				t.Fatalf("the good configuration is refused: %v", err)
			}
			test.change(&cfg)
			if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestEverythingThatIsWrongIsNamedAtOnce(t *testing.T) {
	_, err := New(Config{Memory: -1})
	for _, field := range []string{"Application", "Streams", "Leases", "Processor", "Memory"} {
		if err == nil || !strings.Contains(err.Error(), "Config."+field+" is") {
			t.Errorf("%s is not named in %v", field, err)
		}
	}
}

// rowsOf is a store that knows whose rows it holds.
type rowsOf struct {
	lease.Store
	application string
}

func (r rowsOf) Application() string { return r.application }
