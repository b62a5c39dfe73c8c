package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/engine/server"
)

// serving is what "serve" is told.
type serving struct {
	data, listen      string
	limits            string
	durability        string
	region, account   string
	stateDelay        time.Duration
	accessKeys        []string
	create            []string
	retention         time.Duration
	certFile, keyFile string
	requestMemory     int // MiB
	logLevel          string
}

func newServe(world IO) *cobra.Command {
	var o serving
	cmd := &cobra.Command{
		Use:   "serve -data DIR",
		Short: "Serve a data directory as the API of Kinesis Data Streams",
		Long: `Serve the streams in a data directory as the API of Kinesis Data Streams, so
that programs written for Kinesis run against it unchanged. The first start makes
the directory and everything in it; the next ones go on with all data.

Ctrl-C or SIGTERM stops it: requests that are under way are finished. What was
acknowledged survives kill -9, and a power cut, too.

Without --access-key any signature is believed, and clients on this machine alone
are served. Give at least one key to serve others, and behind a proxy or a tunnel
that ends on this machine, which makes others look like its own; where users of the
machine could read the command line, by MILLRACE_ACCESS_KEYS, with commas between.

One port speaks HTTP/1.1 and HTTP/2, plainly and over TLS. Without --tls-cert it
has a certificate of its own, made by the first start: clients that speak HTTPS
have to be told to trust DIR/server.crt (AWS_CA_BUNDLE, NODE_EXTRA_CA_CERTS). A new
directory is for its user alone, so that others need a copy of that file.`,
		Example: `  millrace serve -data ./data
  millrace serve -data ./data -listen 127.0.0.1:0 --create orders:4 --create audit
  millrace serve -data /var/lib/millrace -listen 0.0.0.0:4567 \
      --access-key APP1:a-long-secret --tls-cert cert.pem --tls-key key.pem
  millrace serve -data ./data --limits kinesis --state-delay 2s   # as slow as the original`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, world) },
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", "data directory; made if it does not exist (default: MILLRACE_DATA)")
	f.StringVar(&o.listen, "listen", "127.0.0.1:4567", "address and port; port 0 takes a free one")
	f.Var(word(&o.limits, "none", "kinesis"), "limits", "throughput limits of new streams: none, kinesis")
	f.Var(word(&o.durability, "durable", "relaxed"), "durability", "what an acknowledged record survives: durable (a power cut), relaxed (a crash of this process)")
	f.StringArrayVar(&o.accessKeys, "access-key", nil, "ID:SECRET with which requests have to be signed; may be repeated")
	f.StringVar(&o.certFile, "tls-cert", "", "file with the certificate for TLS (default: one of its own)")
	f.StringVar(&o.keyFile, "tls-key", "", "file with its private key")
	f.StringArrayVar(&o.create, "create", nil, "STREAM or STREAM:SHARDS to create if it does not exist; may be repeated")
	f.DurationVar(&o.retention, "retention", 24*time.Hour, "how long records of streams made by --create can be read")
	f.DurationVar(&o.stateDelay, "state-delay", 0, "for how long streams and consumers are CREATING, UPDATING, DELETING")
	f.StringVar(&o.region, "region", "us-east-1", "region in ARNs")
	f.StringVar(&o.account, "account", "000000000000", "account in ARNs")
	f.IntVar(&o.requestMemory, "request-memory", 512, "MiB that requests and answers may hold at one time; others wait")
	f.Var(word(&o.logLevel, "info", "debug", "warn", "error"), "log-level", "what is logged: debug, info, warn, error")
	return cmd
}

// word is a flag that is one of some words, the first by default.
func word(value *string, words ...string) *choice {
	*value = words[0]
	return &choice{value, words}
}

