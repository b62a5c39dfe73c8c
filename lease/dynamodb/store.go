package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millrace/millrace/internal/given"
	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// API is what a [Store] needs of a *dynamodb.Client. The control operations are
// called by [Store.CreateTables] alone. Implementations pass the options on:
// with them the Store asks for one attempt at a time, and tries again by itself.
type API interface {
	BatchGetItem(context.Context, *sdk.BatchGetItemInput, ...func(*sdk.Options)) (*sdk.BatchGetItemOutput, error)
	DeleteItem(context.Context, *sdk.DeleteItemInput, ...func(*sdk.Options)) (*sdk.DeleteItemOutput, error)
	GetItem(context.Context, *sdk.GetItemInput, ...func(*sdk.Options)) (*sdk.GetItemOutput, error)
	PutItem(context.Context, *sdk.PutItemInput, ...func(*sdk.Options)) (*sdk.PutItemOutput, error)
	Query(context.Context, *sdk.QueryInput, ...func(*sdk.Options)) (*sdk.QueryOutput, error)
	Scan(context.Context, *sdk.ScanInput, ...func(*sdk.Options)) (*sdk.ScanOutput, error)
	UpdateItem(context.Context, *sdk.UpdateItemInput, ...func(*sdk.Options)) (*sdk.UpdateItemOutput, error)

	CreateTable(context.Context, *sdk.CreateTableInput, ...func(*sdk.Options)) (*sdk.CreateTableOutput, error)
	DescribeContinuousBackups(context.Context, *sdk.DescribeContinuousBackupsInput, ...func(*sdk.Options)) (*sdk.DescribeContinuousBackupsOutput, error)
	DescribeTable(context.Context, *sdk.DescribeTableInput, ...func(*sdk.Options)) (*sdk.DescribeTableOutput, error)
	UpdateContinuousBackups(context.Context, *sdk.UpdateContinuousBackupsInput, ...func(*sdk.Options)) (*sdk.UpdateContinuousBackupsOutput, error)
	UpdateTable(context.Context, *sdk.UpdateTableInput, ...func(*sdk.Options)) (*sdk.UpdateTableOutput, error)
}

// Store keeps the leases and members of one application. Its methods may be
// called at the same time.
type Store struct {
	api      API
	config   Config
	layout   *layout
	pageSize *int32 // of scans and queries; nil is DynamoDB's, 1 MB

	told     sync.Map // what the log was told about rows
	heritage heritage // for Leases
	known    known    // for Owned
	sets     sets     // for Members
}

var (
	_ lease.Store = (*Store)(nil)
	_ API         = (*sdk.Client)(nil)
)

// New returns a store on tables that exist, or that [Store.CreateTables] makes.
// It asks nobody. The client belongs to the caller.
func New(api API, config Config) (*Store, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	if !given.Is(api) {
		return nil, errors.New("dynamodb: the client is nil: give one that dynamodb.NewFromConfig returns")
	}
	return &Store{
		api: api, config: config, layout: newLayout(config),
		heritage: heritage{present: map[string]stream.Identity{}},
		known:    known{rows: map[string]knownRow{}},
		sets:     sets{known: map[string]lease.StreamSet{}},
	}, nil
}

// Application returns whose rows these are: a worker of another one refuses them.
func (s *Store) Application() string { return s.config.Application }

// tell logs, once, that a row cannot be understood, and what that leads to.
func (s *Store) tell(ctx context.Context, so, table string, err error) {
	if _, before := s.told.LoadOrStore(err.Error(), true); !before {
		s.config.Logger.LogAttrs(ctx, slog.LevelWarn, so, slog.String("table", table), slog.Any("err", err))
	}
}

// row is the one way in which rows come out of a listing: it passes over what is
// no lease, and tells of what cannot be understood. Errors are rows whose shard
// would be begun anew beside them, so that what was processed is skipped, or
// repeated: those under a key of another configuration, and those of a KCL where
// the configuration does not say of which of the fleet's streams they are.
func (s *Store) row(ctx context.Context, it item) (l lease.Lease, ok bool, err error) {
	if it == nil {
		return l, false, nil
	}
	l, err = s.layout.lease(it)
	if errors.Is(err, errUnmarked) {
		if _, _, why := s.heir(keyOf(it)); why != nil {
			err = why
		}
	}
	switch {
	case err == nil:
		return l, true, nil
	case errors.Is(err, errNoLease):
		return l, false, nil
	case errors.Is(err, errMoved), errors.As(err, new(misnamed)), errors.Is(err, errStranger) && !s.layout.kcl():
		return l, false, fmt.Errorf("row %q: %w", keyOf(it), err)
	}
	s.tell(ctx, "a row of the lease table is passed over, and its shard with it, if it has one", s.config.Table, err)
	return l, false, nil
}
