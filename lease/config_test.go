package lease

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/stream"
)

func TestAConfigurationIsRefusedWithFieldValueAndFix(t *testing.T) {
	good := Config{Store: NewMemory(), Streams: []stream.Stream{noStream{}}}
	if _, err := NewCoordinator(good); err != nil {
		t.Fatalf("the least configuration: %v", err)
	}
	for _, test := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Store = nil }, "Config.Store is nil: give"},
		{func(c *Config) { c.Store = (*Memory)(nil) }, "Config.Store is nil: give"},
		{func(c *Config) { c.Store = (*namedStore)(nil) }, "Config.Store is nil: give"},
		{func(c *Config) { c.Application, c.Store = "a", &namedStore{c.Store, "b"} }, `Config.Application is "a", and the lease store holds the rows of application "b"`},
		{func(c *Config) { c.Streams = nil }, "Config.Streams is empty: give"},
		{func(c *Config) { c.Streams = []stream.Stream{nil} }, "Config.Streams[0] is nil: give"},
		{func(c *Config) { c.Streams = []stream.Stream{(*noStream)(nil)} }, "Config.Streams[0] is nil: give"},
		{func(c *Config) { c.Worker = "a#1" }, `Config.Worker is "a#1": leave out`},
		{func(c *Config) { c.Worker = "@leader" }, `Config.Worker is "@leader": leave out`},
		{func(c *Config) { c.Initial = stream.ShardEnd }, "Config.Initial is SHARD_END: use"},
		{func(c *Config) { c.Initial = after(3) }, "Config.Initial is AFTER:3: use"},
		{func(c *Config) { c.Initial = stream.AtTime(time.Now().Add(5 * time.Hour)) }, "Config.Initial is AT_TIMESTAMP:"},
		{func(c *Config) { c.FailoverTime = time.Millisecond }, "Config.FailoverTime is 1ms: use 100ms or more"},
		{func(c *Config) { c.FailoverTime = -1 }, "Config.FailoverTime is -1ns: use"},
		{func(c *Config) { c.HandoffTimeout = time.Second }, "Config.HandoffTimeout is 1s: use FailoverTime, which is 10s, or more"},
		{func(c *Config) { c.FailoverTime, c.HandoffTimeout = time.Minute, 30*time.Second }, "Config.HandoffTimeout is 30s: use FailoverTime, which is 1m0s, or more"},
		{func(c *Config) { c.PlanInterval = -1 }, "Config.PlanInterval is -1ns: use"},
		{func(c *Config) { c.Drain = -1 }, "Config.Drain is -1ns: use"},
		{func(c *Config) { c.MaxLeases = -1 }, "Config.MaxLeases is -1: use"},
		{func(c *Config) { c.BalanceThreshold = 1.5 }, "Config.BalanceThreshold is 1.5: use"},
		{func(c *Config) { c.BalanceThreshold = math.NaN() }, "Config.BalanceThreshold is NaN: use"},
	} {
		c := good
		test.change(&c)
		if _, err := NewCoordinator(c); err == nil || !strings.Contains(err.Error(), "lease: "+test.want) {
			t.Errorf("want %q, got %v", test.want, err)
		}
	}
}

// namedStore is a store that knows whose rows it holds.
type namedStore struct {
	Store
	application string
}

func (s *namedStore) Application() string { return s.application }

func TestAStoreThatIsNamedServesItsApplicationAndWhoeverNamesNone(t *testing.T) {
	store := &namedStore{NewMemory(), "a"}
	for _, application := range []string{"a", ""} {
		if _, err := NewCoordinator(Config{Application: application, Store: store, Streams: []stream.Stream{noStream{}}}); err != nil {
			t.Errorf("application %q: %v", application, err)
		}
	}
}

func TestTheDefaultsSuitAnyFailoverTime(t *testing.T) {
	c := Config{FailoverTime: 2 * time.Minute}.withDefaults()
	if c.HandoffTimeout != 2*time.Minute || c.PlanInterval != time.Minute || c.Worker == "" || c.Seed == 0 {
		t.Errorf("%+v", c)
	}
}
