package server

import (
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/engine"
)

// limited reports whether the API's own limits are kept.
func (s *Server) limited() bool { return s.config.Limits == engine.KinesisLimits }

// pace refuses a call that comes too soon after others of its operation, of
// which so many may come in a second: of the account, or where a stream is
// named, of that stream.
func (s *Server) pace(perSecond float64, operation string, stream ...string) error {
	if !s.limited() || s.rates.take(perSecond, operation+" "+strings.Join(stream, " "), time.Now()) {
		return nil
	}
	if len(stream) > 0 {
		return limitExceeded("Rate exceeded for stream %s under account %s.", stream[0], s.config.Account)
	}
	return limitExceeded("Rate exceeded for %s under account %s.", operation, s.config.Account)
}

// rates count calls. The zero value works.
type rates struct {
	mu      sync.Mutex
	buckets map[string]bucket
}

// bucket is how many calls were left at a moment.
type bucket struct {
	left float64
	at   time.Time
}

// mostBuckets bounds what is kept of streams that nobody calls any more.
const mostBuckets = 1 << 10

// take uses one of the calls that come in a second, and may be saved up for one.
func (r *rates) take(perSecond float64, key string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buckets == nil {
		r.buckets = map[string]bucket{}
	}
	b, ok := r.buckets[key]
	if !ok {
		if len(r.buckets) >= mostBuckets {
			r.forget(now)
		}
		b = bucket{perSecond, now}
	}
	b.left = min(perSecond, b.left+now.Sub(b.at).Seconds()*perSecond)
	b.at = now
	enough := b.left >= 1
	if enough {
		b.left--
	}
	r.buckets[key] = b
	return enough
}

// forget drops the buckets that are full again; all, when none is.
func (r *rates) forget(now time.Time) {
	for key, b := range r.buckets {
		if now.Sub(b.at) >= time.Second {
			delete(r.buckets, key)
		}
	}
	if len(r.buckets) >= mostBuckets {
		clear(r.buckets)
	}
}
