package dynamodb

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/checkpoint"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// The attributes of the KCL's lease table.
const (
	leaseKey         = "leaseKey"
	leaseOwner       = "leaseOwner"
	leaseCounter     = "leaseCounter"
	checkpointOwner  = "checkpointOwner"
	checkpointNumber = "checkpoint"
	checkpointSub    = "checkpointSubSequenceNumber"
	ownerSwitches    = "ownerSwitchesSinceCheckpoint"
	pendingNumber    = "pendingCheckpoint"
	pendingSub       = "pendingCheckpointSubSequenceNumber"
	pendingState     = "pendingCheckpointState"
	parentShards     = "parentShardId" // a set, despite its name
	childShards      = "childShardIds"
	startingHash     = "startingHashKey"
	endingHash       = "endingHashKey"
	throughput       = "throughputKBps"
	entityType       = "entityType" // since 3.5; other kinds of rows have another one
	leaseEntity      = "LEASE"
	multiStreamName  = "streamName" // of multi-stream applications
	multiStreamShard = "shardId"
)

// Ours, which the KCL passes over and leaves alone.
const (
	// shardOf says of which shard of which stream the row is. It never changes.
	shardOf                    = "millraceShard"
	shardStream, shardStreamID = "stream", "streamId"
	shardID                    = "shard"

	// millrace holds what the KCL has no attributes for. It is as old as its
	// counter: when leaseCounter has gone on, somebody who does not know it has
	// written since, and what that changed holds.
	millrace       = "millrace"
	ourCounter     = "counter"
	ourWrite       = "write" // the mark of the write, by which its writer knows it again
	ourTerm        = "term"
	ourCheckpoint  = "checkpoint" // where the KCL's form says less
	ourPending     = "pending"
	ourProgress    = "progress"
	ourParents     = "parents" // in their order, where that is not the order of a set
	ourChildren    = "children"
	ourHash        = "hash" // where the KCL would refuse it, or does not have it
	ourBytesPerS   = "bytesPerSecond"
	ourRecordsPerS = "recordsPerSecond"
)

// changing are the attributes that a swap sets or removes. ownerSwitches and
// the ends of the hash range have rules of their own.
var changing = []string{
	leaseOwner, leaseCounter, checkpointOwner, checkpointNumber, checkpointSub,
	pendingNumber, pendingSub, pendingState, parentShards, childShards, throughput, millrace,
}

// state returns the attributes of a lease that swaps change.
func (f *layout) state(l lease.Lease, counter int64, mark string) item {
	it := item{leaseCounter: integer(counter)}
	ours := item{ourCounter: integer(counter), ourWrite: text(mark)}
	if l.Term != 0 {
		ours[ourTerm] = integer(l.Term)
	}
	setText(it, leaseOwner, l.Owner)
	setText(it, checkpointOwner, l.CheckpointOwner)

	at, sub, same := f.kclPosition(l.Checkpoint.Position)
	setPosition(it, checkpointNumber, checkpointSub, at, sub)
	if !same {
		ours[ourCheckpoint] = text(positionText(l.Checkpoint.Position))
	}
	switch at, sub, same := f.kclPosition(l.Checkpoint.Pending.Position); {
	case same:
		setPosition(it, pendingNumber, pendingSub, at, sub)
	case !l.Checkpoint.Pending.Position.IsZero():
		ours[ourPending] = text(positionText(l.Checkpoint.Pending.Position))
	}
	if data := l.Checkpoint.Pending.Data; len(data) > 0 {
		it[pendingState] = binary(data)
	}
	if data := l.Checkpoint.Progress; len(data) > 0 {
		ours[ourProgress] = binary(data)
	}

	setShards(it, parentShards, ours, ourParents, l.Parents)
	setShards(it, childShards, ours, ourChildren, l.Children)
	if !kclHash(l.Hash) {
		ours[ourHash] = list([]string{l.Hash.Start.String(), l.Hash.End.String()})
	} else {
		setHash(it, l.Hash)
	}
	setFloat(ours, ourBytesPerS, l.Load.BytesPerSecond)
	setFloat(ours, ourRecordsPerS, l.Load.RecordsPerSecond)
	if kbps := l.Load.BytesPerSecond / kilobyte; kbps > 0 {
		it[throughput] = number(strconv.FormatFloat(rounded(kbps), 'f', -1, 64))
	}
	it[millrace] = &types.AttributeValueMemberM{Value: ours}
	return it
}

