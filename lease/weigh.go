package lease

import (
	"cmp"
	"math"
	"slices"
)

// weigh gives each lease its weight, so that an average one weighs 1: then a
// count and a load can stand side by side. unit says that all weigh the same,
// because loads are not known, or alike, or next to nothing: then counts can be
// exactly even, and no wavering of loads moves anything.
func weigh(v View) (weights []float64, unit bool) {
	var bytes, records, known float64
	for i := range v.Leases {
		if l := &v.Leases[i]; !l.Finished() && !v.Unknown[l.Key] {
			bytes += l.Load.BytesPerSecond
			records += l.Load.RecordsPerSecond
			known++
		}
	}
	if light := records > 0 && records < known*lightRecords && bytes < known*lightBytes; light {
		bytes, records = 0, 0
	}
	unit = true
	weights = make([]float64, len(v.Leases))
	for i := range v.Leases {
		switch l := &v.Leases[i]; {
		case l.Finished():
		case v.Unknown[l.Key] || bytes == 0 && records == 0:
			weights[i] = 1
		default:
			weights[i] = max(idleWeight, known*meanShare(l.Load, bytes, records))
			unit = unit && math.Abs(weights[i]-1) <= v.Threshold+tiny
		}
	}
	if unit {
		for i := range v.Leases {
			if !v.Leases[i].Finished() {
				weights[i] = 1
			}
		}
	}
	return weights, unit
}

// A fleet whose shards have less than that a second to do on average is shared
// out by their number. With some records a minute, what a shard had to do lately
// is chance, and a move costs more than it could bring.
const (
	lightRecords = 1
	lightBytes   = 1 << 10
)

// idleWeight is what a shard without traffic still costs, as a part of the
// mean: it is read and its lease is looked after.
const idleWeight = 0.1

// tiny is what sums of weights may be wrong by.
const tiny = 1e-9

// meanShare is the part that a shard has in the traffic, bytes and records
// counting alike.
func meanShare(l Load, bytes, records float64) float64 {
	share, kinds := 0.0, 0.0
	if bytes > 0 {
		share, kinds = share+l.BytesPerSecond/bytes, kinds+1
	}
	if records > 0 {
		share, kinds = share+l.RecordsPerSecond/records, kinds+1
	}
	return share / kinds
}

// share returns what each of n workers carries when these weights are shared
// out evenly: the mean, but that a lease which is heavier than all that a worker
// should carry takes up a worker of its own, and the others share the rest. It
// sorts the weights.
func share(weights []float64, n int) float64 {
	total := 0.0
	for _, w := range weights {
		total += w
	}
	slices.SortFunc(weights, func(a, b float64) int { return cmp.Compare(b, a) })
	for _, w := range weights {
		if n <= 1 || w*float64(n) <= total {
			break
		}
		total -= w
		n--
	}
	return total / float64(max(n, 1))
}
