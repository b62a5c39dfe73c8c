// Package sqlstore is what the lease stores in SQL databases share. Each of them
// keeps its own statements and speaks to its own driver; here is what does not
// depend on either:
//
//	migrations/0001_….sql ──► Migrations ──► Missing ──► what a database still needs
//	swap ──┐
//	swap ──┼──► Gatherer ──► one statement, or one transaction, for all that wait
//	swap ──┘
//	row ◄── Blob, Parse ──► columns
//	rows ──► List ──► Understood ──► the rows of a listing that are leases
//	old, next ──► Wakes ──► whether others should hear of it
package sqlstore
