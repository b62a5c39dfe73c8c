package server

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/engine/server/internal/state"
)

// consumerRef is how a request names a consumer: by its ARN, by its name and
// its stream's ARN, or by all three. Input shapes embed it.
type consumerRef struct {
	ConsumerARN  string `wire:"len=1..2048,pattern=consumerARN"`
	ConsumerName string `wire:"len=1..128,pattern=streamName"`
	StreamARN    string `wire:"len=1..2048,pattern=streamARN"`
	StreamId     string `wire:"len=1..24"`
}

// consumerView is a registered consumer as one request sees it.
type consumerView struct {
	*state.Consumer
	of     view
	arn    string
	status state.Status
}

// consumer finds the consumer that is meant, in whatever status it is.
func (s *Server) consumer(ref consumerRef) (consumerView, error) {
	return s.consumerAmong(ref, time.Now(), s.look)
}

// consumerByARN finds a consumer of an ARN, in whatever status it is.
func (s *Server) consumerByARN(arn string) (consumerView, error) {
	return s.consumer(consumerRef{ConsumerARN: arn})
}

// consumer finds the consumer that is meant; what is known of it may be
// changed, and is kept by [state.Draft.Save].
func (c *change) consumer(ref consumerRef) (consumerView, error) {
	return c.server.consumerAmong(ref, c.now, c.look)
}

func (s *Server) consumerAmong(ref consumerRef, now time.Time, look func(streamRef) (view, error)) (consumerView, error) {
	if ref.ConsumerARN == "" && (ref.ConsumerName == "" || ref.StreamARN == "") {
		return consumerView{}, invalidArgument("Either ConsumerARN or both StreamARN and ConsumerName must be provided.")
	}
	streamARN, name, second := ref.StreamARN, ref.ConsumerName, ""
	if ref.ConsumerARN != "" {
		stream, consumer, ok := strings.Cut(ref.ConsumerARN, "/consumer/")
		if !ok {
			return consumerView{}, invalidArgument("ConsumerARN %s is not the ARN of a consumer.", ref.ConsumerARN)
		}
		var its string
		its, second, _ = strings.Cut(consumer, ":")
		if streamARN != "" && streamARN != stream || name != "" && name != its {
			return consumerView{}, invalidArgument("ConsumerARN %s is not of the consumer %s of the stream %s.", ref.ConsumerARN, name, streamARN)
		}
		streamARN, name = stream, its
	}
	v, err := look(streamRef{StreamARN: streamARN})
	if err != nil {
		return consumerView{}, err
	}
	c := v.known.Consumer(name, now)
	if c == nil || second != "" && second != strconv.FormatInt(c.Created/1000, 10) {
		if ref.ConsumerARN != "" {
			return consumerView{}, notFound("Consumer %s not found.", ref.ConsumerARN)
		}
		return consumerView{}, notFound("Consumer %s of stream %s under account %s not found.", name, v.name, s.config.Account)
	}
	return consumerView{c, v, s.consumerARN(v.name, c), c.Status(now)}, nil
}

// consumerARN returns the ARN of a consumer of this server.
func (s *Server) consumerARN(stream string, c *state.Consumer) string {
	return fmt.Sprintf("%s/consumer/%s:%d", s.streamARN(stream), c.Name, c.Created/1000)
}

// consumerBusy says that a consumer is CREATING or DELETING.
func (s *Server) consumerBusy(c consumerView) error {
	return inUse("Consumer %s with creation timestamp %d under stream: %s, account %s is not in ACTIVE status.",
		c.Name, c.Created/1000, c.of.name, s.config.Account)
}

// consumerShape is a consumer as lists tell it.
type consumerShape struct {
	ConsumerName              string
	ConsumerARN               string
	ConsumerStatus            state.Status
	ConsumerCreationTimestamp time.Time
}

func (s *Server) consumerShape(stream string, c *state.Consumer, now time.Time) consumerShape {
	return consumerShape{c.Name, s.consumerARN(stream, c), c.Status(now), time.UnixMilli(c.Created)}
}
