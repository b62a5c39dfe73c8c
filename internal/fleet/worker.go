package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/lease/dynamodb"
	"github.com/millrace/millrace/lease/postgres"
	"github.com/millrace/millrace/lease/sqlite"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stream"
	"github.com/millrace/millrace/worker"
)

// Config says what a worker process does. One of Postgres, DynamoDB and SQLite is
// needed; the zero value of everything else works.
type Config struct {
	// Postgres is the address of a server; its leases lie in the schema Application.
	Postgres string
	// DynamoDB is the endpoint of an API; its lease table is Application.
	DynamoDB string
	// SQLite is the path of a file, in which the leases lie beside all else.
	SQLite string
	// Application names the fleet. Default: "fleet".
	Application string

	// Kinesis is an endpoint of the Kinesis API that has the stream KinesisStream, to be
	// read in place of the host's: pushed, where there is the name of a Consumer, else
	// polled.
	Kinesis, KinesisStream, Consumer string

	// FailoverTime, CheckpointEvery, Drain and MaxShards are those of the worker.
	FailoverTime, CheckpointEvery, Drain time.Duration
	MaxShards                            int
	// Code is the revision that the process says it is.
	Code string

	// FastFailover is that of the store in PostgreSQL.
	FastFailover bool
	// Observe lets the journal tell what is asked of the lease store.
	Observe bool
	// Book lets half of the shards book their records in the database of the leases,
	// by the transaction that stores their checkpoint: see [BookTable].
	Book bool
	// Slow is for how long at most a callback takes its time now and then; some of
	// them do not listen to their context meanwhile. Default: 0, they take none.
	Slow time.Duration
	// Astray is by how much at most the process's wall clock is wrong: it jumps to
	// and fro, and is right at no two readings.
	Astray time.Duration
}

// order is what a worker process is told at its start.
type order struct {
	Config
	Name, Stream, Journal string
}

const envOrder = "MILLRACE_FLEET_WORKER"

// Main is the life of a worker process: a program that starts some calls it before
// all else. In any other process it returns at once.
func Main() {
	text := os.Getenv(envOrder)
	if text == "" {
		return
	}
	var o order
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = o.work()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// work takes part in the fleet until it is told to stop by SIGTERM.
func (o order) work() error {
	go func() {
		// The parent never writes: this returns when it is gone, however it ended.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	j, err := openJournal(o.Journal)
	if err != nil {
		return err
	}
	s, hangUp, err := o.source()
	if err != nil {
		return err
	}
	store, book, err := o.open(ctx)
	if ctx.Err() != nil {
		return nil // it is told to stop before it began
	}
	if err != nil {
		return err
	}
	if o.Observe {
		store = observe(store, j, o.Astray)
	}
	w, err := worker.New(worker.Config{
		Application: o.Application, Name: o.Name, Streams: []stream.Stream{s}, Leases: store,
		Processor: func(shard processors.Shard) processors.RecordProcessor {
			return &processor{order: &o, shard: shard, journal: j, book: book}
		},
		FailoverTime: o.FailoverTime, CheckpointEvery: o.CheckpointEvery, Drain: o.Drain, MaxShards: o.MaxShards, Code: o.Code,
		BatchRecords: 100, Retry: processors.Backoff{Min: 10 * time.Millisecond, Max: 200 * time.Millisecond},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	err = w.Run(ctx)
	j.tell(Event{Kind: Stopped})
	return errors.Join(err, hangUp())
}

// opening opens a lease store, and the book in the same database.
type opening func(context.Context) (lease.Store, book, error)

// open opens the lease store, and the book in the same database. A store that
// cannot be reached is waited for, as a supervisor that starts the process again
// and again would do.
func (o order) open(ctx context.Context) (lease.Store, book, error) {
	open, err := o.backend()
	if err != nil {
		return nil, nil, err
	}
	for {
		trying, cancel := context.WithTimeout(ctx, answer)
		store, b, err := open(trying)
		cancel()
		if err == nil {
			return store, b, nil
		}
		fmt.Fprintln(os.Stderr, "waiting for the lease store:", err)
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// answer is how long a database may take to answer when the process starts.
const answer = 5 * time.Second

// backend returns how the store that is asked for is opened.
func (o order) backend() (opening, error) {
	switch {
	case o.Postgres != "":
		return o.onPostgres()
	case o.DynamoDB != "":
		return o.onDynamoDB()
	case o.SQLite != "":
		return o.onSQLite()
	default:
		return nil, errors.New("fleet: Config has neither Postgres nor DynamoDB nor SQLite: give the address of one")
	}
}

// ready opens the book as well, when there is to be one.
func (o order) ready(ctx context.Context, store lease.Store, b book) (lease.Store, book, error) {
	if o.Book {
		if err := b.create(ctx); err != nil {
			return nil, nil, err
		}
	}
	return store, b, nil
}

func (o order) onPostgres() (opening, error) {
	pool := func(connections int32) (*pgxpool.Pool, error) {
		c, err := pgxpool.ParseConfig(o.Postgres)
		if err != nil {
			return nil, err
		}
		c.MaxConns, c.ConnConfig.ConnectTimeout = connections, answer
		return pgxpool.NewWithConfig(context.Background(), c)
	}
	leases, err := pool(4)
	if err != nil {
		return nil, err
	}
	// Long transactions shall not keep the beats from their connections.
	effects, err := pool(4)
	if err != nil {
		return nil, err
	}
	store, err := postgres.New(leases, postgres.Config{Application: o.Application, Schema: o.Application, FastFailover: o.FastFailover})
	if err != nil {
		return nil, err
	}
	b := &postgresBook{pool: effects, table: BookTable(o.Application)}
	return func(ctx context.Context) (lease.Store, book, error) {
		if err := store.Migrate(ctx); err != nil {
			return nil, nil, err
		}
		return o.ready(ctx, store, b)
	}, nil
}

func (o order) onDynamoDB() (opening, error) {
	client := sdk.New(sdk.Options{
		Region: "us-east-1", BaseEndpoint: &o.DynamoDB, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute}},
	})
	store, err := dynamodb.New(client, dynamodb.Config{Application: o.Application, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return nil, err
	}
	b := &dynamoBook{client: client, table: BookTable(o.Application)}
	return func(ctx context.Context) (lease.Store, book, error) {
		if err := store.CreateTables(ctx); err != nil {
			return nil, nil, err
		}
		return o.ready(ctx, store, b)
	}, nil
}

func (o order) onSQLite() (opening, error) {
	db, err := OpenSQLite(o.SQLite)
	if err != nil {
		return nil, err
	}
	b := &sqliteBook{db: db, table: BookTable(o.Application)}
	return func(ctx context.Context) (lease.Store, book, error) {
		store, err := sqlite.Open(ctx, o.SQLite, sqlite.Config{Application: o.Application})
		if err != nil {
			return nil, nil, err
		}
		if _, _, err := o.ready(ctx, store, b); err != nil {
			return nil, nil, errors.Join(err, store.Close())
		}
		return store, b, nil
	}, nil
}
