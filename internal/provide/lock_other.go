//go:build !unix || aix || solaris

package provide

import (
	"context"
	"os"
)

// lock locks nothing on this system: two processes may install the same thing
// twice, and one of them fails to give it its name.
func lock(context.Context, *os.File) error { return nil }
