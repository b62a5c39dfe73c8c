package lease

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"github.com/millrace/millrace/internal/given"
	"github.com/millrace/millrace/stream"
)

// Config says how a worker takes part in a fleet. Store and Streams are needed;
// the zero value of everything else is a good choice. Initial must be the same for
// the whole fleet. FailoverTime and HandoffTimeout may differ, as during a rollout
// that changes them: each worker's row tells its own, and whoever waits for it waits
// for that, or for his own where that is longer. The program of an earlier version
// tells nothing, and heeds nothing: change them when none of it runs any more.
type Config struct {
	// Application names the fleet in logs and metrics. A Store that is [Named]
	// must have the same name. Default: "", and no name is compared.
	Application string
	// Worker is the name that people know this worker by. It need not be
	// unique: each start is an incarnation of its own. Default: host name and
	// process id.
	Worker string
	// Store holds the rows of this application and of no other.
	Store Store
	// Streams are what is processed. A leader looks after their shards alone, so
	// all workers of an application are to be given the same streams; or, as
	// during a rollout, some of them those of the others and more. Where two
	// workers each have a stream that the other has not, one of the two streams
	// is looked after by nobody.
	Streams []stream.Stream
	// Initial is where the shards of a stream without any lease begin:
	// TrimHorizon, Latest or AtTime, which is not in the future: a clock may be ahead
	// by a minute. Default: stream.TrimHorizon.
	Initial stream.Position

	// FailoverTime is how long a silent worker is waited for. A worker that
	// cannot reach the store goes on for nine tenths of it. Beats are sent three
	// times as often. Default: 10 s.
	FailoverTime time.Duration
	// HandoffTimeout is how long a live worker that is asked for a lease may
	// take to let go, from when it is told. Of that, at most two fifths of
	// FailoverTime pass before the hold hears of it, in which the successor is told;
	// less when HandoffTimeout is no longer than FailoverTime. It is never shorter.
	// Default: 30 s, or FailoverTime if that is longer.
	HandoffTimeout time.Duration
	// PlanInterval is how often the leader looks at everything, and how often
	// each worker looks for leases that were given to it, when nothing tells
	// them to look at once. Default: half of FailoverTime.
	PlanInterval time.Duration
	// Drain is how long a stop waits for the holds to end by themselves, once all
	// have been asked to; then their contexts are cancelled with ErrDrained.
	// Default: 30 s.
	Drain time.Duration
	// MaxLeases bounds how many leases this worker is given. Default: 0, no bound.
	MaxLeases int
	// BalanceThreshold is by how much a worker's load may differ from the mean,
	// as a part of it, before leases move for balance alone; half an average
	// lease is allowed besides. Loads that differ from each other by no more
	// count as equal. Default: 0.1.
	BalanceThreshold float64
	// Code is the revision of the program: any text. During a rollout leases prefer
	// the newest, which is that whose first worker joined last, of those that live:
	// so a revision to which a fleet goes back counts as old for as long as workers
	// are left that had it before. Zone and Host tell where the worker runs.
	// Defaults: empty.
	Code, Zone, Host string

	// Logger gets what a person would want to know. Default: slog.Default().
	Logger *slog.Logger
	// MeterProvider gets metrics. Default: that of package otel.
	MeterProvider metric.MeterProvider
	// Seed decides the jitter of all delays and the nonces of incarnations; two
	// starts of one worker name must never share one. It is for simulations
	// that are to take the same course again. Default: 0, a random one.
	Seed uint64
}

// DefaultWorker is the name of a worker that was given none: host name and
// process id.
func DefaultWorker() string {
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

func (c Config) withDefaults() Config {
	c.Worker = cmp.Or(c.Worker, DefaultWorker())
	c.Initial = cmp.Or(c.Initial, stream.TrimHorizon)
	c.FailoverTime = cmp.Or(c.FailoverTime, 10*time.Second)
	c.HandoffTimeout = cmp.Or(c.HandoffTimeout, max(c.FailoverTime, 30*time.Second))
	c.PlanInterval = cmp.Or(c.PlanInterval, c.FailoverTime/2)
	c.Drain = cmp.Or(c.Drain, 30*time.Second)
	c.BalanceThreshold = cmp.Or(c.BalanceThreshold, 0.1)
	c.Seed = cmp.Or(c.Seed, rand.Uint64())
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.MeterProvider == nil {
		c.MeterProvider = otel.GetMeterProvider()
	}
	return c
}

// shortest is the least FailoverTime: below it, the time of a write to an
// ordinary disk is no longer small beside the time between two beats.
const shortest = 100 * time.Millisecond

// validate checks a configuration as the user gave it; zero values are the
// defaults, and good.
func (c Config) validate() error {
	var problems []error
	bad := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("lease: Config."+format, args...))
	}
	if !given.Is(c.Store) {
		bad("Store is nil: give a lease store, for example lease.NewMemory()")
	} else if named, ok := c.Store.(Named); ok && c.Application != "" && named.Application() != c.Application {
		bad("Application is %q, and the lease store holds the rows of application %q: two fleets on the same rows would share out "+
			"their records between them, so give both the same name", c.Application, named.Application())
	}
	if len(c.Streams) == 0 {
		bad("Streams is empty: give at least one stream")
	}
	for i, s := range c.Streams {
		if !given.Is(s) {
			bad("Streams[%d] is nil: give a stream", i)
		}
	}
	if strings.ContainsAny(c.Worker, separator+reserved) {
		bad("Worker is %q: leave out the characters %q, which set incarnations apart", c.Worker, separator+reserved)
	}
	if _, isTime := c.Initial.Time(); !c.Initial.IsZero() && c.Initial != stream.TrimHorizon && c.Initial != stream.Latest && !isTime {
		bad("Initial is %v: use stream.TrimHorizon, stream.Latest or stream.AtTime", c.Initial)
	}
	if at, isTime := c.Initial.Time(); isTime && time.Until(at) > time.Minute {
		bad("Initial is %v, %v after now, so that all records until then would be skipped: mind the time zone, or use stream.Latest", c.Initial, time.Until(at).Round(time.Second))
	}
	if c.FailoverTime != 0 && c.FailoverTime < shortest {
		bad("FailoverTime is %v: use %v or more, or 0 for the default", c.FailoverTime, shortest)
	}
	if failover := cmp.Or(c.FailoverTime, 10*time.Second); c.HandoffTimeout != 0 && c.HandoffTimeout < failover {
		bad("HandoffTimeout is %v: use FailoverTime, which is %v, or more, or 0 for the default", c.HandoffTimeout, failover)
	}
	if c.PlanInterval < 0 {
		bad("PlanInterval is %v: use a positive time, or 0 for the default", c.PlanInterval)
	}
	if c.Drain < 0 {
		bad("Drain is %v: use a positive time, or 0 for the default", c.Drain)
	}
	if c.MaxLeases < 0 {
		bad("MaxLeases is %d: use a positive number, or 0 for no bound", c.MaxLeases)
	}
	if !(c.BalanceThreshold >= 0 && c.BalanceThreshold <= 1) {
		bad("BalanceThreshold is %v: use a part of the mean between 0 and 1, or 0 for the default", c.BalanceThreshold)
	}
	return errors.Join(problems...)
}

const (
	// separator stands between a worker's name and the nonce of its start.
	separator = "#"
	// reserved begins the keys of member rows that are no workers.
	reserved = "@"
	// leaderKey is the row that says who leads. Its Worker is the leader's
	// incarnation, or empty when nobody leads; its Beats are moved by the leader.
	leaderKey = reserved + "leader"
)
