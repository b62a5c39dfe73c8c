package cli

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
)

// greet tells what is served, and what to type next.
func (o *serving) greet(w io.Writer, addr net.Addr, isNew bool, streams int) {
	url := o.url(addr)
	what := count(streams, "stream")
	if isNew {
		what = "new, " + what
	}
	signed, id, secret := "any, from this machine alone", "local", "local"
	alike := "" // what the command needs to be served, too
	if len(o.accessKeys) > 0 {
		id, _, _ = strings.Cut(o.accessKeys[0], ":")
		signed, secret = count(len(o.accessKeys), "access key"), "…"
		alike = fmt.Sprintf("  export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s\n", id, secret)
	}
	trust := o.certFile
	if trust == "" {
		trust = filepath.Join(absolute(o.data), "server.crt")
	}
	survives := "a power cut"
	if o.durability == "relaxed" {
		survives = "a crash of this process, but no power cut"
	}
	fmt.Fprintf(w, `Millrace serves the Kinesis API on %s
  data directory  %s (%s)
  credentials     %s
  limits          %s
  certificate     %s, for HTTPS on the same port
  acknowledged records survive %s

From another shell:
  export MILLRACE_ENDPOINT=%s
%s  millrace stream create orders --shards 2
  seq 1000 | millrace put orders
  millrace tail orders -f --from horizon

The AWS CLI, and programs with any AWS SDK:
  export AWS_ENDPOINT_URL_KINESIS=%s
  export AWS_REGION=%s AWS_DEFAULT_REGION=%s
  export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s
  aws kinesis list-streams

Ctrl-C stops it; the data stays.
`, url, absolute(o.data), what, signed, o.limits, trust, survives, url, alike, url, o.region, o.region, id, secret)
}
