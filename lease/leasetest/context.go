package leasetest

import (
	"context"
	"errors"

	"github.com/millrace/millrace/lease"
)

var contexts = []clause{
	{"NothingIsDoneForAContextThatIsOver", func(r *room) {
		row, member := full("a"), r.join("w/1")
		r.create(row)
		over, cancel := context.WithCancel(r.ctx)
		cancel()
		for what, call := range map[string]func() error{
			"leases": func() error {
				for _, err := range r.store.Leases(over) {
					if err != nil {
						return err
					}
				}
				return nil
			},
			"owned":  func() error { _, err := r.store.Owned(over, row.Owner); return err },
			"read":   func() error { _, err := r.store.Read(over, "a"); return err },
			"create": func() error { return r.store.Create(over, plain("b")) },
			"swap":   func() error { _, err := r.store.Swap(over, row, plain("a")); return err },
			"conflict": func() error {
				_, err := r.store.Swap(over, lease.Lease{Key: "a"}, plain("a"))
				return err
			},
			"delete":  func() error { return r.store.Delete(over, row) },
			"members": func() error { _, err := r.store.Members(over); return err },
			"join":    func() error { _, err := r.store.SwapMember(over, nobody, fullMember("w/2")); return err },
			"beat":    func() error { _, err := r.store.SwapMember(over, member, member); return err },
			"end":     func() error { _, err := r.store.SwapMember(over, member, nobody); return err },
		} {
			if err := call(); !errors.Is(err, context.Canceled) {
				r.Fatalf("%s: got error %v, want one that is %v", what, err, context.Canceled)
			}
		}
		r.same("leases", r.list(), row)
		r.sameMembers(member)
	}},

	{"AListingEndsWithItsContext", func(r *room) {
		r.create(manyRows(r.options.Rows)...)
		ctx, cancel := context.WithCancel(r.ctx)
		defer cancel()
		var last error
		n := 0
		for _, err := range r.store.Leases(ctx) {
			if last != nil {
				r.Fatalf("something was yielded after the error %v", last)
			}
			if n++; n == 1 {
				cancel()
			}
			last = err
		}
		if !errors.Is(last, context.Canceled) {
			r.Fatalf("the last error: got %v, want one that is %v", last, context.Canceled)
		}
	}},
}
