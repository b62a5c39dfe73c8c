package server

import (
	"strconv"
	"strings"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

// shardShape is a shard as lists tell it.
type shardShape struct {
	ShardId               string
	ParentShardId         string `wire:"omitzero"`
	AdjacentParentShardId string `wire:"omitzero"`
	HashKeyRange          hashKeyRange
	SequenceNumberRange   sequenceNumberRange
}

type hashKeyRange struct {
	StartingHashKey stream.Hash
	EndingHashKey   stream.Hash
}

type sequenceNumberRange struct {
	StartingSequenceNumber stream.Sequence
	EndingSequenceNumber   *stream.Sequence // nil while the shard is open
}

func shardShapes(infos []engine.ShardInfo) []shardShape {
	shapes := make([]shardShape, len(infos))
	for i := range infos {
		info := &infos[i]
		to := &shapes[i]
		to.ShardId = info.ID
		to.HashKeyRange = hashKeyRange{info.Hash.Start, info.Hash.End}
		to.SequenceNumberRange.StartingSequenceNumber = info.First
		if info.Closed {
			to.SequenceNumberRange.EndingSequenceNumber = &info.Last
		}
		if len(info.Parents) > 0 {
			to.ParentShardId = info.Parents[0]
		}
		if len(info.Parents) > 1 {
			to.AdjacentParentShardId = info.Parents[1]
		}
	}
	return shapes
}

// after returns the shards behind one, by their IDs, which are in order; all of
// them when that is empty. The shard itself need not be there any more.
func (s *Server) after(v view, infos []engine.ShardInfo, id string) ([]engine.ShardInfo, error) {
	if id == "" {
		return infos, nil
	}
	full, ok := fullShardID(id)
	if !ok {
		return nil, s.noShard(v, id)
	}
	for len(infos) > 0 && infos[0].ID <= full {
		infos = infos[1:]
	}
	return infos, nil
}

// fullShardID completes an ID that is shorter than those of lists: "shardId-1",
// "1", or another word before the number.
func fullShardID(id string) (full string, ok bool) {
	number := id
	if _, behind, found := strings.Cut(id, "-"); found {
		number = behind
	}
	index, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return "", false
	}
	number = strconv.FormatUint(index, 10)
	return "shardId-000000000000"[:20-len(number)] + number, true
}

func (s *Server) noShard(v view, id string) error {
	return notFound("Could not find shard %s in stream %s under account %s.", id, v.name, s.config.Account)
}
