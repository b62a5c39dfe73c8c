package main

import (
	"bytes"
	"hash/fnv"
	"strconv"
	"strings"
	"time"
)

// Format is a kind of log line.
type Format string

const (
	Access  Format = "access"  // nginx and Apache: common and combined
	Syslog  Format = "syslog"  // RFC 3164, RFC 5424, and rsyslog's files
	Dpkg    Format = "dpkg"    // dpkg.log
	Unknown Format = "unknown" // everything else
)

// Line is what is known of one line.
type Line struct {
	Format Format
	// Key is the host or program that the line is about: its partition key.
	Key string
	// Minute is when, by the clock that wrote the line and without its zone;
	// the zero time when the line does not say.
	Minute time.Time
	// Label is the status, level or action.
	Label string
}

// Parse tells what a line is. Every line is something, if only Unknown. now
// gives the year to the lines that have none.
func Parse(text []byte, now time.Time) Line {
	for _, parse := range []func([]byte, time.Time) (Line, bool){parseAccess, parseSyslog, parseDpkg} {
		if line, ok := parse(text, now); ok {
			line.Key = clipKey(line.Key)
			return line
		}
	}
	// Unknown lines have nothing in common: they may go anywhere.
	h := fnv.New32a()
	h.Write(text)
	return Line{Format: Unknown, Key: "unknown-" + strconv.Itoa(int(h.Sum32()%64)), Label: "unknown"}
}

// clipKey keeps a key within what streams take: valid UTF-8, and not too long.
func clipKey(key string) string {
	const most = 128
	return strings.ToValidUTF8(key[:min(len(key), most)], "?")
}

// wallMinute is the minute that the clock on the wall showed.
func wallMinute(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
}

// parseAccess reads
//
//	host ident user [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326 …
func parseAccess(text []byte, _ time.Time) (line Line, ok bool) {
	who, rest, ok := bytes.Cut(text, []byte(" ["))
	if !ok {
		return line, false
	}
	fields := bytes.Fields(who)
	if len(fields) < 3 {
		return line, false
	}
	when, rest, ok := bytes.Cut(rest, []byte(`] "`))
	if !ok {
		return line, false
	}
	at, err := time.Parse("02/Jan/2006:15:04:05 -0700", string(when))
	if err != nil {
		return line, false
	}
	end := closingQuote(rest)
	if end < 0 {
		return line, false
	}
	numbers := bytes.Fields(rest[end+1:])
	if len(numbers) < 2 || !isStatus(numbers[0]) {
		return line, false
	}
	return Line{Access, string(fields[0]), wallMinute(at), string(numbers[0])}, true
}

// closingQuote returns the index of the first quote that is not escaped, or -1.
func closingQuote(text []byte) int {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

func isStatus(text []byte) bool {
	return len(text) == 3 && text[0] >= '1' && text[0] <= '5' && isDigit(text[1]) && isDigit(text[2])
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// severities are the levels of syslog, by number.
var severities = [8]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

// parseSyslog reads the two RFCs and what rsyslog writes to files:
//
//	<34>Oct 11 22:14:15 host su[77]: message
//	<34>1 2003-10-11T22:14:15.003Z host su 77 ID47 - message
//	2003-10-11T22:14:15.003+00:00 host su[77]: message
func parseSyslog(text []byte, now time.Time) (line Line, ok bool) {
	level, rest, ok := cutPriority(text)
	if !ok {
		return line, false
	}
	if modern, ok := bytes.CutPrefix(rest, []byte("1 ")); ok && level != "" {
		return parse5424(modern, level)
	}
	at, rest, ok := cutStamp(rest, now)
	if !ok {
		return line, false
	}
	_, rest, ok = bytes.Cut(rest, []byte(" ")) // the host
	if !ok {
		return line, false
	}
	program, message := cutTag(rest)
	if level == "" {
		level = guessLevel(message)
	}
	return Line{Syslog, program, wallMinute(at), level}, true
}

// cutPriority takes <number> from the front; level is empty when there is none.
func cutPriority(text []byte) (level string, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '<' {
		return "", text, true
	}
	number, rest, ok := bytes.Cut(text[1:], []byte(">"))
	if !ok || len(number) > 3 {
		return "", nil, false
	}
	pri, err := strconv.ParseUint(string(number), 10, 8)
	if err != nil || pri > 191 {
		return "", nil, false
	}
	return severities[pri%8], rest, true
}

// parse5424 reads what follows the version: TIMESTAMP HOST APP PROCID MSGID SD.
func parse5424(text []byte, level string) (line Line, ok bool) {
	fields := bytes.SplitN(text, []byte(" "), 6)
	if len(fields) < 6 || len(fields[2]) == 0 {
		return line, false
	}
	line = Line{Format: Syslog, Key: string(fields[2]), Label: level}
	if string(fields[0]) == "-" {
		return line, true
	}
	at, err := time.Parse(time.RFC3339, string(fields[0]))
	if err != nil {
		return line, false
	}
	line.Minute = wallMinute(at)
	return line, true
}

// cutStamp takes a time from the front: RFC 3339, or month, day and time of the
// last year in which it is not in the future.
func cutStamp(text []byte, now time.Time) (at time.Time, rest []byte, ok bool) {
	const old = len(time.Stamp)
	if len(text) > old && text[old] == ' ' {
		if t, err := time.Parse(time.Stamp, string(text[:old])); err == nil {
			return latestYear(t, now), text[old+1:], true
		}
	}
	stamp, rest, ok := bytes.Cut(text, []byte(" "))
	if !ok {
		return at, nil, false
	}
	at, err := time.Parse(time.RFC3339, string(stamp))
	return at, rest, err == nil
}

func latestYear(t, now time.Time) time.Time {
	tomorrow := now.AddDate(0, 0, 1) // clocks and zones differ
	for year := tomorrow.Year(); ; year-- {
		at := time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
		if at.Before(tomorrow) && at.Day() == t.Day() { // not every year has a 29th of February
			return at
		}
	}
}

// cutTag takes "program[pid]:" or "program:" from the front of a message.
func cutTag(text []byte) (program string, message []byte) {
	end := bytes.IndexAny(text, "[: ")
	if end <= 0 || text[end] == ' ' {
		return "-", text
	}
	_, message, ok := bytes.Cut(text[end:], []byte(":"))
	if !ok {
		message = text[end:]
	}
	return string(text[:end]), message
}

// guessLevel is for files, in which syslog leaves the level out.
func guessLevel(message []byte) string {
	m := strings.ToLower(string(message))
	switch {
	case strings.Contains(m, "error"), strings.Contains(m, "fail"):
		return "err"
	case strings.Contains(m, "warn"):
		return "warning"
	default:
		return "info"
	}
}

// actions are the second words of dpkg.log.
var actions = map[string]bool{
	"startup": true, "install": true, "upgrade": true, "configure": true, "trigproc": true,
	"remove": true, "purge": true, "disappear": true, "status": true, "conffile": true,
}

// parseDpkg reads
//
//	2026-11-01 06:12:01 upgrade libc6:amd64 2.36-9 2.36-10
func parseDpkg(text []byte, _ time.Time) (line Line, ok bool) {
	const stamp = len(time.DateTime)
	if len(text) <= stamp || text[stamp] != ' ' {
		return line, false
	}
	at, err := time.Parse(time.DateTime, string(text[:stamp]))
	if err != nil {
		return line, false
	}
	action, rest, _ := bytes.Cut(text[stamp+1:], []byte(" "))
	if !actions[string(action)] || len(rest) == 0 {
		return line, false
	}
	return Line{Dpkg, "dpkg", wallMinute(at), string(action)}, true
}
