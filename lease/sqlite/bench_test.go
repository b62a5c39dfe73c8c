package sqlite

import (
	"fmt"
	"sync"
	"testing"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

func benchmarks(b *testing.B, run func(b *testing.B, s *Store)) {
	for name, config := range map[string]Config{"durable": {Application: "app"}, "forgetful": {Application: "app", MayForgetOnPowerCut: true}} {
		b.Run(name, func(b *testing.B) {
			s := open(b, file(b), config)
			b.ReportAllocs()
			run(b, s)
		})
	}
}

func someLeases(n int) []lease.Lease {
	rows := make([]lease.Lease, n)
	for i := range rows {
		rows[i] = lease.Lease{
			Key: fmt.Sprintf("orders:1700000000000/shardId-%012d", i), Stream: "orders", StreamID: "orders:1700000000000",
			Shard: fmt.Sprintf("shardId-%012d", i), Owner: fmt.Sprint("w", i%100), Counter: 1_700_000_000_000,
			Checkpoint: checkpoint.State{Position: stream.After(stream.MakeSequence(1<<50, 1<<60, uint64(i)))},
			Hash:       stream.FullRange,
		}
	}
	return rows
}

func BenchmarkSwap(b *testing.B) {
	benchmarks(b, func(b *testing.B, s *Store) {
		rows := someLeases(1000)
		if err := s.Create(b.Context(), rows...); err != nil {
			b.Fatal(err)
		}
		for i := 0; b.Loop(); i++ {
			row, err := s.Swap(b.Context(), rows[i%len(rows)], rows[i%len(rows)])
			if err != nil {
				b.Fatal(err)
			}
			rows[i%len(rows)] = row
		}
	})
}

func BenchmarkSwapMember(b *testing.B) {
	benchmarks(b, func(b *testing.B, s *Store) {
		row, err := s.SwapMember(b.Context(), lease.Member{}, lease.Member{Incarnation: "w/1", Worker: "w", Host: "h"})
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if row, err = s.SwapMember(b.Context(), row, row); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCreate1000(b *testing.B) {
	benchmarks(b, func(b *testing.B, s *Store) {
		rows := someLeases(1000)
		for n := 0; b.Loop(); n++ {
			for i := range rows {
				rows[i].Key = fmt.Sprintf("%d/shardId-%012d", n, i)
			}
			if err := s.Create(b.Context(), rows...); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkLeases10000(b *testing.B) {
	benchmarks(b, func(b *testing.B, s *Store) {
		if err := s.Create(b.Context(), someLeases(10_000)...); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			n := 0
			for _, err := range s.Leases(b.Context()) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if n != 10_000 {
				b.Fatal(n)
			}
		}
	})
}

func BenchmarkOwned100Of10000(b *testing.B) {
	benchmarks(b, func(b *testing.B, s *Store) {
		if err := s.Create(b.Context(), someLeases(10_000)...); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if rows, err := s.Owned(b.Context(), "w7"); err != nil || len(rows) != 100 {
				b.Fatal(len(rows), err)
			}
		}
	})
}

func BenchmarkRead1(b *testing.B) {
	benchmarks(b, func(b *testing.B, s *Store) {
		rows := someLeases(10_000)
		if err := s.Create(b.Context(), rows...); err != nil {
			b.Fatal(err)
		}
		for i := 0; b.Loop(); i++ {
			if rows, err := s.Read(b.Context(), rows[i%len(rows)].Key); err != nil || len(rows) != 1 {
				b.Fatal(len(rows), err)
			}
		}
	})
}

// BenchmarkSwapTogether makes swaps of several rows at a time.
func BenchmarkSwapTogether(b *testing.B) {
	for _, group := range []int{16, 128} {
		b.Run(fmt.Sprint(group), func(b *testing.B) {
			benchmarks(b, func(b *testing.B, s *Store) {
				rows := someLeases(1024)
				if err := s.Create(b.Context(), rows...); err != nil {
					b.Fatal(err)
				}
				groups := flights(s)
				var wg sync.WaitGroup
				for first := range group {
					wg.Go(func() {
						for i := first; i < b.N; i += group {
							row := &rows[i%len(rows)]
							next := *row
							next.Checkpoint.Position = stream.After(stream.MakeSequence(1, 1, uint64(i)))
							var err error
							if *row, err = s.Swap(b.Context(), *row, next); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/float64(groups.Load()), "swaps/transaction")
			})
		})
	}
}