// kilobyte is the KCL's.
const kilobyte = 1024

// rounded returns a throughput with the six digits that the KCL gives it, and
// not more than DynamoDB's numbers have room for.
func rounded(kbps float64) float64 {
	const digits, most = 1e6, 1e30
	return min(math.Round(kbps*digits)/digits, most)
}

func setPosition(it item, numberName, subName, checkpoint string, sub uint64) {
	it[numberName] = text(checkpoint)
	it[subName] = number(strconv.FormatUint(sub, 10))
}

// setShards keeps shard IDs as the KCL's set, and beside it as they are in
// order where the set forgets that.
func setShards(it item, name string, ours item, ourName string, shards []string) {
	if len(shards) == 0 {
		return
	}
	as := set(shards)
	it[name] = as
	if !slices.Equal(as.(*types.AttributeValueMemberSS).Value, shards) {
		ours[ourName] = list(shards)
	}
}

// kclHash reports whether a hash range is kept by the KCL's attributes alone:
// it has at least two points there, and is not the whole space, for which a row
// of the KCL before 2.3 is taken that has none.
func kclHash(h stream.HashRange) bool {
	return h != stream.FullRange && h.Start.Compare(h.End) < 0
}

func setHash(it item, h stream.HashRange) {
	it[startingHash], it[endingHash] = text(h.Start.String()), text(h.End.String())
}

// newRow returns the row of a lease that is created.
func (f *layout) newRow(l lease.Lease, mark string) item {
	it := f.state(l, l.Counter, mark)
	key := f.tableKey(l.Key)
	it[leaseKey] = text(key)
	it[entityType] = text(leaseEntity)
	it[ownerSwitches] = integer(0)
	if l.Hash == stream.FullRange {
		setHash(it, l.Hash)
	}
	it[shardOf] = shardAttribute(l.Stream, l.StreamID, l.Shard)
	if of, shard, ok := parts(l.Key); ok && f.names[of] != "" {
		it[multiStreamName], it[multiStreamShard] = text(f.names[of]), text(shard)
	}
	return it
}

// listed refuses the leases of streams that the KCL would have no name for: in a
// multi-stream table it cannot read a row without one, and gives up on all of them.
func (f *layout) listed(l lease.Lease) error {
	if of, _, ok := parts(l.Key); len(f.multi) > 0 && (!ok || f.names[of] == "") {
		return fmt.Errorf("stream %q is not in Config.MultiStream: name all streams of the fleet there, in the KCL's form", l.Stream)
	}
	return nil
}

// largestRow is what a row may have, in bytes: an item of DynamoDB has 400 KB at
// most, and some of it may be others'.
const largestRow = 396 << 10

// fits refuses what has no room in a row, and names that would come back as others.
func fits(it item) error {
	for name, value := range it {
		for text := range textsOf(value) {
			if !utf8.ValidString(text) {
				return fmt.Errorf("%s %q: %w", name, text, ErrText)
			}
		}
	}
	if size := sizeOf(it); size > largestRow {
		return fmt.Errorf("the row would have %d bytes, and may have %d: %w", size, largestRow, checkpoint.ErrTooLarge)
	}
	return nil
}

func shardAttribute(name, id, shard string) types.AttributeValue {
	of := item{}
	setText(of, shardStream, name)
	setText(of, shardStreamID, id)
	setText(of, shardID, shard)
	return &types.AttributeValueMemberM{Value: of}
}

// A row that is not to be looked at: of another kind.
var errNoLease = errors.New("the row is no lease")

