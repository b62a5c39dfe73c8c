package dynamodb

import (
	"sync"
	"time"

	"github.com/millrace/millrace/lease"
)

// trust is how long Owned may go on giving a row that it has read once. Nobody
// but the owner writes the row of a settled lease without changing what the
// indexes say of it, and what this handle writes or learns is known at once; so
// this bounds what should not be, and not what happens every day.
const trust = 2 * time.Minute

// known remembers the rows that Owned has read, so that a worker which asks for
// its leases again and again does not pay for reading them each time.
type known struct {
	mu   sync.Mutex
	rows map[string]knownRow // by key in the table
}

type knownRow struct {
	lease lease.Lease
	read  time.Time
}

// settled divides what the indexes say of an owner into rows that are known and
// keys that have to be read. A row in a handoff is always read: when that ends,
// the indexes may say the same of its new owner.
func (k *known) settled(owner string, owns, checkpoints []string) (rows []lease.Lease, unknown []string) {
	var (
		owned  = setOf(owns)
		moving = setOf(checkpoints)
	)
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, row := range k.rows {
		mine := row.lease.Owner == owner
		if time.Since(row.read) > trust || mine && (!owned[key] || moving[key] || row.lease.CheckpointOwner != "") {
			delete(k.rows, key)
		}
	}
	for key := range owned {
		if row, there := k.rows[key]; there && row.lease.Owner == owner {
			rows = append(rows, row.lease)
		} else {
			unknown = append(unknown, key)
		}
	}
	for key := range moving {
		if !owned[key] {
			unknown = append(unknown, key)
		}
	}
	return rows, unknown
}

func setOf(keys []string) map[string]bool {
	set := make(map[string]bool, len(keys))
	for _, key := range keys {
		set[key] = true
	}
	return set
}

// add remembers a row that was read just now.
func (k *known) add(key string, row lease.Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rows[key] = knownRow{row, time.Now()}
}

// learn takes note of a row as it is, if it is one that is remembered; the zero
// Lease says that nothing is known of it any more.
func (k *known) learn(key string, row lease.Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch before, there := k.rows[key]; {
	case row.Key == "":
		delete(k.rows, key)
	case there:
		k.rows[key] = knownRow{row, before.read}
	}
}
