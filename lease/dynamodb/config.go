package dynamodb

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/stream"
)

// Config says where the rows are and how they are laid out. Application is
// needed; the zero value of everything else works. All workers of a fleet are
// given the same one.
type Config struct {
	// Application names whose rows these are, and is that of the fleet's workers.
	Application string
	// Table holds the leases of this application, and of no other. Default:
	// Application, as with the KCL.
	Table string
	// MembersTable holds the member rows. Many applications may share one.
	// Default: Table and "-Members".
	MembersTable string

	// SingleStream is the stream of an application that goes on from the table
	// of a single-stream KCL application, or may go back to it: its leases have
	// the bare shard ID as their key, and rows that the KCL wrote are taken for
	// its own. Default: none.
	SingleStream stream.Identity
	// MultiStream does the same for the table of a multi-stream KCL application:
	// its streams by their names there, "account:stream:epoch", with the epoch in
	// seconds. Leases of other streams are kept under keys that no KCL uses.
	// Default: none.
	MultiStream map[string]stream.Identity
	// Timestamp is where shards begin whose rows say AT_TIMESTAMP: the KCL keeps
	// that time in its configuration. Default: such shards begin at TRIM_HORIZON,
	// which misses nothing.
	Timestamp time.Time

	// Tables are the settings of tables that [Store.CreateTables] makes.
	Tables TableSettings

	// Logger is told of rows that cannot be understood, once each.
	// Default: slog.Default().
	Logger *slog.Logger
}

// TableSettings are those of new tables; an existing one keeps its own. The
// zero value is a table that is billed by request.
type TableSettings struct {
	// ReadCapacity and WriteCapacity are provisioned for each table and each
	// index. Default: 0 for both: billed by request.
	ReadCapacity, WriteCapacity int64
	// Tags are attached to the tables. Default: none.
	Tags map[string]string
	// PointInTimeRecovery keeps continuous backups. Default: false.
	PointInTimeRecovery bool
	// DeletionProtection lets nobody delete the tables before it is switched
	// off. Default: false.
	DeletionProtection bool
	// EncryptionKey is the KMS key, by its ID, ARN or alias, that the tables are
	// encrypted with. Default: one that DynamoDB owns.
	EncryptionKey string
}

func (c Config) withDefaults() Config {
	c.Table = cmp.Or(c.Table, c.Application)
	c.MembersTable = cmp.Or(c.MembersTable, c.Table+"-Members")
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// validate checks a configuration with its defaults.
func (c Config) validate() error {
	var problems []error
	bad := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("dynamodb: Config."+format, args...))
	}
	if c.Application == "" {
		bad("Application is empty: name the fleet as its workers do, for example \"billing\"")
	}
	if strings.HasPrefix(c.Application, notesOf) {
		bad("Application is %q: leave out %q at its beginning, which sets notes apart from members", c.Application, notesOf)
	}
	if c.Table == c.MembersTable {
		bad("Table and MembersTable are both %q: the KCL takes extra rows in its table for damage, so give them different names", c.Table)
	}
	if c.SingleStream != (stream.Identity{}) && len(c.MultiStream) > 0 {
		bad("SingleStream and MultiStream are both set: a KCL application is one or the other, so leave one of them out")
	}
	if id := c.SingleStream; id != (stream.Identity{}) && (id.Name == "" || id.Created.IsZero()) {
		bad("SingleStream is %+v: give what the Identity method of the stream returns, with its name and the time of its creation: rows of another incarnation are not gone on from", id)
	}
	for name, id := range c.MultiStream {
		parts := strings.Split(name, ":")
		if len(parts) != 3 || parts[0] == "" || parts[1] == "" || !digits(parts[2]) {
			bad("MultiStream has the name %q: want account:stream:epoch, for example \"123456789012:orders:1700000000\"", name)
		}
		if id.Name == "" || id.Created.IsZero() {
			bad("MultiStream[%q] is %+v: give what the Identity method of the stream returns, with its name and the time of its creation", name, id)
		} else if len(parts) == 3 && digits(parts[2]) && parts[2] != strconv.FormatInt(id.Created.Unix(), 10) {
			bad("MultiStream[%q] is the stream that was created at %v, which is %d: it is another incarnation", name, id.Created, id.Created.Unix())
		}
	}
	if t := c.Tables; (t.ReadCapacity > 0) != (t.WriteCapacity > 0) || t.ReadCapacity < 0 || t.WriteCapacity < 0 {
		bad("Tables has ReadCapacity %d and WriteCapacity %d: give both, or 0 for both to be billed by request", t.ReadCapacity, t.WriteCapacity)
	}
	return errors.Join(problems...)
}

func digits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}
