package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/stream"
)

// The stream's methods as calls of net/rpc. A call that waits for records lasts
// until there are some, or its reader is closed.

// service is a stream as one connection uses it.
type service struct {
	stream stream.Stream
	ctx    context.Context // the connection's life
	mu     sync.Mutex
	opened uint64
	open   map[uint64]*opened
}

type opened struct {
	reader stream.Reader
	ctx    context.Context
	close  context.CancelFunc
}

// None is no argument, or no answer.
type None struct{}

// OpenArgs are those of [stream.Stream.Open].
type OpenArgs struct{ Shard, From string }

// NextArgs are those of [stream.Reader.Next].
type NextArgs struct {
	Reader               uint64
	MaxRecords, MaxBytes int
}

// Page is what a read gave.
type Page struct {
	Records  []Record
	Behind   time.Duration
	Ended    bool
	Children []stream.Shard
}

// Record is a [stream.Record] on its way.
type Record struct {
	Sequence [4]uint64
	Key      string
	Data     []byte
	Arrival  int64 // Unix milliseconds
}

func (s *service) Identity(_ None, id *stream.Identity) (err error) {
	*id, err = s.stream.Identity(s.ctx)
	return tell(err)
}

func (s *service) Shards(_ None, shards *[]stream.Shard) (err error) {
	*shards, err = s.stream.Shards(s.ctx)
	return tell(err)
}

func (s *service) Pin(shard string, at *string) error {
	p, err := s.stream.Pin(s.ctx, shard)
	*at = p.String()
	return tell(err)
}

