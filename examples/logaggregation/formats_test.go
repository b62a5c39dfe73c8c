package main

import (
	"testing"
	"time"
	"unicode/utf8"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestLinesAreRecognised(t *testing.T) {
	minute := func(text string) time.Time {
		at, err := time.Parse("2006-01-02 15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, c := range []struct {
		text string
		want Line
	}{
		// nginx and Apache
		{`127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326`, Line{Access, "127.0.0.1", minute("2000-10-10 13:55"), "200"}},
		{`192.0.2.1 - - [20/Nov/2026:06:00:03 +0000] "GET / HTTP/2.0" 304 0 "-" "curl/8.11.0"`, Line{Access, "192.0.2.1", minute("2026-11-20 06:00"), "304"}},
		{`2001:db8::1 - - [20/Nov/2026:06:00:03 +0000] "\x16\x03\x01" 400 157 "-" "-"`, Line{Access, "2001:db8::1", minute("2026-11-20 06:00"), "400"}},
		{`www:443 192.0.2.1 - - [20/Nov/2026:06:00:03 +0000] "GET /?q=\"a b\" HTTP/1.1" 499 - "-" "-"`, Line{Access, "www:443", minute("2026-11-20 06:00"), "499"}},
		{`host.example - a b [20/Nov/2026:06:00:03 +0000] "" 408 0 "-" "-"`, Line{Access, "host.example", minute("2026-11-20 06:00"), "408"}},
		// RFC 3164
		{`<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8`, Line{Syslog, "su", minute("2026-10-11 22:14"), "crit"}},
		{`Nov  3 02:04:06 web1 sshd[2711]: Failed password for root`, Line{Syslog, "sshd", minute("2026-11-03 02:04"), "err"}},
		{`Dec 31 23:59:59 web1 kernel: [1.0] last year`, Line{Syslog, "kernel", minute("2025-12-31 23:59"), "info"}},
		{`Feb 29 10:00:00 web1 CRON[1]: (root) CMD (true)`, Line{Syslog, "CRON", minute("2024-02-29 10:00"), "info"}},
		{`Nov 23 10:00:00 web1 nginx: [warn] could be better`, Line{Syslog, "nginx", minute("2026-11-23 10:00"), "warning"}},
		{`Nov 23 10:00:00 web1 postfix/smtpd[44]: connect from mail.example.net[192.0.2.5]`, Line{Syslog, "postfix/smtpd", minute("2026-11-23 10:00"), "info"}},
		{`Nov 23 10:00:00 web1 last message repeated 3 times`, Line{Syslog, "-", minute("2026-11-23 10:00"), "info"}},
		// RFC 5424
		{`<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog 77 ID47 [exampleSDID@32473 iut="3"] An application event`, Line{Syslog, "evntslog", minute("2003-10-11 22:14"), "notice"}},
		{`<0>1 - - kernel - - -`, Line{Syslog, "kernel", time.Time{}, "emerg"}},
		{`<191>1 2003-10-11T22:14:15-07:00 h app - - - with a zone`, Line{Syslog, "app", minute("2003-10-11 22:14"), "debug"}},
		// rsyslog's files
		{`2026-11-23T04:05:06.789012+00:00 web1 systemd[1]: Started cron.service.`, Line{Syslog, "systemd", minute("2026-11-23 04:05"), "info"}},
		// dpkg.log
		{`2026-11-01 06:12:01 startup archives unpack`, Line{Dpkg, "dpkg", minute("2026-11-01 06:12"), "startup"}},
		{`2026-11-01 06:12:01 install libfoo1:amd64 <none> 1.2-3`, Line{Dpkg, "dpkg", minute("2026-11-01 06:12"), "install"}},
		{`2026-11-01 06:12:01 upgrade libc6:amd64 2.36-9+deb12u9 2.36-9+deb12u10`, Line{Dpkg, "dpkg", minute("2026-11-01 06:12"), "upgrade"}},
		{`2026-11-01 06:12:02 status half-configured libc6:amd64 2.36-9`, Line{Dpkg, "dpkg", minute("2026-11-01 06:12"), "status"}},
		{`2026-11-01 06:12:03 trigproc libc-bin:amd64 2.36-9 <none>`, Line{Dpkg, "dpkg", minute("2026-11-01 06:12"), "trigproc"}},
		{`2026-11-01 06:12:03 conffile /etc/foo.conf keep`, Line{Dpkg, "dpkg", minute("2026-11-01 06:12"), "conffile"}},
	} {
		if got := Parse([]byte(c.text), now); got != c.want {
			t.Errorf("%s\n got %+v\nwant %+v", c.text, got, c.want)
		}
	}
}

func TestWhatIsNoKnownFormatIsUnknown(t *testing.T) {
	for _, text := range []string{
		"", " ", "hello", `{"level":"info"}`, "<>", "<34", "<999>Oct 11 22:14:15 h su: x", "<-1>Oct 11 22:14:15 h su: x", "<34>1 yesterday h su - - -",
		"Okt 11 22:14:15 h su: x", "Oct 11 22:14:15", "Oct 32 22:14:15 h su: x",
		`192.0.2.1 - - [20/Nov/2026:06:12:4`, `192.0.2.1 - - [20/Nov/2026:06:00:03 +0000] "GET / HTTP/1.1`, `192.0.2.1 - - [20/Nov/2026:06:00:03 +0000] "GET /" 999 1`,
		`192.0.2.1 - - [20/Nov/2026:06:00:03 +0000] "GET /" 200`, `- [20/Nov/2026:06:00:03 +0000] "GET /" 200 1`,
		"2026-11-01 06:12:01", "2026-11-01 06:12:01 ", "2026-11-01 06:12:01 explode now", "2026-11-01 06:12:01 install", "2026-13-01 06:12:01 install a b c",
	} {
		if got := Parse([]byte(text), now); got.Format != Unknown || got.Label != "unknown" || got.Key == "" || !got.Minute.IsZero() {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326`,
		`<34>Oct 11 22:14:15 mymachine su: 'su root' failed`, `<165>1 2003-10-11T22:14:15.003Z h evntslog 77 ID47 - x`,
		`2026-11-23T04:05:06.789012+00:00 web1 systemd[1]: Started`, `2026-11-01 06:12:01 install libfoo1:amd64 <none> 1.2-3`, "Feb 29 10:00:00 h p: x", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		line := Parse(text, now)
		if line.Key == "" || len(line.Key) > 128 || !utf8.ValidString(line.Key) {
			t.Fatalf("%q has the key %q", text, line.Key)
		}
		if line.Label == "" || len(line.Label) > 10 {
			t.Fatalf("%q has the label %q", text, line.Label)
		}
		if line.Minute.Second() != 0 || line.Minute.Nanosecond() != 0 {
			t.Fatalf("%q has the minute %v", text, line.Minute)
		}
		if line != Parse(text, now) {
			t.Fatalf("%q is parsed in two ways", text)
		}
	})
}
