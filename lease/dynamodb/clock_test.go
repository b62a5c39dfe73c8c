package dynamodb

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/testdynamo"
)

// skewed is a transport to an API whose clock is ahead of ours. It refuses what is
// signed more than five minutes off, as DynamoDB does.
type skewed struct {
	base  http.RoundTripper
	ahead time.Duration
}

func (s *skewed) RoundTrip(request *http.Request) (response *http.Response, err error) {
	signed, err := time.Parse("20060102T150405Z", request.Header.Get("X-Amz-Date"))
	if err != nil {
		return nil, err
	}
	there := time.Now().Add(s.ahead)
	if there.Sub(signed).Abs() > 5*time.Minute {
		_ = request.Body.Close()
		response = &http.Response{
			StatusCode: http.StatusBadRequest, Header: http.Header{}, Request: request,
			Body: io.NopCloser(strings.NewReader(`{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"Signature expired"}`)),
		}
	} else if response, err = s.base.RoundTrip(request); err != nil {
		return nil, err
	}
	response.Header.Set("Date", there.UTC().Format(http.TimeFormat))
	return response, nil
}

// A machine whose clock is wrong, or is put right, lacks no permission.
func TestWhatIsSignedByAClockThatIsOffIsSignedAgain(t *testing.T) {
	api := testdynamo.Any(t)
	wire := &skewed{base: testdynamo.Transport(t)}
	s := open(t, api.Client(t, wire), Config{})
	row := someRow("a")
	create(t, s, row)
	for _, ahead := range []time.Duration{time.Hour, -time.Hour, 0} {
		wire.ahead = ahead
		next, err := s.Swap(t.Context(), row, row)
		if err != nil {
			t.Fatalf("a clock that is off by %v: %v", ahead, err)
		}
		row = next
	}
}
