package server

import (
	"github.com/millrace/millrace/engine/server/internal/state"
)

// What a stream is like beside what the engine keeps, in the shapes of the API.

const (
	modeProvisioned = "PROVISIONED"
	modeOnDemand    = "ON_DEMAND"

	strategyAuto = "AUTO"
	strategyKey  = "USER_PARTITION_KEY"

	encryptionNone = "NONE"
	encryptionKMS  = "KMS"
)

type streamModeDetails struct {
	StreamMode string `wire:"required,enum=PROVISIONED|ON_DEMAND"`
}

type warmThroughput struct {
	TargetMiBps  int32
	CurrentMiBps int32
}

type enhancedMetrics struct {
	ShardLevelMetrics []string
}

func (v view) mode() streamModeDetails {
	if v.known.OnDemand {
		return streamModeDetails{modeOnDemand}
	}
	return streamModeDetails{modeProvisioned}
}

// strategy is empty for streams that have none, since they are provisioned.
func (v view) strategy() string {
	switch {
	case !v.known.OnDemand:
		return ""
	case v.known.AnyShard:
		return strategyAuto
	}
	return strategyKey
}

func (v view) warmThroughput() *warmThroughput {
	if v.known.WarmThroughput == 0 {
		return nil
	}
	return &warmThroughput{v.known.WarmThroughput, v.known.WarmThroughput}
}

func (v view) encryption() string {
	if v.known.KeyID == "" {
		return encryptionNone
	}
	return encryptionKMS
}

func (v view) monitoring() []enhancedMetrics {
	return []enhancedMetrics{{ShardLevelMetrics: append([]string{}, v.known.Metrics...)}}
}

// wantsProvisioned refuses what is done with shards to an on-demand stream.
func (s *Server) wantsProvisioned(v view) error {
	if v.known.OnDemand {
		return validationError("Request is invalid. Stream %s under account %s is in On-Demand mode.", v.name, s.config.Account)
	}
	return nil
}

// wantsOnDemand refuses a distribution strategy to a provisioned stream.
func (s *Server) wantsOnDemand(name string) error {
	return invalidArgument("Stream %s under account %s is in Provisioned mode: a RecordDistributionStrategy is for streams in On-Demand mode.", name, s.config.Account)
}

// settled refuses a stream that is not there yet, or not for long any more.
func (s *Server) settled(v view) error {
	if v.status == state.Creating || v.status == state.Deleting {
		return s.active(v)
	}
	return nil
}
