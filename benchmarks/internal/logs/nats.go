package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NATS is a JetStream server inside this process, with connections that need no
// network, and a stream in files with a subject for each shard.
type NATS struct {
	server  *server.Server
	batches bool

	mu    sync.Mutex
	conns []conn
	users int
}

type conn struct {
	nc *nats.Conn
	js jetstream.JetStream
}

const (
	// usersPerConn is how many callers share a connection.
	usersPerConn = 16
	natsTimeout  = 30 * time.Second
)

// OpenNATS starts a server with its files in dir. durable is sync_interval:
// always, otherwise it is the default, a sync each two minutes. With batches,
// the records of one append are published as one of NATS' atomic batches, which
// are synced once; without, each record is a message, and a sync, of its own.
func OpenNATS(ctx context.Context, dir string, durable, batches bool) (*NATS, error) {
	s, err := server.NewServer(&server.Options{
		JetStream: true, StoreDir: dir, DontListen: true, NoLog: true, NoSigs: true,
		SyncAlways: durable, JetStreamMaxStore: 1 << 40, JetStreamMaxMemory: 1 << 30, MaxPending: 1 << 30,
	})
	if err != nil {
		return nil, err
	}
	go s.Start() // ends by Shutdown, which Close waits for
	n := &NATS{server: s, batches: batches}
	if !s.ReadyForConnections(natsTimeout) {
		return nil, errors.Join(errors.New("the NATS server does not become ready"), n.Close())
	}
	c, err := n.conn()
	if err == nil {
		_, err = c.js.CreateStream(ctx, jetstream.StreamConfig{
			Name: StreamName, Subjects: []string{StreamName + ".*"}, Storage: jetstream.FileStorage, AllowAtomicPublish: batches,
		})
	}
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// conn returns the connection that the next caller shall use.
func (n *NATS) conn() (conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.users++; n.users <= len(n.conns)*usersPerConn {
		return n.conns[len(n.conns)-1], nil
	}
	nc, err := nats.Connect("", nats.InProcessServer(n.server))
	if err != nil {
		return conn{}, err
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1<<20), jetstream.WithPublishAsyncTimeout(natsTimeout))
	if err != nil {
		nc.Close()
		return conn{}, err
	}
	n.conns = append(n.conns, conn{nc, js})
	return n.conns[len(n.conns)-1], nil
}

// Writer implements Log.
func (n *NATS) Writer() Writer {
	c, err := n.conn()
	return &natsWriter{conn: c, err: err, batches: n.batches}
}

// Read gives every message, from the first one on, to handle, until that says
// it has enough.
func (n *NATS) Read(ctx context.Context, handle func(key string, data []byte) (enough bool)) error {
	c, err := n.conn()
	if err != nil {
		return err
	}
	consumer, err := c.js.OrderedConsumer(ctx, StreamName, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	done := make(chan struct{})
	var once sync.Once
	reading, err := consumer.Consume(func(m jetstream.Msg) {
		if handle(m.Subject(), m.Data()) {
			once.Do(func() { close(done) })
		}
	}, jetstream.PullMaxMessages(10_000), jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		select {
		case failed <- err:
		default:
		}
	}))
	if err != nil {
		return err
	}
	defer reading.Stop()
	select {
	case <-done:
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close implements Log.
func (n *NATS) Close() error {
	for _, c := range n.conns {
		c.nc.Close()
	}
	n.server.Shutdown()
	n.server.WaitForShutdown()
	return nil
}

// batchIDs are given once in a process: the server tells batches apart by them.
var batchIDs atomic.Int64

type natsWriter struct {
	conn
	err     error
	batches bool
	futures []jetstream.PubAckFuture
}

// Append publishes and waits for the acknowledgements.
func (w *natsWriter) Append(ctx context.Context, records []Record) error {
	if w.err != nil {
		return w.err
	}
	if w.batches && len(records) > 1 {
		return w.appendBatch(ctx, records)
	}
	w.futures = w.futures[:0]
	for i := range records {
		f, err := w.js.PublishMsgAsync(message(&records[i]))
		if err != nil {
			return err
		}
		w.futures = append(w.futures, f)
	}
	for _, f := range w.futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (w *natsWriter) appendBatch(ctx context.Context, records []Record) error {
	id := "b" + strconv.FormatInt(batchIDs.Add(1), 10)
	last := len(records) - 1
	for i := range records {
		m := message(&records[i])
		m.Header = nats.Header{"Nats-Batch-Id": {id}, "Nats-Batch-Sequence": {strconv.Itoa(i + 1)}}
		if i < last {
			if err := w.nc.PublishMsg(m); err != nil {
				return err
			}
			continue
		}
		m.Header["Nats-Batch-Commit"] = []string{"1"}
		ctx, cancel := context.WithTimeout(ctx, natsTimeout)
		defer cancel()
		answer, err := w.nc.RequestMsgWithContext(ctx, m)
		if err != nil {
			return err
		}
		var ack struct {
			Count int              `json:"count"`
			Error *json.RawMessage `json:"error"`
		}
		if err := json.Unmarshal(answer.Data, &ack); err != nil || ack.Error != nil || ack.Count != len(records) {
			return fmt.Errorf("a batch of %d records was answered by %s", len(records), answer.Data)
		}
	}
	return nil
}

func message(r *Record) *nats.Msg {
	return &nats.Msg{Subject: StreamName + "." + strconv.Itoa(r.Shard), Data: r.Data}
}
