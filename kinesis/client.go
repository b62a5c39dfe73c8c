package kinesis

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
)

// Client is what a [Stream] needs of Kinesis. The Client of
// github.com/aws/aws-sdk-go-v2/service/kinesis has it.
type Client interface {
	DescribeStreamSummary(context.Context, *sdk.DescribeStreamSummaryInput, ...func(*sdk.Options)) (*sdk.DescribeStreamSummaryOutput, error)
	ListShards(context.Context, *sdk.ListShardsInput, ...func(*sdk.Options)) (*sdk.ListShardsOutput, error)
	GetShardIterator(context.Context, *sdk.GetShardIteratorInput, ...func(*sdk.Options)) (*sdk.GetShardIteratorOutput, error)
	GetRecords(context.Context, *sdk.GetRecordsInput, ...func(*sdk.Options)) (*sdk.GetRecordsOutput, error)
	PutRecords(context.Context, *sdk.PutRecordsInput, ...func(*sdk.Options)) (*sdk.PutRecordsOutput, error)
	SplitShard(context.Context, *sdk.SplitShardInput, ...func(*sdk.Options)) (*sdk.SplitShardOutput, error)
	MergeShards(context.Context, *sdk.MergeShardsInput, ...func(*sdk.Options)) (*sdk.MergeShardsOutput, error)
	UpdateShardCount(context.Context, *sdk.UpdateShardCountInput, ...func(*sdk.Options)) (*sdk.UpdateShardCountOutput, error)
}

var _ Client = (*sdk.Client)(nil)

// target is how the requests name the stream: by its ARN if that is what the
// user gave, which is the way to a stream of another account; else by its name,
// which every server understands.
type target struct {
	name, arn *string
	text      string // as the user wrote it, for messages
}

var (
	nameForm = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`)
	arnForm  = regexp.MustCompile(`^arn:aws[^:]*:kinesis:[^:]+:[0-9]{12}:stream/[a-zA-Z0-9_.-]{1,128}$`)
)

func parseTarget(text string) (target, error) {
	switch {
	case strings.HasPrefix(text, "arn:") && arnForm.MatchString(text):
		return target{arn: aws.String(text), text: text}, nil
	case nameForm.MatchString(text):
		return target{name: aws.String(text), text: text}, nil
	case strings.HasPrefix(text, "arn:"):
		return target{}, fmt.Errorf("kinesis: stream ARN %q: want the form arn:aws:kinesis:REGION:ACCOUNT:stream/NAME, without a consumer", clip(text))
	}
	return target{}, fmt.Errorf("kinesis: stream name %q: use 1 to 128 letters, digits, and _ . -, or an ARN", clip(text))
}

// clip keeps an error message readable whatever it was given.
func clip(text string) string {
	const most = 200
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
