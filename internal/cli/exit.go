package cli

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/stream"
)

// Exit codes. They are a part of the command's face: see exitHelp.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitInTheWay    = 4
	exitPartly      = 5
	exitUnconfirmed = 6
	exitInterrupted = 130
)

const exitHelp = `Exit codes:
  0    done; also when serve, or tail -f, was ended by Ctrl-C or SIGTERM
  1    it failed
  2    the command was not understood, or a value is wrong
  3    the stream, the shard or the data directory does not exist
  4    something is in the way: it exists already, the directory or the port is
       in use, the shard is closed already
  5    some records were stored and others refused
  6    not confirmed: nothing was done
  130  ended by Ctrl-C or SIGTERM before it was done`

var (
	errInTheWay    = errors.New("it is in use")
	errExists      = errors.New("it exists already")
	errNotFound    = errors.New("not found")
	errInterrupted = fmt.Errorf("interrupted: %w", context.Canceled)
	errPartly      = errors.New("not all records were stored")
	errUnconfirmed = errors.New("not confirmed, nothing was done")
)

// usageError is a mistake of who typed the command.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// exitCode is what the shell learns of an error.
func exitCode(err error) int {
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	var usage *usageError
	var invalid *engine.InvalidError
	switch {
	case err == nil, errors.Is(err, errEnough):
		return exitOK
	case errors.As(err, &usage), errors.As(err, &invalid):
		return exitUsage
	case is(stream.ErrStreamNotFound, stream.ErrShardNotFound, errNotFound):
		return exitNotFound
	case is(errInTheWay, errExists, engine.ErrStreamExists, engine.ErrLocked, engine.ErrShardClosed, syscall.EADDRINUSE):
		return exitInTheWay
	case is(errPartly):
		return exitPartly
	case is(errUnconfirmed):
		return exitUnconfirmed
	case is(context.Canceled):
		return exitInterrupted
	}
	return exitFailed
}
