package worker

import (
	"sync"
	"time"

	"github.com/millrace/millrace/lease"
)

// loadMeter smooths what a shard costs, over about a minute. Its methods may be
// called at the same time.
type loadMeter struct {
	mu      sync.Mutex
	since   time.Time // when the measuring period began
	bytes   int       // in this period
	records int
	smooth  lease.Load
}

const loadMemory = time.Minute

// newLoadMeter goes on from what the shard cost in its former term: a shard
// that has just moved must not look as if it cost nothing, or more would follow.
func newLoadMeter(former lease.Load) *loadMeter {
	return &loadMeter{since: time.Now(), smooth: former}
}

func (m *loadMeter) add(bytes, records int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes += bytes
	m.records += records
}

// rate closes a measuring period and returns the smoothed load.
func (m *loadMeter) rate() lease.Load {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if d := now.Sub(m.since); d > 0 {
		weight := min(1, d.Seconds()/loadMemory.Seconds())
		m.smooth.BytesPerSecond += weight * (float64(m.bytes)/d.Seconds() - m.smooth.BytesPerSecond)
		m.smooth.RecordsPerSecond += weight * (float64(m.records)/d.Seconds() - m.smooth.RecordsPerSecond)
		m.since, m.bytes, m.records = now, 0, 0
	}
	return m.smooth
}
