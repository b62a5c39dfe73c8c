package postgres

import "github.com/millrace/millrace/lease"

var _ lease.Grouping = (*Store)(nil)

// GroupsSwaps implements [lease.Grouping]: swaps that come together are one
// statement.
func (s *Store) GroupsSwaps() bool { return true }
