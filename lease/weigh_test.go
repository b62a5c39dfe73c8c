package lease

import "testing"

func TestAFleetWithNextToNothingToDoIsSharedOutByNumber(t *testing.T) {
	for name, c := range map[string]struct {
		load Load // of the one shard that has any
		unit bool
	}{
		"a record a minute":              {Load{BytesPerSecond: 2, RecordsPerSecond: 1. / 60}, true},
		"what is left of a smoothed one": {Load{BytesPerSecond: 1e-9, RecordsPerSecond: 1e-12}, true},
		"few records, and large ones":    {Load{BytesPerSecond: 1 << 20, RecordsPerSecond: 1}, false},
		"many records, and small ones":   {Load{BytesPerSecond: 100, RecordsPerSecond: 100}, false},
	} {
		leases := leasesOf("", "k", 4)
		leases[2].Load = c.load
		weights, unit := weigh(View{Leases: leases, Threshold: 0.1})
		if unit != c.unit || unit && weights[2] != weights[0] {
			t.Errorf("%s: the weights are %v, all the same: %v", name, weights, unit)
		}
	}
}
