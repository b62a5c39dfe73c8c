package server

import (
	"fmt"
	"strings"
)

// streamRef is how a request names its stream: by name, by ARN, or by both.
// Input shapes embed it. StreamId is reserved for Amazon's future use, and left
// aside.
type streamRef struct {
	StreamName string `wire:"len=1..128,pattern=streamName"`
	StreamARN  string `wire:"len=1..2048,pattern=streamARN"`
	StreamId   string `wire:"len=1..24"`
}

// streamName returns which stream is meant, whether it exists or not.
func (s *Server) streamName(ref streamRef) (string, error) {
	if ref.StreamARN == "" {
		if ref.StreamName == "" {
			return "", invalidArgument("Either StreamName or StreamARN must be provided.")
		}
		return ref.StreamName, nil
	}
	a, ok := parseARN(ref.StreamARN)
	if !ok || a.consumer != "" {
		return "", invalidArgument("StreamARN %s is not the ARN of a stream.", ref.StreamARN)
	}
	if ref.StreamName != "" && ref.StreamName != a.stream {
		return "", invalidArgument("StreamName %s and StreamARN %s do not name the same stream.", ref.StreamName, ref.StreamARN)
	}
	if a.region != s.config.Region || a.account != s.config.Account {
		return "", notFound("Stream %s under account %s not found.", a.stream, a.account)
	}
	return a.stream, nil
}

// streamARN returns the ARN of a stream of this server.
func (s *Server) streamARN(name string) string {
	return fmt.Sprintf("arn:aws:kinesis:%s:%s:stream/%s", s.config.Region, s.config.Account, name)
}

// arn is the ARN of a stream, or of a consumer of one.
type arn struct {
	region, account, stream string
	consumer                string // name:created, empty for the stream itself
}

// parseARN reads arn:PARTITION:kinesis:REGION:ACCOUNT:stream/NAME[/consumer/NAME:CREATED].
func parseARN(text string) (a arn, ok bool) {
	parts := strings.SplitN(text, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || !strings.HasPrefix(parts[1], "aws") || parts[2] != "kinesis" {
		return a, false
	}
	name, ok := strings.CutPrefix(parts[5], "stream/")
	if !ok {
		return a, false
	}
	name, consumer, isConsumer := strings.Cut(name, "/consumer/")
	if name == "" || strings.Contains(name, "/") || isConsumer && consumer == "" {
		return a, false
	}
	return arn{parts[3], parts[4], name, consumer}, true
}
