package server

import (
	"context"
	"encoding/json"
	"math"
	"time"

	"github.com/millrace/millrace/engine"
)

type listShardsInput struct {
	streamRef
	NextToken               string `wire:"len=1..1048576"`
	ExclusiveStartShardId   string `wire:"len=1..128,pattern=shardId"`
	MaxResults              *int   `wire:"range=1..10000"`
	StreamCreationTimestamp *time.Time
	ShardFilter             *shardFilter
}

type shardFilter struct {
	Type      string `wire:"required,enum=AFTER_SHARD_ID|AT_TRIM_HORIZON|FROM_TRIM_HORIZON|AT_LATEST|AT_TIMESTAMP|FROM_TIMESTAMP"`
	ShardId   string `wire:"len=1..128,pattern=shardId"`
	Timestamp *time.Time
}

type listShardsOutput struct {
	Shards    []shardShape
	NextToken string `wire:"omitzero"`
}

// mostShardsListed is how many shards one answer has.
const mostShardsListed = 1000

// listShards lists the shards that can be read, by their IDs. All pages of a
// list tell of the moment of the first, as far as the filter goes.
func (s *Server) listShards(ctx context.Context, in *listShardsInput) (*listShardsOutput, error) {
	v, p, err := s.shardPage(in)
	if err != nil {
		return nil, err
	}
	if err := s.pace(1000, "ListShards", v.name); err != nil {
		return nil, err
	}
	if err := s.settled(v); err != nil {
		return nil, err
	}
	infos, err := v.ShardInfos(ctx)
	if err != nil {
		return nil, err
	}
	var f span
	if p.Filter == nil {
		if f, err = s.filter(v, in, infos); err != nil {
			return nil, err
		}
		if p.Filter, err = json.Marshal(f); err != nil {
			return nil, err
		}
	} else if err := json.Unmarshal(p.Filter, &f); err != nil {
		return nil, err
	}
	if infos, err = s.after(v, infos, p.After); err != nil {
		return nil, err
	}
	infos, more := cut(f.of(infos), in.MaxResults, mostShardsListed)
	out := &listShardsOutput{Shards: shardShapes(infos)}
	if more {
		p.After = infos[len(infos)-1].ID
		out.NextToken = s.nextPage("ListShards", p)
	}
	return out, nil
}

// shardPage finds the stream of a request, and where its list goes on.
func (s *Server) shardPage(in *listShardsInput) (view, page, error) {
	if in.NextToken == "" {
		v, err := s.look(in.streamRef)
		if err == nil {
			err = s.madeAt(v, in.StreamCreationTimestamp)
		}
		p := page{Stream: v.name, Created: v.created.UnixMilli(), After: in.ExclusiveStartShardId}
		if f := in.ShardFilter; err == nil && f != nil && f.Type == "AFTER_SHARD_ID" {
			if f.ShardId == "" || p.After != "" {
				err = invalidArgument("A ShardFilter AFTER_SHARD_ID needs a ShardId, and no ExclusiveStartShardId beside it.")
			}
			p.After = f.ShardId
		}
		return v, p, err
	}
	for _, beside := range []struct {
		name  string
		given bool
	}{
		{"StreamName", in.StreamName != ""}, {"StreamARN", in.StreamARN != ""}, {"StreamCreationTimestamp", in.StreamCreationTimestamp != nil},
		{"ExclusiveStartShardId", in.ExclusiveStartShardId != ""}, {"ShardFilter", in.ShardFilter != nil},
	} {
		if beside.given {
			return view{}, page{}, invalidArgument("NextToken and %s cannot be provided together.", beside.name)
		}
	}
	p, err := s.openPage("ListShards", in.NextToken)
	if err != nil {
		return view{}, p, err
	}
	v, err := s.samePage(p)
	return v, p, err
}

// samePage finds the stream of a token.
func (s *Server) samePage(p page) (view, error) {
	v, err := s.lookAt(p.Stream)
	if err == nil && v.created.UnixMilli() != p.Created {
		err = s.noStream(p.Stream)
	}
	return v, err
}

// madeAt refuses a stream that was created at another time than is meant, to
// the second.
func (s *Server) madeAt(v view, at *time.Time) error {
	if at != nil && at.Unix() != v.created.Unix() {
		return s.noStream(v.name)
	}
	return nil
}

// span lets those shards through that took records at some moment between its
// ends, Unix ms.
type span struct {
	From, To int64
	// Open leaves out who ended in the moment of From.
	Open bool
}

// filter is what a request asks for, as it is now.
func (s *Server) filter(v view, in *listShardsInput, infos []engine.ShardInfo) (span, error) {
	all := span{math.MinInt64, math.MaxInt64, false}
	f := in.ShardFilter
	if f == nil {
		return all, nil
	}
	horizon := v.Horizon().UnixMilli()
	var at int64
	switch f.Type {
	case "AT_TIMESTAMP", "FROM_TIMESTAMP":
		if f.Timestamp == nil {
			return span{}, invalidArgument("A ShardFilter %s needs a Timestamp.", f.Type)
		}
		at = max(f.Timestamp.UnixMilli(), horizon)
	}
	switch f.Type {
	case "AT_TRIM_HORIZON":
		return span{horizon, horizon, false}, nil
	case "AT_TIMESTAMP":
		return span{at, at, false}, nil
	case "FROM_TIMESTAMP":
		return span{at, math.MaxInt64, false}, nil
	case "AT_LATEST":
		now := time.Now().UnixMilli()
		for i := range infos {
			// Clocks may be set back, and what is open is open.
			now = max(now, infos[i].Opened.UnixMilli(), infos[i].Ended.UnixMilli())
		}
		return span{now, now, true}, nil
	default:
		return all, nil
	}
}

func (f span) of(infos []engine.ShardInfo) []engine.ShardInfo {
	var some []engine.ShardInfo
	for _, info := range infos {
		end := info.Ended.UnixMilli()
		ended := info.Closed && (end < f.From || f.Open && end == f.From)
		if !ended && info.Opened.UnixMilli() <= f.To {
			some = append(some, info)
		}
	}
	return some
}
