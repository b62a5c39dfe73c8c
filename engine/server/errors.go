package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

// fault is an error as the API tells it: the name of its shape, and a message.
type fault struct {
	name    string
	message string
	status  int
}

func (f *fault) Error() string { return f.name + ": " + f.message }

// messageMember is the member of the answer that has the message. AWS writes the
// errors of its codec another way.
func (f *fault) messageMember() string {
	if f.name == "SerializationException" {
		return "Message"
	}
	return "message"
}

// failure makes a fault of a name; all but failures of the service itself are
// the client's, with status 400.
func failure(name, format string, args ...any) *fault {
	status := http.StatusBadRequest
	if name == "InternalFailureException" || name == "InternalFailure" {
		status = http.StatusInternalServerError
	}
	return &fault{name, fmt.Sprintf(format, args...), status}
}

// The error shapes of the service, by what they say.

func notFound(format string, args ...any) error {
	return failure("ResourceNotFoundException", format, args...)
}

func inUse(format string, args ...any) error {
	return failure("ResourceInUseException", format, args...)
}

func invalidArgument(format string, args ...any) error {
	return failure("InvalidArgumentException", format, args...)
}

func limitExceeded(format string, args ...any) error {
	return failure("LimitExceededException", format, args...)
}

func throttled(format string, args ...any) error {
	return failure("ProvisionedThroughputExceededException", format, args...)
}

func expiredIterator(format string, args ...any) error {
	return failure("ExpiredIteratorException", format, args...)
}

func expiredToken(format string, args ...any) error {
	return failure("ExpiredNextTokenException", format, args...)
}

func accessDenied(format string, args ...any) error {
	return failure("AccessDeniedException", format, args...)
}

func validationError(format string, args ...any) error {
	return failure("ValidationException", format, args...)
}

func dryRun(format string, args ...any) error {
	return failure("DryRunOperationException", format, args...)
}

func internalFailure(format string, args ...any) error {
	return failure("InternalFailureException", format, args...)
}

// kmsFailure makes one of the errors of encryption: kind is "AccessDenied",
// "Disabled", "InvalidState", "NotFound", "OptInRequired" or "Throttling".
func kmsFailure(kind, format string, args ...any) error {
	if kind == "OptInRequired" {
		return failure("KMSOptInRequired", format, args...) // the one shape without "Exception"
	}
	return failure("KMS"+kind+"Exception", format, args...)
}

// serialization says that a body does not have the form of its shape.
func serialization(format string, args ...any) error {
	return failure("SerializationException", format, args...)
}

// translate makes a fault of whatever an operation returned. Only what the API
// has a name for is told to clients; the rest is InternalFailure, and logged.
func (s *Server) translate(err error) *fault {
	var f *fault
	var invalid *engine.InvalidError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &invalid):
		return failure("InvalidArgumentException", "%v", invalid)
	case errors.Is(err, stream.ErrStreamNotFound), errors.Is(err, stream.ErrShardNotFound):
		return failure("ResourceNotFoundException", "%v", err)
	case errors.Is(err, stream.ErrThrottled):
		return failure("ProvisionedThroughputExceededException", "%v", err)
	case errors.Is(err, engine.ErrStreamExists), errors.Is(err, engine.ErrShardClosed):
		return failure("ResourceInUseException", "%v", err)
	case errors.Is(err, engine.ErrForeignPosition):
		return failure("InvalidArgumentException", "%v", err)
	case errors.Is(err, engine.ErrTooManyShards):
		return failure("LimitExceededException", "%v", err)
	case errors.Is(err, stream.ErrReadOnly):
		return failure("InternalFailureException", "%v", err)
	case errors.Is(err, context.Canceled), errors.Is(err, stream.ErrClosed):
		return failure("InternalFailureException", "the server is being stopped, or the client has gone")
	default:
		s.tell("an operation failed", err)
		return failure("InternalFailureException", "the server failed; its log tells why")
	}
}
