package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var (
	// ErrNoTable says that a table does not exist in this account and region.
	ErrNoTable = errors.New("the table does not exist: call Store.CreateTables, or give its name and region")
	// ErrDenied says that the credentials do not allow an operation, or are wrong, or
	// have expired.
	ErrDenied = errors.New("access is denied: give credentials that are valid, and allow the operation on the table, and on its indexes, in the IAM policy")
	// ErrThrottled says that DynamoDB refused a request until its context ended, or
	// for a minute. Like any error it leaves open what took place before: of
	// several rows some may be written, and an attempt whose answer was lost may
	// have been the one that wrote.
	ErrThrottled = errors.New("throttled: raise the table's capacity, or let it be billed by request")
	// ErrRefused says that DynamoDB took a request for wrong.
	ErrRefused = errors.New("the request was refused: the table or its indexes may differ from what they should be, which Store.CreateTables checks and mends")
	// ErrText says that a name cannot be stored as it is.
	ErrText = errors.New("DynamoDB keeps only text that is valid UTF-8: choose another name")
	// ErrOtherTable says that a table of that name exists and is no lease table,
	// or no members table.
	ErrOtherTable = errors.New("a table of that name holds something else: give another name")
)

// errUnsure says that a condition failed after an attempt whose answer was
// lost, and that what the row shows does not tell whether that attempt wrote.
var errUnsure = errors.New("an answer was lost, and the row has changed since: whether the write took place cannot be known")

// errOthers says that a row was written by somebody else while we are at work.
var errOthers = errors.New("leaseCounter of a row has moved on without us")

// errShort says that DynamoDB left out a part of what was asked for.
var errShort = errors.New("rows of a batch were not read, for want of capacity")

// fate is what an error says about the request that ended with it.
type fate int

const (
	unknown  fate = iota // it may have taken place
	deferred             // it did not take place, and may when it is tried again
	refused              // it did not take place, and never will
)

func fateOf(err error) fate {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		switch api.ErrorCode() {
		case "ThrottlingException", "Throttling", "ProvisionedThroughputExceededException", "RequestLimitExceeded",
			"TransactionConflictException", "ReplicatedWriteConflictException":
			return deferred
		}
		if clock, ok := errors.AsType[retryable](err); ok && clock.RetryableError() {
			return deferred // it was signed by a clock that is off; by now the SDK knows by how much
		}
		if status, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && status.HTTPStatusCode() < http.StatusInternalServerError {
			return refused
		}
		return unknown
	}
	if lost(err) {
		return unknown
	}
	return refused // nothing was sent: no credentials, no endpoint, a field that is missing
}

// retryable is what the SDK makes of an error that trying again mends.
type retryable interface {
	error
	RetryableError() bool
}

// lost reports whether a request failed on its way, or its answer did.
func lost(err error) bool {
	var (
		sending  *smithyhttp.RequestSendError
		reading  *smithy.DeserializationError
		answer   *smithyhttp.ResponseError
		timeout  net.Error
		canceled *smithy.CanceledError
	)
	return errors.As(err, &sending) || errors.As(err, &reading) || errors.As(err, &answer) || errors.As(err, &timeout) || errors.As(err, &canceled)
}

// failed wraps an error with what was being done, and with one of the errors
// above where it is one.
func failed(ctx context.Context, err error, format string, args ...any) error {
	what, known := "dynamodb: "+fmt.Sprintf(format, args...), meaning(err)
	switch {
	case ctx.Err() != nil && known != nil:
		return fmt.Errorf("%s: %w: %w (%w)", what, context.Cause(ctx), known, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	case known != nil:
		return fmt.Errorf("%s: %w (%w)", what, known, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// meaning returns which of the errors above an answer stands for.
func meaning(err error) error {
	switch {
	case errors.As(err, new(*types.ResourceNotFoundException)):
		return ErrNoTable
	case errors.Is(err, errShort):
		return ErrThrottled
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return nil
	}
	switch api.ErrorCode() {
	case "AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "MissingAuthenticationTokenException":
		return ErrDenied
	case "ValidationException":
		return ErrRefused
	}
	if fateOf(err) == deferred {
		return ErrThrottled
	}
	return nil
}
