package postgres

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Config says how a database is used. Application is needed; the zero value of
// everything else works.
type Config struct {
	// Application names whose rows these are, and is that of the fleet's workers.
	// Stores with another name see nothing of them.
	Application string

	// Schema is where the tables are. [Store.Migrate] makes it where it is
	// missing. Default: "millrace".
	Schema string

	// PollOnly is for connections through a pooler in transaction mode, which
	// cannot LISTEN: nobody is notified of anything, and workers learn by
	// polling what others have written. Set it for the whole fleet.
	// Default: false: writes notify, and Changes keeps a connection of its own.
	PollOnly bool

	// FastFailover lets others take the shards of a worker whose process has ended
	// as soon as the server knows it, within a second, and not after
	// lease.Config.FailoverTime. Each worker keeps one more connection for that, its
	// presence, and the leader asks four times a second whose has ended.
	//
	// It assumes that the connection is direct, and that its end means the process's
	// end. So it is not for connections through a pooler in transaction mode, nor for
	// a server that ends connections of clients it cannot reach (tcp_keepalives_*,
	// tcp_user_timeout) sooner than FailoverTime is over. A server that stands still
	// ends nothing, unless for longer than a worker may go on unheard. A worker that
	// loses its presence connection, as all do when the server is restarted, stops at once
	// (lease.ErrAbsent) and comes back as a new incarnation; and terms fence every
	// checkpoint and transaction as ever. A process that is stopped and not dead, a
	// machine without power, or a process that died together with the server, is
	// replaced after FailoverTime. Workers of one fleet
	// may differ in this. Default: false.
	FastFailover bool
}

func (c Config) withDefaults() Config {
	c.Schema = cmp.Or(c.Schema, "millrace")
	return c
}

// longestName is how many bytes of a name PostgreSQL looks at.
const longestName = 63

func (c Config) validate(pool *pgxpool.Pool) error {
	if pool == nil {
		return errors.New("postgres: the pool is nil: give one that pgxpool.New returned")
	}
	if c.Application == "" {
		return errors.New("postgres: Config.Application is empty: name the fleet as its workers do, for example \"billing\"")
	}
	if err := storable("Config.Application", c.Application); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	if c.FastFailover && c.PollOnly {
		return errors.New("postgres: Config.FastFailover needs direct connections, and Config.PollOnly says that there are none: unset one of the two")
	}
	return validateSchema(c.Schema)
}

func validateSchema(name string) error {
	if err := storable("Config.Schema", name); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	if len(name) > longestName {
		return fmt.Errorf("postgres: Config.Schema is %q, of %d bytes: PostgreSQL knows the first %d of a name only, so choose a shorter one", name, len(name), longestName)
	}
	return nil
}
