package sqlstore

import (
	"errors"

	"github.com/millrace/millrace/lease"
)

// Listed is a row of a listing. One that cannot be understood stands for no other
// one: it is there by its key alone.
type Listed struct {
	Lease      lease.Lease
	Unreadable bool
}

// List makes a row of a listing of what reading the row has come to. A row that
// cannot be understood is no error of the listing.
func List(l lease.Lease, err error) (Listed, error) {
	if errors.Is(err, lease.ErrUnreadable) {
		return Listed{Lease: lease.Lease{Key: l.Key}, Unreadable: true}, nil
	}
	return Listed{Lease: l}, err
}

// Understood returns the rows that can be understood.
func Understood(rows []Listed) []lease.Lease {
	all := make([]lease.Lease, 0, len(rows))
	for i := range rows {
		if !rows[i].Unreadable {
			all = append(all, rows[i].Lease)
		}
	}
	return all
}
