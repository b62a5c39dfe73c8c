package server

import (
	"context"
	"slices"
)

// disableEnhancedMonitoring notes metrics as not wanted any more.
func (s *Server) disableEnhancedMonitoring(ctx context.Context, in *enhancedMonitoringInput) (*enhancedMonitoringOutput, error) {
	return s.setMonitoring(ctx, in, func(now, named []string) []string {
		return slices.DeleteFunc(slices.Clone(now), func(m string) bool { return slices.Contains(named, m) })
	})
}
