package server

// resourceRef is how a request names a stream or a consumer. Channels have
// ARNs, too, but there are none.
type resourceRef struct {
	ResourceARN string `wire:"required,len=1..2048,pattern=resourceARN"`
	StreamId    string `wire:"len=1..24"`
}

// resource tells which it is: a consumer, or else a stream.
func (s *Server) resource(ref resourceRef) (stream streamRef, consumer consumerRef, isConsumer bool, err error) {
	a, ok := parseARN(ref.ResourceARN)
	switch {
	case !ok:
		return stream, consumer, false, notFound("Resource %s not found.", ref.ResourceARN)
	case a.consumer != "":
		return stream, consumerRef{ConsumerARN: ref.ResourceARN}, true, nil
	}
	return streamRef{StreamARN: ref.ResourceARN}, consumer, false, nil
}
