package server

import (
	"context"
	"time"
)

type increaseStreamRetentionPeriodInput struct {
	streamRef
	RetentionPeriodHours int `wire:"required"`
}

// Retention periods of the API, in hours.
const (
	shortestRetention = 24
	longestRetention  = 8760
)

// increaseStreamRetentionPeriod lets records be read for longer. What has left
// retention does not come back.
func (s *Server) increaseStreamRetentionPeriod(ctx context.Context, in *increaseStreamRetentionPeriodInput) error {
	return s.setRetention(ctx, in.streamRef, in.RetentionPeriodHours, func(v view, now time.Duration) error {
		if time.Duration(in.RetentionPeriodHours)*time.Hour < now {
			return invalidArgument("Requested retention period (%d hours) for stream %s can not be shorter than existing retention period (%d hours). Use DecreaseRetentionPeriod API.",
				in.RetentionPeriodHours, v.name, hours(now))
		}
		return nil
	})
}

// setRetention changes the retention of an ACTIVE stream, unless refuse says
// why the one that is now forbids it.
func (s *Server) setRetention(ctx context.Context, ref streamRef, period int, refuse func(v view, now time.Duration) error) error {
	switch {
	case period < shortestRetention:
		return invalidArgument("Minimum allowed retention period is %d hours. Requested retention period (%d hours) is too short.", shortestRetention, period)
	case period > longestRetention:
		return invalidArgument("Maximum allowed retention period is %d hours. Requested retention period (%d hours) is too long.", longestRetention, period)
	}
	return s.update(ctx, ref, func(ctx context.Context, c *change, v view) error {
		d, err := v.Describe()
		if err != nil {
			return err
		}
		if err := refuse(v, d.Retention); err != nil {
			return err
		}
		return v.SetRetention(ctx, time.Duration(period)*time.Hour)
	})
}
