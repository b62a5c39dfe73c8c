package sqlite

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Config says how a file is used. Application is needed; the zero value of
// everything else works.
type Config struct {
	// Application names whose rows these are, and is that of the fleet's workers.
	// Handles with another name see nothing of them.
	Application string

	// MayForgetOnPowerCut makes writes several times faster, because they no
	// longer wait for the disk. The price: a power cut or a crash of the
	// operating system may take back the last writes, so that records are
	// processed again and a term (a fencing token) can be given out a second
	// time. The file stays whole, and the end of a process takes nothing back.
	// Default: false: an acknowledged write is durable.
	MayForgetOnPowerCut bool

	// PollInterval is how often Changes looks for writes of others; a look
	// costs some microseconds. Default: 250 ms.
	PollInterval time.Duration
}

func (c Config) withDefaults() Config {
	c.PollInterval = cmp.Or(c.PollInterval, 250*time.Millisecond)
	return c
}

func (c Config) validate() error {
	if c.Application == "" {
		return errors.New("sqlite: Config.Application is empty: name the fleet as its workers do, for example \"billing\"")
	}
	if c.PollInterval < time.Millisecond {
		return fmt.Errorf("sqlite: Config.PollInterval is %v: want 1ms or more, or 0 for 250ms", c.PollInterval)
	}
	return nil
}

// synchronous is SQLite's word for what a commit waits for.
func (c Config) synchronous() string {
	if c.MayForgetOnPowerCut {
		return "NORMAL"
	}
	return "FULL"
}