// lease reads a row. It returns [errNoLease] for rows of other kinds,
// [errUnmarked] for those of a KCL that nobody has inherited, and other errors for
// rows that are, or may be, leases and cannot be understood.
func (f *layout) lease(it item) (lease.Lease, error) {
	r := &reader{item: it}
	if kind := r.text(entityType); kind != "" && kind != leaseEntity {
		return lease.Lease{}, errNoLease
	}
	key := r.text(leaseKey)
	l := lease.Lease{Owner: r.text(leaseOwner), CheckpointOwner: r.text(checkpointOwner), Counter: r.integer(leaseCounter)}
	for _, name := range []string{leaseKey, leaseCounter, checkpointNumber} {
		if it[name] == nil {
			r.bad(name, "is missing")
		}
	}
	marked := f.readShard(r, key, &l)

	l.Checkpoint.Position = f.readPosition(r, checkpointNumber, checkpointSub)
	l.Checkpoint.Pending.Position = f.readPosition(r, pendingNumber, pendingSub)
	if data, ok := it[pendingState].(*types.AttributeValueMemberB); ok {
		// The KCL writes a number here when it creates a row.
		l.Checkpoint.Pending.Data = data.Value
	}
	l.Parents, l.Children = r.strings(parentShards), r.strings(childShards)
	l.Hash = stream.FullRange
	if it[startingHash] != nil && it[endingHash] != nil {
		l.Hash.Start = parse(r, startingHash, r.text, stream.ParseHash)
		l.Hash.End = parse(r, endingHash, r.text, stream.ParseHash)
	}
	l.Load.BytesPerSecond = parse(r, throughput, r.number, parseFloat) * kilobyte

	if ours, there := r.inside(millrace); there {
		readOurs(ours, &l)
		r.errs = append(r.errs, ours.errs...)
	}
	err := r.err()
	if err == nil && !marked {
		err = errUnmarked
	}
	if err != nil {
		return lease.Lease{}, fmt.Errorf("row %q: %w", key, err)
	}
	return l, nil
}

// errMoved says that a row lies under another key than it would be looked for.
var errMoved = errors.New("Config.SingleStream or Config.MultiStream is not what it was when the row was made: set it as it was then, in all workers")

// readShard reads of which shard a row is; it reports whether the row says so.
func (f *layout) readShard(r *reader, key string, l *lease.Lease) (marked bool) {
	if r.item[shardOf] == nil {
		return false
	}
	of, _ := r.inside(shardOf)
	l.Stream, l.StreamID, l.Shard = of.text(shardStream), of.text(shardStreamID), of.text(shardID)
	r.errs = append(r.errs, of.errs...)
	switch l.Key = lease.Key(l.StreamID, l.Shard); {
	case f.tableKey(l.Key) == key:
	case key == l.Key || key == l.Shard || strings.HasSuffix(key, ":"+l.Shard):
		r.errs = append(r.errs, errMoved)
	default: // it was created under another name
		l.Key = key
	}
	return true
}

// readPosition reads what the KCL knows; nothing is no position.
func (f *layout) readPosition(r *reader, numberName, subName string) (p stream.Position) {
	sub := parse(r, subName, r.number, parseSub)
	return parse(r, numberName, r.text, func(s string) (stream.Position, error) { return f.position(s, sub) })
}

// readOurs puts what the KCL has no attributes for over what it says.
func readOurs(r *reader, l *lease.Lease) {
	restore := func(name string, shards *[]string) {
		// Children may come to the set without a new counter.
		if order := r.strings(name); order != nil && slices.Equal(set(order).(*types.AttributeValueMemberSS).Value, *shards) {
			*shards = order
		}
	}
	restore(ourParents, &l.Parents)
	restore(ourChildren, &l.Children)
	if r.integer(ourCounter) != l.Counter {
		return // somebody else has written since: what the KCL's attributes say holds
	}
	l.Term = r.integer(ourTerm)
	if r.item[ourCheckpoint] != nil {
		l.Checkpoint.Position = parse(r, ourCheckpoint, r.text, parsePosition)
	}
	if r.item[ourPending] != nil {
		l.Checkpoint.Pending.Position = parse(r, ourPending, r.text, parsePosition)
	}
	l.Checkpoint.Progress = r.bytes(ourProgress)
	if ends := r.strings(ourHash); len(ends) == 2 {
		for i, end := range []*stream.Hash{&l.Hash.Start, &l.Hash.End} {
			var err error
			if *end, err = stream.ParseHash(ends[i]); err != nil {
				r.bad(ourHash, "%v", err)
			}
		}
	}
	l.Load = lease.Load{BytesPerSecond: r.float(ourBytesPerS), RecordsPerSecond: r.float(ourRecordsPerS)}
}

// keyOf returns the key of a row.
func keyOf(it item) string { return (&reader{item: it}).text(leaseKey) }

// writeOf returns the mark of the last write that knew our attributes, and the
// counter that it wrote.
func writeOf(it item) (mark string, counter int64) {
	ours, _ := (&reader{item: it}).inside(millrace)
	return ours.text(ourWrite), ours.integer(ourCounter)
}
