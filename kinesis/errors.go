package kinesis

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"

	"github.com/millrace/millrace/stream"
)

var (
	// ErrEncryption says that Kinesis cannot use the key with which the stream is
	// encrypted. The error of the SDK is in the chain and tells why.
	ErrEncryption = errors.New("the stream's KMS key cannot be used: enable the key and allow its use by this role")
	// ErrForeignPosition says that a sequence number is not one of the shard.
	ErrForeignPosition = errors.New("the position belongs to another shard: use one that this shard gave")

	errAnswer = errors.New("the answer is not complete")
)

// explain puts the error of a request in the words of package stream. The
// SDK's error stays in the chain.
func (s *Stream) explain(ctx context.Context, operation string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("kinesis: %s of %s: %w", operation, s.target.text, context.Cause(ctx))
	}
	kind := kindOf(err)
	if kind == nil {
		return fmt.Errorf("kinesis: %s of %s: %w", operation, s.target.text, err)
	}
	return fmt.Errorf("kinesis: %s of %s: %w: %w", operation, s.target.text, kind, err)
}

// kindOf returns the sentinel for an error of the SDK, or nil.
func kindOf(err error) error {
	switch {
	case is[*types.ResourceNotFoundException](err):
		return stream.ErrStreamNotFound
	case throttles.IsErrorThrottle(err) == aws.TrueTernary, is[*types.KMSThrottlingException](err):
		return stream.ErrThrottled
	case is[*types.KMSAccessDeniedException](err), is[*types.KMSDisabledException](err), is[*types.KMSInvalidStateException](err),
		is[*types.KMSNotFoundException](err), is[*types.KMSOptInRequired](err):
		return ErrEncryption
	}
	return nil
}

// throttles knows the codes by which AWS' services say that they are asked too
// much: ProvisionedThroughputExceededException, LimitExceededException, …
var throttles = retry.ThrottleErrorCode{Codes: retry.DefaultThrottleErrorCodes}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// code returns the code of an error of the API, "" for others.
func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return ""
}
