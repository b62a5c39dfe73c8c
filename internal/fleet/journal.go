package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/millrace/millrace/lease"
	"github.com/millrace/millrace/stream"
)

// Kind is what an event tells.
type Kind string

// What a worker process does.
const (
	// Began: a term on a shard begins, From its checkpoint.
	Began Kind = "began"
	// Done: Records of a shard are done; Booked says that they are in the book, by
	// the transaction that stored the checkpoint, and Failed that the callback says
	// they are not.
	Done Kind = "done"
	// Cancelled: the context of the term is cancelled, for the reason Why; or it has
	// ended without, and Why is "".
	Cancelled Kind = "cancelled"
	// HandedOver, Ended, Lost: the term is over, in good order, with the shard, or
	// for the reason Why.
	HandedOver Kind = "handed over"
	Ended      Kind = "ended"
	Lost       Kind = "lost"
	// Stopped: the worker has left the fleet.
	Stopped Kind = "stopped"
)

// What it asks of the lease store.
const (
	// Scan: all leases are read, as a leader does in each pass.
	Scan Kind = "scan"
	// Ask: a row shall become New, if it is Old. In says by a transaction of the
	// processor's.
	Ask Kind = "ask"
	// Won, Refused, Unknown: the answer to the Ask with the same ID. The row is New.
	Won     Kind = "won"
	Refused Kind = "refused"
	Unknown Kind = "unknown"
	// Deleted: the row Old is gone.
	Deleted Kind = "deleted"
	// Joined: the worker is a member of the fleet; its row is there for others to see.
	Joined Kind = "joined"
)

// Event is one line of a journal.
type Event struct {
	At   int64  `json:"at"` // Unix nanoseconds
	Kind Kind   `json:"kind"`
	Who  string `json:"-"` // the process, by its name

	Shard   string          `json:"shard,omitempty"`
	Term    int64           `json:"term,omitempty"`
	From    stream.Position `json:"from,omitzero"`
	Records []string        `json:"records,omitempty"`
	Booked  bool            `json:"booked,omitempty"`
	Failed  bool            `json:"failed,omitempty"`
	Why     string          `json:"why,omitempty"`

	ID  int64 `json:"id,omitempty"`
	In  bool  `json:"in,omitempty"`
	Old *Row  `json:"old,omitempty"`
	New *Row  `json:"new,omitempty"`
}

// Row is what a journal keeps of a lease.
type Row struct {
	Shard           string          `json:"shard"`
	Owner           string          `json:"owner,omitempty"`
	CheckpointOwner string          `json:"checkpoint_owner,omitempty"`
	Counter         int64           `json:"counter"`
	Term            int64           `json:"term,omitempty"`
	Checkpoint      stream.Position `json:"checkpoint,omitzero"`
}

// RowOf returns what is kept of a lease.
func RowOf(l lease.Lease) *Row {
	return &Row{l.Shard, l.Owner, l.CheckpointOwner, l.Counter, l.Term, l.Checkpoint.Position}
}

// journal writes one. What write(2) has taken stays, whatever becomes of the
// process.
type journal struct{ file *os.File }

func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &journal{f}, err
}

// tell writes an event. A journal that cannot be written would make all that is
// told worthless, so the process ends.
func (j *journal) tell(e Event) {
	e.At = time.Now().UnixNano()
	line, err := json.Marshal(e)
	if err == nil {
		_, err = j.file.Write(append(line, '\n'))
	}
	if err != nil {
		panic(err)
	}
}

// tail reads a journal while it is written.
type tail struct {
	who  string
	file *os.File
	rest []byte // a line whose end is not there yet
}

// read returns what has been told since.
func (t *tail) read() (events []Event, err error) {
	text, err := io.ReadAll(t.file)
	if err != nil {
		return nil, err
	}
	t.rest = append(t.rest, text...)
	for {
		line, rest, whole := bytes.Cut(t.rest, []byte("\n"))
		if !whole {
			return events, nil
		}
		t.rest = rest
		e := Event{Who: t.who}
		if err := json.Unmarshal(line, &e); err != nil {
			return events, errors.Join(errors.New("the journal of "+t.who+": "+string(line)), err)
		}
		events = append(events, e)
	}
}
