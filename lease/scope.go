package lease

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Scope is a part of what an application processes: all of it (the zero value),
// one stream by its name, or one shard of a stream. For an [Operator] the last part
// of an ARN will do, which is the name of a stream of Kinesis: "orders" for
// "arn:aws:kinesis:eu-west-1:111122223333:stream/orders".
type Scope struct {
	Stream string `json:"stream,omitempty"`
	Shard  string `json:"shard,omitempty"`
}

func (s Scope) String() string {
	switch {
	case s.Stream == "":
		return "the application"
	case s.Shard == "":
		return "stream " + s.Stream
	default:
		return "shard " + s.Shard + " of " + s.Stream
	}
}

// Has reports whether the row of a lease is about a shard of the scope, in which
// the stream has its whole name.
func (s Scope) Has(l Lease) bool {
	return (s.Stream == "" || s.Stream == l.Stream) && (s.Shard == "" || s.Shard == l.Shard)
}

// find returns the scope with the whole name of its stream. One that fits no row
// is refused, with what there is: nothing would come of it, and nobody would see
// that. All of an application always fits, and so does what somebody has paused,
// though its rows are gone.
func (p *picture) find(s Scope) (Scope, error) {
	if s.Stream == "" {
		return s, nil
	}
	streams := map[string]map[string]bool{} // their shards
	add := func(stream, shard string) {
		if streams[stream] == nil {
			streams[stream] = map[string]bool{}
		}
		streams[stream][shard] = true
	}
	for _, l := range p.leases {
		add(l.Stream, l.Shard)
	}
	for scope := range p.orders.holds {
		if scope.Stream != "" {
			add(scope.Stream, scope.Shard)
		}
	}
	if streams[s.Stream] == nil {
		var meant []string
		for _, name := range slices.Sorted(maps.Keys(streams)) {
			if strings.HasPrefix(name, "arn:") && strings.HasSuffix(name, "/"+s.Stream) {
				meant = append(meant, name)
			}
		}
		switch len(meant) {
		case 0:
			return s, notPossible("the fleet has no stream %q; it has %s", s.Stream, some(streams))
		case 1:
			s.Stream = meant[0]
		default:
			return s, notPossible("%q may be any of %s: give the whole name", s.Stream, strings.Join(meant, ", "))
		}
	}
	if shards := streams[s.Stream]; s.Shard != "" && !shards[s.Shard] {
		delete(shards, "") // an order on the stream
		return s, notPossible("the fleet has no shard %q of %s; it has %s", s.Shard, s.Stream, some(shards))
	}
	return s, nil
}

// some names what there is, though not without end.
func some[V any](of map[string]V) string {
	const most = 20
	names := slices.Sorted(maps.Keys(of))
	switch {
	case len(names) == 0:
		return "none yet"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	default:
		return strings.Join(names, ", ")
	}
}
