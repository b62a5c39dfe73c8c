package server

import (
	"cmp"
	"fmt"
	"log/slog"
	"regexp"
)

// Config of a server. The zero value works.
type Config struct {
	// Region and Account are part of every ARN, and what ARNs in requests must
	// name. Default: us-east-1 and 000000000000, as other local endpoints have.
	Region  string
	Account string
	// Logger is told what no client is told: failures of the server itself.
	// Default: slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Region = cmp.Or(c.Region, "us-east-1")
	c.Account = cmp.Or(c.Account, "000000000000")
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
	return nil
}
