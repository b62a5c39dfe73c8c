package wire

import (
	"bytes"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

func TestFramesAreThoseOfTheSDK(t *testing.T) {
	headers := []Header{{":message-type", "event"}, {":event-type", "SubscribeToShardEvent"}, {":content-type", "application/json"}}
	for _, payload := range []string{"", "{}", string(make([]byte, 1<<20))} {
		prefix := []byte("what stands before")
		frame := EndFrame(append(BeginFrame(bytes.Clone(prefix), headers...), payload...), len(prefix))
		frame = frame[len(prefix):]

		var message eventstream.Message
		for _, h := range headers {
			message.Headers.Set(h.Name, eventstream.StringValue(h.Value))
		}
		message.Payload = []byte(payload)
		var want bytes.Buffer
		if err := eventstream.NewEncoder().Encode(&want, message); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(frame, want.Bytes()) {
			t.Fatalf("the frame is %x, and the SDK's %x", frame[:100], want.Bytes()[:100])
		}

		size, err := FrameSize(frame[:12])
		if err != nil || size != len(frame) {
			t.Fatalf("size %d, %v", size, err)
		}
		f, err := ParseFrame(frame)
		if err != nil || string(f.Payload) != payload || f.Header("absent") != nil {
			t.Fatalf("parsed: %v", err)
		}
		for _, h := range headers {
			if string(f.Header(h.Name)) != h.Value {
				t.Errorf("%s is %q", h.Name, f.Header(h.Name))
			}
		}
	}
}

func TestEveryFlippedBitOfAFrameIsNoticed(t *testing.T) {
	frame := EndFrame(append(BeginFrame(nil, Header{":event-type", "x"}), "payload"...), 0)
	for i := range len(frame) * 8 {
		broken := bytes.Clone(frame)
		broken[i/8] ^= 1 << (i % 8)
		if _, err := ParseFrame(broken); !errors.Is(err, ErrFrame) {
			t.Errorf("bit %d: %v", i, err)
		}
	}
	for n := range frame {
		if _, err := ParseFrame(frame[:n]); !errors.Is(err, ErrFrame) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestAFrameBeyondTheLimitIsRefusedByItsFirstBytes(t *testing.T) {
	frame := EndFrame(append(BeginFrame(nil), make([]byte, MaxFrame)...), 0)
	if _, err := FrameSize(frame[:12]); !errors.Is(err, ErrFrame) {
		t.Errorf("%v", err)
	}
}
