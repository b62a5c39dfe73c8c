package server

import "net/http"

// budget is the memory that requests may hold at one time, by kind, so that none
// waits for another kind: large bodies, answers with records, and all else. What does
// not count: connections (see maxConnections), and subscriptions while they rest.
type budget struct{ bodies, answers, small *admission }

const (
	// requestBytes is what each request holds beside its body and its answer: a
	// goroutine, headers, and buffers of net/http.
	requestBytes = 16 << 10
	// smallBytes is how large a body may be to be one of the small ones.
	smallBytes = 64 << 10
	// mostWaiting requests may wait for room for their bodies. Of each, HTTP/2 keeps
	// up to streamBuffer bytes meanwhile that nobody reads.
	mostWaiting = 1024
	// mostRequests may be under way, subscriptions among them, which take as much
	// memory each as doc.go tells. As many more are refused; others are cut off.
	mostRequests = 32_768
)

func newBudget(total int) budget {
	return budget{
		bodies:  newAdmission(total/8*3, mostWaiting),
		answers: newAdmission(total/8*3, 0),
		small:   newAdmission(total/4, mostWaiting),
	}
}

// reserve waits until so much memory may be taken by a call, and not for ever.
func (c *call) reserve(s *share, of *admission, n int) error {
	if err := s.take(c.ctx, of, n, patience); err != nil {
		if c.ctx.Err() == nil {
			c.server.warn("requests are refused, since others hold all memory that there is for them: see Config.MaxRequestMemory, --request-memory", "remote", c.request.RemoteAddr)
		}
		return unavailable("the requests that are under way hold all memory that there is for them: try again")
	}
	return nil
}

// unavailable says that it can be done later. SDKs try again by themselves.
func unavailable(why string) error {
	return &fault{"ServiceUnavailableException", why, http.StatusServiceUnavailable}
}
