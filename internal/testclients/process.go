package testclients

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// process is a client in a process of its own, which ends when its standard input is
// closed: at the end of the test, however that ends.
type process struct {
	version string
	orders  *json.Encoder
	gone    chan struct{} // closed when there will be no more answers

	mu      sync.Mutex
	last    int
	pending map[int]chan answer
	ended   error // why there are no more answers
}

// order is a line to a process.
type order struct {
	ID        int    `json:"id"`
	Operation string `json:"operation"`
	Input     any    `json:"input"`
}

// answer is a line from it.
type answer struct {
	ID      int
	Version string
	Output  json.RawMessage
	Event   *types.SubscribeToShardEvent
	End     bool // of the events
	Error   *Error
}

// startup is how long the first line may take: a second or two, on a machine that
// is not busy.
const startup = 2 * time.Minute

// start starts a process and tells it where the service is.
func start(t testing.TB, dir string, at Endpoint, env string, words ...string) Client {
	t.Helper()
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = dir
	if env != "" {
		cmd.Env = append(os.Environ(), env)
	}
	var stderr strings.Builder // read when the process has ended
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{orders: json.NewEncoder(stdin), gone: make(chan struct{}), pending: map[int]chan answer{}}
	first := make(chan string, 1)
	go func() { // ends with the process, which the clean-up waits for
		defer close(p.gone)
		p.listen(stdout, first)
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		<-p.gone
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", words[0], err, &stderr)
		} else if t.Failed() && stderr.Len() > 0 {
			t.Logf("%s said:\n%s", words[0], &stderr)
		}
	})
	key, secret := at.credentials()
	where := map[string]string{"url": at.URL, "key": key, "secret": secret}
	if at.CA != "" {
		where["ca"] = at.CA
	}
	if err := p.orders.Encode(where); err != nil {
		t.Fatalf("%s: %v", words[0], err)
	}
	select {
	case p.version = <-first:
	case <-p.gone:
		t.Fatalf("%s ended at once: %v", words[0], p.ended)
	case <-time.After(startup):
		t.Fatalf("%s did not start within %v", words[0], startup)
	}
	return p
}

// listen gives each answer to whoever asked.
func (p *process) listen(stdout io.Reader, first chan<- string) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 64<<20) // a full batch of GetRecords is 10 MiB before base64
	var err error
	for err == nil && lines.Scan() {
		var a answer
		if err = json.Unmarshal(lines.Bytes(), &a); err != nil {
			err = fmt.Errorf("%w: %.200s", err, lines.Bytes())
		} else if a.Version != "" {
			first <- a.Version
		} else {
			p.mu.Lock()
			asker := p.pending[a.ID]
			p.mu.Unlock()
			if asker != nil {
				asker <- a
			}
		}
	}
	_, _ = io.Copy(io.Discard, stdout)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = cmp.Or(err, lines.Err(), errors.New("the client's process has ended"))
	for _, asker := range p.pending {
		close(asker)
	}
	p.pending = nil
}

func (p *process) Version() string { return p.version }

// window is how many events of a subscription may wait for a test that looks
// elsewhere. All other answers wait behind the next one.
const window = 4096

// ask sends an order, to which there may be so many answers before anybody takes one.
// Nobody listens to them after forget.
func (p *process) ask(operation string, input any, window int) (answers <-chan answer, forget func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending == nil {
		return nil, nil, p.ended
	}
	p.last++
	id := p.last
	asker := make(chan answer, window)
	p.pending[id] = asker
	forget = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.pending, id)
	}
	return asker, forget, p.orders.Encode(order{id, operation, members(input)})
}

// next waits for an answer.
func (p *process) next(ctx context.Context, answers <-chan answer) (answer, error) {
	select {
	case a, ok := <-answers:
		if !ok {
			return a, p.ended
		}
		if a.Error != nil {
			return a, a.Error
		}
		return a, nil
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
}

func (p *process) Call(ctx context.Context, operation string, input, output any) error {
	answers, forget, err := p.ask(operation, input, 1)
	if err != nil {
		return err
	}
	defer forget()
	a, err := p.next(ctx, answers)
	if err != nil {
		return err
	}
	return json.Unmarshal(a.Output, output)
}

func (p *process) Subscribe(ctx context.Context, input *kinesis.SubscribeToShardInput) iter.Seq2[types.SubscribeToShardEvent, error] {
	return func(yield func(types.SubscribeToShardEvent, error) bool) {
		answers, forget, err := p.ask("SubscribeToShard", input, window)
		if err != nil {
			yield(types.SubscribeToShardEvent{}, err)
			return
		}
		defer forget()
		for {
			a, err := p.next(ctx, answers)
			switch {
			case err != nil:
				yield(types.SubscribeToShardEvent{}, err)
				return
			case a.End:
				return
			case a.Event != nil && !yield(*a.Event, nil):
				return
			}
		}
	}
}