func (s *service) Open(args OpenArgs, id *uint64) error {
	from, err := stream.ParsePosition(args.From)
	if err != nil {
		return err
	}
	r, err := s.stream.Open(s.ctx, args.Shard, from)
	if err != nil {
		return tell(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	*id = s.opened
	o := &opened{reader: r}
	o.ctx, o.close = context.WithCancel(s.ctx)
	s.open[*id] = o
	return nil
}

func (s *service) Next(args NextArgs, page *Page) error {
	s.mu.Lock()
	o := s.open[args.Reader]
	s.mu.Unlock()
	if o == nil {
		return stream.ErrClosed
	}
	b := stream.Batch{MaxRecords: args.MaxRecords, MaxBytes: args.MaxBytes}
	err := o.reader.Next(o.ctx, &b)
	if end, ok := errors.AsType[*stream.ShardEndError](err); ok {
		page.Ended, page.Children = true, end.Children
		return nil
	}
	if err != nil {
		return tell(err)
	}
	page.Behind = b.Behind
	page.Records = make([]Record, len(b.Records))
	for i, r := range b.Records {
		hi, mid, lo := r.Sequence.Words()
		page.Records[i] = Record{[4]uint64{hi, mid, lo, r.Sequence.Sub()}, r.PartitionKey, r.Data, r.Arrival.UnixMilli()}
	}
	return nil
}

func (s *service) Close(id uint64, _ *None) error {
	s.mu.Lock()
	o := s.open[id]
	delete(s.open, id)
	s.mu.Unlock()
	if o == nil {
		return nil
	}
	o.close()
	return o.reader.Close()
}

// serve serves a stream on a connection until that ends.
func serve(ctx context.Context, conn net.Conn, s stream.Stream) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hangUp := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer hangUp()
	v := &service{stream: s, ctx: ctx, open: map[uint64]*opened{}}
	server := rpc.NewServer()
	if err := server.RegisterName("stream", v); err != nil {
		panic(err) // a method has the wrong face
	}
	server.ServeConn(conn) // waits for its calls, which end with ctx
	cancel()
	for id := range v.open {
		_ = v.Close(id, nil)
	}
}

// remote is the stream as a worker process sees it.
type remote struct{ client *rpc.Client }

func dial(address string) (*remote, error) {
	client, err := rpc.Dial("tcp", address)
	return &remote{client}, err
}

// call waits for the answer, or for the end of ctx.
func (r *remote) call(ctx context.Context, method string, args, reply any) error {
	done := r.client.Go("stream."+method, args, reply, make(chan *rpc.Call, 1)).Done
	select {
	case c := <-done:
		return told(c.Error)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// known are the errors on which callers branch. They go as they are, without what
// they are wrapped in, since an error is a text on its way.
var known = []error{stream.ErrShardNotFound, stream.ErrStreamNotFound, stream.ErrClosed}

// tell returns what is sent of an error.
func tell(err error) error {
	if i := slices.IndexFunc(known, func(k error) bool { return errors.Is(err, k) }); i >= 0 {
		return known[i]
	}
	return err
}

// told turns an error that came as a text into the one that it was.
func told(err error) error {
	if text, sent := errors.AsType[rpc.ServerError](err); sent {
		if i := slices.IndexFunc(known, func(k error) bool { return k.Error() == string(text) }); i >= 0 {
			return known[i]
		}
	}
	return err
}

func (r *remote) Identity(ctx context.Context) (stream.Identity, error) {
	id := new(stream.Identity)
	err := r.call(ctx, "Identity", None{}, id)
	if err != nil {
		return stream.Identity{}, err
	}
	return *id, nil
}

func (r *remote) Shards(ctx context.Context) ([]stream.Shard, error) {
	shards := new([]stream.Shard)
	if err := r.call(ctx, "Shards", None{}, shards); err != nil {
		return nil, err
	}
	return *shards, nil
}

func (r *remote) Pin(ctx context.Context, shard string) (stream.Position, error) {
	at := new(string)
	if err := r.call(ctx, "Pin", shard, at); err != nil {
		return stream.Position{}, err
	}
	return stream.ParsePosition(*at)
}

func (r *remote) Open(ctx context.Context, shard string, from stream.Position) (stream.Reader, error) {
	if from == stream.Latest { // which moves, and a reader may be opened a second time
		var err error
		if from, err = r.Pin(ctx, shard); err != nil {
			return nil, err
		}
	}
	c := &remoteReader{r: r, shard: shard, at: from}
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// remoteReader reads a shard over the connection. A call that was given up may
// have taken records: the next one opens the shard anew where the last page ended.
type remoteReader struct {
	r     *remote
	shard string
	at    stream.Position

	mu sync.Mutex
	id uint64 // 0 while it is not open
	// closed says that it never will be again.
	closed bool
}

func (c *remoteReader) open(ctx context.Context) error {
	id := new(uint64)
	if err := c.r.call(ctx, "Open", OpenArgs{c.shard, c.at.String()}, id); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		c.r.drop(*id)
		return stream.ErrClosed
	}
	c.id = *id
	return nil
}

// drop closes a reader of the host, and does not wait for it.
func (r *remote) drop(id uint64) {
	r.client.Go("stream.Close", id, new(None), make(chan *rpc.Call, 1))
}

func (c *remoteReader) opened() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id
}

func (c *remoteReader) Next(ctx context.Context, b *stream.Batch) error {
	b.Reset()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if c.opened() == 0 {
		if err := c.open(ctx); err != nil {
			return err
		}
	}
	page := new(Page)
	if err := c.r.call(ctx, "Next", NextArgs{c.opened(), b.MaxRecords, b.MaxBytes}, page); err != nil {
		c.leave(false)
		return err
	}
	if page.Ended {
		return &stream.ShardEndError{Shard: c.shard, Children: page.Children}
	}
	for _, r := range page.Records {
		seq := stream.MakeSequence(r.Sequence[0], r.Sequence[1], r.Sequence[2]).WithSub(r.Sequence[3])
		record := stream.Record{Sequence: seq, PartitionKey: r.Key, Data: r.Data, Arrival: time.UnixMilli(r.Arrival)}
		b.Records = append(b.Records, record)
		b.Bytes += record.Size()
		c.at = stream.After(seq)
	}
	b.Footprint, b.Behind = b.Bytes, page.Behind
	return nil
}

func (c *remoteReader) leave(forEver bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = c.closed || forEver
	if c.id != 0 {
		c.r.drop(c.id)
		c.id = 0
	}
}

func (c *remoteReader) Close() error {
	c.leave(true)
	return nil
}

var _ stream.Stream = (*remote)(nil)

// close ends the connection.
func (r *remote) close() error {
	if err := r.client.Close(); err != nil {
		return fmt.Errorf("hang up on the stream: %w", err)
	}
	return nil
}
