package server

import (
	"context"
	"time"

	"github.com/millrace/millrace/engine/server/internal/state"
)

type describeAccountSettingsInput struct{}

type accountSettingsOutput struct {
	MinimumThroughputBillingCommitment commitment
}

type commitment struct {
	Status               string
	StartedAt            *time.Time
	EarliestAllowedEndAt *time.Time
	EndedAt              *time.Time
}

// describeAccountSettings tells what holds for all streams.
func (s *Server) describeAccountSettings(context.Context, *describeAccountSettingsInput) (*accountSettingsOutput, error) {
	if err := s.pace(5, "DescribeAccountSettings"); err != nil {
		return nil, err
	}
	return &accountSettingsOutput{commitmentShape(s.state.Load().Account, time.Now())}, nil
}

func commitmentShape(a state.Account, now time.Time) commitment {
	c := commitment{Status: commitmentDisabled}
	if a.Started == 0 {
		return c
	}
	started, earliest, ended := time.UnixMilli(a.Started), a.EarliestEnd(), time.UnixMilli(a.Ended)
	c.StartedAt = &started
	switch {
	case a.Ended == 0:
		c.Status, c.EarliestAllowedEndAt = commitmentEnabled, &earliest
	case a.Committed(now):
		c.Status, c.EarliestAllowedEndAt = commitmentEnding, &earliest
	default:
		c.EndedAt = &ended
	}
	return c
}

const (
	commitmentEnabled  = "ENABLED"
	commitmentDisabled = "DISABLED"
	commitmentEnding   = "ENABLED_UNTIL_EARLIEST_ALLOWED_END"
)
