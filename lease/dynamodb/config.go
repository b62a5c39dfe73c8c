package dynamodb

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
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
	// MembersTable holds the member rows. Many applications may share one, and so
	// may fleets that have the same Application in different tables.
	// Default: Table and "-Members".
	MembersTable string

	// SingleStream is the name of the stream, as [stream.Identity.Name] has it, of
	// an application that goes on from the table of a single-stream KCL
	// application, or may go back to it: its leases have the bare shard ID as their
	// key, and rows that the KCL wrote are its own. Leases of other streams are
	// kept under keys that no KCL uses. Default: "", none.
	SingleStream string
	// MultiStream does the same for the table of a multi-stream KCL application:
	// the names of its streams, by what they are called there, as attribute
	// streamName has it: "account:stream:epoch". All streams of the fleet have to
	// be among them. Default: none.
	MultiStream map[string]string
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

// TableSettings are those of new tables; an existing one keeps its own, but for
// PointInTimeRecovery. The zero value is a table that is billed by request.
type TableSettings struct {
	// ReadCapacity and WriteCapacity are provisioned for each table and each
	// index. Default: 0 for both: billed by request.
	ReadCapacity, WriteCapacity int64
	// Tags are attached to the tables. Default: none.
	Tags map[string]string
	// PointInTimeRecovery keeps continuous backups; it is switched on for existing
	// tables, too. Default: false.
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

// fleet is the hash key of the fleet's rows in the members table. No table's name
// has a slash, so that no two fleets have the same.
func (c Config) fleet() string {
	if c.Table == c.Application {
		return c.Application
	}
	return c.Application + "/" + c.Table
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
	if strings.HasPrefix(c.Application, reserved) || strings.Contains(c.Application, lineFeed) {
		bad("Application is %q: leave out %q at its beginning, and line feeds, which set other rows of the members table apart", c.Application, reserved)
	}
	if c.Table == c.MembersTable {
		bad("Table and MembersTable are both %q: the KCL takes extra rows in its table for damage, so give them different names", c.Table)
	}
	if c.SingleStream != "" && len(c.MultiStream) > 0 {
		bad("SingleStream and MultiStream are both set: a KCL application is one or the other, so leave one of them out")
	}
	twice := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.MultiStream)) {
		of := c.MultiStream[name]
		parts := strings.Split(name, ":")
		if len(parts) != 3 || parts[0] == "" || parts[1] == "" || !digits(parts[2]) {
			bad("MultiStream has the name %q: want account:stream:epoch, for example \"123456789012:orders:1700000000\"", name)
		}
		if of == "" {
			bad("MultiStream[%q] is empty: give the name that the Identity method of the stream returns", name)
		} else if before := twice[of]; before != "" {
			bad("MultiStream calls the stream %q both %q and %q: give the one that it has now, and delete the rows of the other", of, before, name)
		}
		twice[of] = name
	}
	if t := c.Tables; (t.ReadCapacity > 0) != (t.WriteCapacity > 0) || t.ReadCapacity < 0 || t.WriteCapacity < 0 {
		bad("Tables has ReadCapacity %d and WriteCapacity %d: give both, or 0 for both to be billed by request", t.ReadCapacity, t.WriteCapacity)
	}
	return errors.Join(problems...)
}

func digits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}
