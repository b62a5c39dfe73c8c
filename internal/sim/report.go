package sim

import (
	"time"

	"github.com/millrace/millrace/internal/check"
)

// Report is what a simulation saw. The counts of several can be added up.
type Report struct {
	// What was done to the fleet.
	Lives, Crashes, Stops, Freezes, Cuts, Hangs, Outages, Reshards int
	// FleetTime is the time that workers lived, in sum.
	FleetTime time.Duration

	// Moves is what the store saw of changes of hands.
	Moves check.Moves
	// Checked is what the checker saw, EffectsRefused how often the sink turned
	// a former term away.
	Checked        check.Stats
	EffectsRefused int
	// Hash tells two courses apart.
	Hash uint64

	// Rest is how long the fleet took from the last fault until it was at rest,
	// Latency the longest way of a record from its put to its end after that.
	Rest, Latency time.Duration
}

// Add adds the counts of another simulation, and keeps the longest times.
func (r *Report) Add(s Report) {
	r.Lives += s.Lives
	r.Crashes += s.Crashes
	r.Stops += s.Stops
	r.Freezes += s.Freezes
	r.Cuts += s.Cuts
	r.Hangs += s.Hangs
	r.Outages += s.Outages
	r.Reshards += s.Reshards
	r.FleetTime += s.FleetTime
	r.Moves.Add(s.Moves)
	r.Checked.Add(s.Checked)
	r.EffectsRefused += s.EffectsRefused
	r.Hash ^= s.Hash
	r.Rest = max(r.Rest, s.Rest)
	r.Latency = max(r.Latency, s.Latency)
}
