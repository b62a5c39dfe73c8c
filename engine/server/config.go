package server

import (
	"cmp"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/millrace/millrace/engine"
)

// Config of a server. The zero value works.
type Config struct {
	// Region and Account are part of every ARN, and what ARNs in requests must
	// name. Default: us-east-1 and 000000000000, as other local endpoints have.
	Region  string
	Account string
	// Limits are the throughput limits of the streams that are created through the
	// API. With [engine.KinesisLimits] the API keeps its own as well: calls per
	// second, changes per day, steps of UpdateShardCount. Default: none.
	Limits engine.Limits
	// StateDelay is how long streams and consumers are CREATING, UPDATING and
	// DELETING, so that programs meet those states. What was asked for is done
	// at once all the same, but for deletion. At most an hour. Default: 0, whoever
	// creates a stream can use it when the call returns.
	StateDelay time.Duration
	// AccessKeys are the keys with which requests have to be signed. Without any,
	// every signature is believed, and only clients on the same machine are
	// served, since whoever can reach the server could do everything. Behind a
	// proxy or a tunnel that ends on this machine, others look like its own:
	// set keys there. Those that say so (Forwarded, X-Forwarded-For, Via) are refused.
	AccessKeys []AccessKey
	// CertFile and KeyFile have a certificate for TLS and its key, in PEM. Default:
	// the server makes its own, see [Server.Certificate].
	CertFile, KeyFile string
	// MaxRequestMemory bounds how much memory requests and their answers hold at one
	// time, in bytes: three eighths are for bodies of more than 64 KiB, as much for
	// answers and events with records, the rest for all else. Who finds no room waits
	// for it, 20 seconds at most, and is then told to try again (status 503, after
	// which SDKs do); as long as somebody waits, clients that send or take less than
	// 1 MiB in a second are cut off. Connections and subscriptions at rest do not
	// count. At least 64 MiB. Default: 512 MiB.
	MaxRequestMemory int
	// Logger is told what no client is told: failures of the server itself.
	// Default: slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Region = cmp.Or(c.Region, "us-east-1")
	c.Account = cmp.Or(c.Account, "000000000000")
	c.MaxRequestMemory = cmp.Or(c.MaxRequestMemory, 512<<20)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c
}

var (
	regionForm  = regexp.MustCompile(`^[a-z]{2}(-[a-z0-9]+)+$`)
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
)

func (c Config) validate() error {
	if !regionForm.MatchString(c.Region) {
		return fmt.Errorf("Config.Region is %q: use the form of us-east-1", c.Region)
	}
	if !accountForm.MatchString(c.Account) {
		return fmt.Errorf("Config.Account is %q: use 12 digits", c.Account)
	}
	if c.Limits > engine.KinesisLimits {
		return fmt.Errorf("Config.Limits is %v: use engine.NoLimits or engine.KinesisLimits", c.Limits)
	}
	if c.StateDelay < 0 || c.StateDelay > time.Hour {
		return fmt.Errorf("Config.StateDelay is %v: use 0 to 1h", c.StateDelay)
	}
	for i, k := range c.AccessKeys {
		if k.ID == "" || strings.ContainsAny(k.ID, "/, ") || k.Secret == "" {
			return fmt.Errorf("Config.AccessKeys[%d] has the ID %q: use an ID without slash, comma and space, and a secret", i, k.ID)
		}
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return fmt.Errorf("Config.CertFile is %q and Config.KeyFile is %q: give both, or none", c.CertFile, c.KeyFile)
	}
	if c.MaxRequestMemory < 64<<20 {
		return fmt.Errorf("Config.MaxRequestMemory is %d: use at least 64 MiB, for a request with records of 10 MiB", c.MaxRequestMemory)
	}
	return nil
}
