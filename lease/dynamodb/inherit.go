package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// heritage is what this handle has been told of the streams whose rows a KCL may
// have written.
//
//	the KCL's row, without millraceShard ──► Leases: whose is it? ── Config ──► a stream's name
//	                                              │
//	  the leader has asked the stream ──► Inherit ┴──► its present incarnation, written into the row
type heritage struct {
	mu      sync.Mutex
	present map[string]stream.Identity // by stream name
	unnamed string                     // a stream of the fleet that Config does not name, if there is one
}

var _ lease.Inheritor = (*Store)(nil)

// Inherit implements [lease.Inheritor]: rows of that stream which a KCL wrote
// are marked as this incarnation's when they are listed next.
func (s *Store) Inherit(id stream.Identity) {
	s.heritage.mu.Lock()
	before, known := s.heritage.present[id.Name]
	if _, multi := s.layout.names[id.Name]; id.Name == s.config.SingleStream || multi {
		s.heritage.present[id.Name] = id
	} else {
		s.heritage.unnamed = id.Name
	}
	s.heritage.mu.Unlock()
	if known && before.ID() == id.ID() {
		return
	}
	epoch := strconv.FormatInt(id.Created.Unix(), 10)
	if name := s.layout.names[id.Name]; name != "" && !strings.HasSuffix(name, ":"+epoch) {
		s.config.Logger.Warn("the KCL's name of a stream has another epoch than the stream: if it was created again since, delete the rows of that name before they are gone on from",
			slog.String("table", s.config.Table), slog.String("name", name), slog.String("stream", id.Name), slog.String("epoch", epoch))
	}
}

// errUnmarked says that a row is a lease of somebody else's, which no leader of
// ours has listed yet.
var errUnmarked = errors.New("it was not written by this program, and no leader of this fleet has listed it yet")

// errStranger says that a row was written by somebody else, and of what stream
// it is cannot be known.
var errStranger = errors.New("it was not written by this program, and Config.SingleStream or Config.MultiStream does not say of which stream it is: " +
	"set it for a KCL application's table, or give this application a table of its own")

// errHeirless says that a stream's rows of a KCL were not inherited yet.
var errHeirless = errors.New("a KCL wrote them, and the stream has not told this fleet yet who it is")

// heir returns of which incarnation a row without a mark is: errStranger where
// Config does not say so, errHeirless where it is not known yet, and misnamed where
// it may never be.
func (s *Store) heir(tableKey string) (id stream.Identity, shard string, err error) {
	name, shard, ok := s.layout.ofKCL(tableKey)
	if !ok {
		prefix, _ := multiKey(tableKey)
		return id, "", fmt.Errorf("rows of %q: %w", prefix, errStranger)
	}
	s.heritage.mu.Lock()
	defer s.heritage.mu.Unlock()
	id, told := s.heritage.present[name]
	switch {
	case told:
		return id, shard, nil
	case s.heritage.unnamed != "":
		return id, "", misnamed{name, s.heritage.unnamed}
	default:
		return id, "", fmt.Errorf("rows of the stream %q: %w", name, errHeirless)
	}
}

// misnamed says that a KCL's rows may be those of another stream than Config says.
// To begin that stream anew beside them would skip, or repeat, what was processed.
type misnamed struct{ name, unnamed string }

func (m misnamed) Error() string {
	return fmt.Sprintf("a KCL wrote it; Config.SingleStream or Config.MultiStream says that it is of the stream %q, of which nobody has heard, while %q is not named there: "+
		"give the name that the Identity method of the stream returns", m.name, m.unnamed)
}

// inherit marks the rows of a page that a KCL wrote with their incarnation, and
// puts them back as they are then, nil for those that are gone. What nobody knows
// the stream of stays as it is.
func (s *Store) inherit(ctx context.Context, page []item) error {
	if !s.layout.kcl() {
		return nil
	}
	var strangers []int
	for i, it := range page {
		if it[shardOf] == nil {
			if _, err := s.layout.lease(it); errors.Is(err, errUnmarked) {
				strangers = append(strangers, i)
			}
		}
	}
	return parallel(ctx, len(strangers), func(ctx context.Context, i int) error {
		it := &page[strangers[i]]
		key := keyOf(*it)
		id, shard, err := s.heir(key)
		if err != nil {
			return nil // who reads the row tells of it
		}
		*it, err = s.mark(ctx, key, id, shard)
		return err
	})
}

// mark writes into a row of which incarnation it is, unless it says so already,
// and returns it. It leaves the counter alone: nothing has changed for the KCL.
func (s *Store) mark(ctx context.Context, key string, id stream.Identity, shard string) (item, error) {
	u := newUpdate()
	u.sets = append(u.sets, u.name(shardOf)+" = if_not_exists("+u.name(shardOf)+", "+u.value(shardAttribute(id.Name, id.ID(), shard))+")")
	out, _, err := request(ctx, s.api.UpdateItem, &sdk.UpdateItemInput{
		TableName: &s.config.Table, Key: item{leaseKey: text(key)},
		ConditionExpression: aws.String("attribute_exists(" + leaseKey + ")"), UpdateExpression: u.expression(),
		ExpressionAttributeNames: u.names, ExpressionAttributeValues: u.values,
		ReturnValues: types.ReturnValueAllNew,
	})
	switch {
	case err == nil:
		return out.Attributes, nil
	case errors.As(err, new(*types.ConditionalCheckFailedException)):
		return nil, nil // somebody has deleted it
	default:
		return nil, err
	}
}
