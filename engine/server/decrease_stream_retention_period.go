package server

import (
	"context"
	"time"
)

type decreaseStreamRetentionPeriodInput struct {
	streamRef
	RetentionPeriodHours int `wire:"required"`
}

// decreaseStreamRetentionPeriod lets records be read for a shorter time. What is
// older can not be read from then on.
func (s *Server) decreaseStreamRetentionPeriod(ctx context.Context, in *decreaseStreamRetentionPeriodInput) error {
	return s.setRetention(ctx, in.streamRef, in.RetentionPeriodHours, func(v view, now time.Duration) error {
		if time.Duration(in.RetentionPeriodHours)*time.Hour > now {
			return invalidArgument("Requested retention period (%d hours) for stream %s can not be longer than existing retention period (%d hours). Use IncreaseRetentionPeriod API.",
				in.RetentionPeriodHours, v.name, hours(now))
		}
		return nil
	})
}
