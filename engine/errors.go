package engine

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/millrace/millrace/engine/internal/vfs"
)

var (
	// ErrStreamExists says that there is a stream of that name already.
	ErrStreamExists = errors.New("stream exists already: use EnsureStream, or another name")
	// ErrLocked says that the directory is used by another process, or by
	// another engine of this one.
	ErrLocked = vfs.ErrLocked
	// ErrForeignPosition says that a position has a sequence number that this
	// shard of this incarnation of the stream cannot have given.
	ErrForeignPosition = errors.New("the position belongs to another shard: use one that this shard gave")
	// ErrTooManyShards says that a stream would have more than 50,000 shards, those that
	// are closed and can still be read among them.
	ErrTooManyShards = errors.New("too many shards")
	// ErrShardClosed says that a shard was split or merged already.
	ErrShardClosed = errors.New("shard is closed")
)

// InvalidError says that a value was refused.
type InvalidError struct {
	// Field names what is wrong, Value is what it was, Fix what to do.
	Field string
	Value any
	Fix   string
}

func (e *InvalidError) Error() string { return fmt.Sprintf("%s is %v: %s", e.Field, e.Value, e.Fix) }

func invalid(field string, value any, fix string) error {
	if s, ok := value.(string); ok {
		value = fmt.Sprintf("%q", s)
	}
	return &InvalidError{field, value, fix}
}

// clip keeps an error message readable whatever it was given.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

func tagText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" _.:/=+-@", r)
	}) < 0
}
