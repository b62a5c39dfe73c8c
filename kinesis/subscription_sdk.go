package kinesis

import (
	"bytes"
	"context"
	"fmt"

	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/schemas"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"
)

// What the SDK decodes: events that are unusual, and those of a client that is
// not the SDK's own and so gives an event stream and no bytes.

// decodeBySDK decodes a frame that carries an event in JSON.
func decodeBySDK(frame []byte) (*page, error) {
	// The SDK's codec is not made for two subscriptions at the same time.
	event, err := awsjson.New11(schemas.Kinesis_20131202).DeserializeEventMessage(schemas.SubscribeToShardEventStream, sdk.TypeRegistry, bytes.NewReader(frame))
	if err != nil {
		return nil, err
	}
	if event, ok := event.(*types.SubscribeToShardEvent); ok {
		return pageOfEvent(event)
	}
	return nil, fmt.Errorf("%w: the SDK takes it for a %T", errUnusual, event)
}

// pageOfEvent makes a page of what the SDK decoded.
func pageOfEvent(e *types.SubscribeToShardEvent) (*page, error) {
	return pageOf(&sdk.GetRecordsOutput{
		Records: e.Records, ChildShards: e.ChildShards, MillisBehindLatest: e.MillisBehindLatest,
		NextShardIterator: e.ContinuationSequenceNumber,
	})
}

// nextOf waits for the next event of a stream that the SDK decodes.
func nextOf(ctx context.Context, s *sdk.SubscribeToShardEventStream) (*page, error) {
	for {
		select {
		case event, more := <-s.Events():
			if !more {
				if err := s.Err(); err != nil {
					return nil, err
				}
				return nil, errServed
			}
			if event, ok := event.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent); ok {
				return pageOfEvent(&event.Value)
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
