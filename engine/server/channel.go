package server

// Channels deliver what is put into a stream to tables and buckets of Amazon's.
// There are none here: to promise a delivery that never comes would be worse
// than to refuse it. So none can be created, lists of them are empty, and each
// one that is asked for is not found. Whether a request has all the members that
// a channel needs is not checked.

type channelRef struct {
	ChannelARN string `wire:"required,len=1..2048,pattern=channelARN"`
}

func (c channelRef) absent() error { return notFound("Channel %s not found.", c.ChannelARN) }