func (o *serving) run(cmd *cobra.Command, world IO) (err error) {
	ctx := cmd.Context()
	if o.data == "" {
		o.data = world.Getenv("MILLRACE_DATA")
	}
	if o.data == "" {
		return usagef("--data is missing: name a directory for the streams")
	}
	if keys := world.Getenv("MILLRACE_ACCESS_KEYS"); keys != "" && len(o.accessKeys) == 0 {
		o.accessKeys = strings.Split(keys, ",")
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(world.Err, &slog.HandlerOptions{Level: level}))
	config, err := o.server(log)
	if err != nil {
		return err
	}
	wanted, err := parseStreams(o.create)
	if err != nil {
		return err
	}
	listener, err := o.bind()
	if err != nil {
		return err
	}
	defer listener.Close()
	isNew := !isDir(o.data)
	e, err := openEngine(o.data, o.engine(log))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	for _, w := range wanted {
		if _, err := e.EnsureStream(ctx, w.name, engine.StreamConfig{Shards: w.shards, Retention: o.retention, Limits: config.Limits}); err != nil {
			return fmt.Errorf("--create %s: %w", w.name, err)
		}
	}
	s, err := server.New(e, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := s.Certificate(); err != nil {
		return err
	}
	o.greet(cmd.OutOrStdout(), listener.Addr(), isNew, len(e.Streams()))
	if err := s.Serve(ctx, listener); err != nil {
		return err
	}
	log.Info("stopped", "data", o.data)
	return nil
}

func (o *serving) engine(log *slog.Logger) engine.Config {
	cfg := engine.Config{Logger: log}
	if o.durability == "relaxed" {
		cfg.Durability = engine.LoseOnPowerFailure
	}
	return cfg
}

func (o *serving) server(log *slog.Logger) (server.Config, error) {
	cfg := server.Config{
		Region: o.region, Account: o.account, StateDelay: o.stateDelay,
		CertFile: o.certFile, KeyFile: o.keyFile, Logger: log,
	}
	if o.requestMemory < 64 || o.requestMemory > 1<<20 {
		return cfg, usagef("--request-memory is %d: use 64 to 1048576 (MiB); a request with records of 10 MiB takes as much", o.requestMemory)
	}
	cfg.MaxRequestMemory = o.requestMemory << 20
	if o.limits == "kinesis" {
		cfg.Limits = engine.KinesisLimits
	}
	for _, text := range o.accessKeys {
		id, secret, ok := strings.Cut(text, ":")
		if !ok || id == "" || secret == "" {
			return cfg, usagef("--access-key: use the form ID:SECRET")
		}
		cfg.AccessKeys = append(cfg.AccessKeys, server.AccessKey{ID: id, Secret: secret})
	}
	if (o.certFile == "") != (o.keyFile == "") {
		return cfg, usagef("--tls-cert and --tls-key belong together: give both")
	}
	return cfg, nil
}

// wantedStream is one of --create.
type wantedStream struct {
	name   string
	shards int
}

func parseStreams(texts []string) (all []wantedStream, err error) {
	for _, text := range texts {
		name, number, has := strings.Cut(text, ":")
		w := wantedStream{name, 1}
		if has {
			if w.shards, err = strconv.Atoi(number); err != nil || w.shards < 1 {
				return nil, usagef("--create is %q: use STREAM or STREAM:SHARDS", text)
			}
		}
		all = append(all, w)
	}
	return all, nil
}

func (o *serving) bind() (net.Listener, error) {
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		var address *net.AddrError
		if errors.As(err, &address) {
			return nil, usagef("--listen is %q: use the form 127.0.0.1:4567", o.listen)
		}
		return nil, fmt.Errorf("listen on %s: give another address by --listen, or end what has this one: %w", o.listen, err)
	}
	return listener, nil
}

// url is where the server is found from this machine: by HTTPS if that was
// asked for, by HTTP if not, although it speaks both.
func (o *serving) url(addr net.Addr) string {
	scheme := "http"
	if o.certFile != "" {
		scheme = "https"
	}
	host, port, _ := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

func absolute(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}
