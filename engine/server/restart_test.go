package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/engine/server/internal/state"
)

// life runs a test over a server of an engine in a directory, once.
func life(t *testing.T, dir string, cfg Config, f func(h *harness)) {
	t.Helper()
	e, err := engine.Open(dir, engine.Config{Logger: quiet, SegmentBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	cfg.Logger = quiet
	s, err := New(e, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f(&harness{t, e, s, "http://direct", &http.Client{Transport: direct{s}}})
}

func TestWhatIsKnownOfStreamsSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	var consumer, token string
	life(t, dir, Config{}, func(h *harness) {
		c, ctx := h.client(), t.Context()
		must(c.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: aws.String("orders"), StreamModeDetails: onDemandMode}))(t)
		must(c.StartStreamEncryption(ctx, &kinesis.StartStreamEncryptionInput{StreamName: aws.String("orders"), EncryptionType: types.EncryptionTypeKms, KeyId: aws.String("alias/k")}))(t)
		consumer = *h.register("app").ConsumerARN
		must(c.TagResource(ctx, &kinesis.TagResourceInput{ResourceARN: aws.String(consumer), Tags: map[string]string{"a": "1"}}))(t)
		must(c.PutResourcePolicy(ctx, &kinesis.PutResourcePolicyInput{ResourceARN: aws.String(ordersARN), Policy: aws.String(`{"a":1}`)}))(t)
		h.commit(types.MinimumThroughputBillingCommitmentInputStatusEnabled)
		token = *must(c.ListShards(ctx, &kinesis.ListShardsInput{StreamName: aws.String("orders"), MaxResults: aws.Int32(1)}))(t).NextToken
	})
	life(t, dir, Config{}, func(h *harness) {
		c, ctx := h.client(), t.Context()
		s := h.summary()
		if s.StreamModeDetails.StreamMode != types.StreamModeOnDemand || *s.KeyId != "alias/k" || *s.ConsumerCount != 1 || h.policy(ordersARN) != `{"a":1}` {
			t.Errorf("%+v", s)
		}
		if tags := h.resourceTags(consumer); tags != "a=1" {
			t.Errorf("the consumer has the tags %s", tags)
		}
		a := must(c.DescribeAccountSettings(ctx, &kinesis.DescribeAccountSettingsInput{}))(t).MinimumThroughputBillingCommitment
		if a.Status != types.MinimumThroughputBillingCommitmentOutputStatusEnabled {
			t.Errorf("%+v", a)
		}
		if rest := must(c.ListShards(ctx, &kinesis.ListShardsInput{NextToken: aws.String(token)}))(t); len(rest.Shards) != 3 {
			t.Errorf("the token gives %d shards", len(rest.Shards))
		}
	})
}

func TestStatesSurviveARestartAndADeletionIsFinished(t *testing.T) {
	dir := t.TempDir()
	life(t, dir, Config{StateDelay: time.Hour}, func(h *harness) {
		h.mustCreate("orders")
		h.mustCreate("gone")
		must(h.client().DeleteStream(t.Context(), &kinesis.DeleteStreamInput{StreamName: aws.String("gone")}))(t)
		if n := len(h.engine.Streams()); n != 2 {
			t.Fatalf("%d streams", n)
		}
	})
	life(t, dir, Config{StateDelay: time.Hour}, func(h *harness) {
		if s := h.summary(); s.StreamStatus != types.StreamStatusCreating {
			t.Errorf("%+v", s)
		}
		out := must(h.client().ListStreams(t.Context(), &kinesis.ListStreamsInput{}))(t)
		if len(out.StreamSummaries) != 2 || out.StreamSummaries[0].StreamStatus != types.StreamStatusDeleting {
			t.Errorf("%+v", out.StreamSummaries)
		}
	})
	// Nobody waits for longer than the delay that there is now.
	life(t, dir, Config{}, func(h *harness) {
		if s := h.summary(); s.StreamStatus != types.StreamStatusActive {
			t.Errorf("%+v", s)
		}
		for !slices.Equal(h.engine.Streams(), []string{"orders"}) {
			// A change waits its turn, behind the reaper's.
			if err := h.server.change(t.Context(), func(context.Context, *change) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestADeletionOfAnEarlierIncarnationIsNotFinishedOnTheNext(t *testing.T) {
	dir := t.TempDir()
	life(t, dir, Config{StateDelay: time.Hour}, func(h *harness) {
		h.mustCreate("orders")
		must(h.client().DeleteStream(t.Context(), &kinesis.DeleteStreamInput{StreamName: aws.String("orders")}))(t)
		// The program does it by itself, and makes another one.
		if err := h.engine.DeleteStream(t.Context(), "orders"); err != nil {
			t.Fatal(err)
		}
		h.stream("orders", engine.StreamConfig{})
	})
	life(t, dir, Config{}, func(h *harness) {
		h.mustCreate("another") // the reaper has its turn before or after; both must do no harm
		if _, err := h.server.reap(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := h.summary(); s.StreamStatus != types.StreamStatusActive {
			t.Errorf("%+v", s)
		}
	})
}

func TestACrashBetweenTheAnnouncementAndTheStreamLeavesNoStreamThatForgotItsMode(t *testing.T) {
	for _, made := range []bool{false, true} {
		dir := t.TempDir()
		st, err := state.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		d, err := st.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d.Stream("orders", 0).OnDemand = true
		if err := d.Save(time.Now()); err != nil {
			t.Fatal(err)
		}
		d.End()
		if made {
			e, err := engine.Open(dir, engine.Config{Logger: quiet, SegmentBytes: 64 << 10})
			if err != nil {
				t.Fatal(err)
			}
			_, err = e.CreateStream(t.Context(), "orders", engine.StreamConfig{Shards: 4})
			if err := errors.Join(err, e.Close()); err != nil {
				t.Fatal(err)
			}
		}
		life(t, dir, Config{}, func(h *harness) {
			if !made {
				h.create(1)
			}
			want := types.StreamModeProvisioned
			if made {
				want = types.StreamModeOnDemand
			}
			h.mustCreate("another")
			if s := h.summary(); s.StreamModeDetails.StreamMode != want {
				t.Errorf("made %v: %+v", made, s.StreamModeDetails)
			}
		})
	}
}

func TestAServerDoesNotBeginWithAStateThatItCannotRead(t *testing.T) {
	dir := t.TempDir()
	e, err := engine.Open(dir, engine.Config{Logger: quiet, SegmentBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for text, want := range map[string]error{"nonsense": state.ErrDamaged, "millrace-server 2 \n": state.ErrVersion} {
		if err := os.WriteFile(filepath.Join(dir, state.Name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := New(e, Config{Logger: quiet}); !errors.Is(err, want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestNothingIsForgottenWhenTheEngineIsClosedFirst(t *testing.T) {
	dir := t.TempDir()
	life(t, dir, Config{}, func(h *harness) {
		h.create(1)
		h.register("app")
		h.engine.Close()
		_, err := h.client().UpdateAccountSettings(t.Context(), &kinesis.UpdateAccountSettingsInput{
			MinimumThroughputBillingCommitment: &types.MinimumThroughputBillingCommitmentInput{Status: types.MinimumThroughputBillingCommitmentInputStatusEnabled},
		})
		wantCode(t, err, "InternalFailureException")
	})
	life(t, dir, Config{}, func(h *harness) {
		if n := *h.summary().ConsumerCount; n != 1 {
			t.Errorf("%d consumers", n)
		}
	})
}

func TestManyMayChangeThingsAtOnce(t *testing.T) {
	h := start(t, Config{})
	h.create(1)
	c, ctx := h.client(), t.Context()
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			name := aws.String(fmt.Sprint("s", i))
			arn := aws.String(h.server.streamARN(*name))
			for range 5 {
				for _, err := range []error{
					only(c.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: name, ShardCount: aws.Int32(2)})),
					only(c.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: arn, ConsumerName: aws.String("app")})),
					only(c.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: aws.String(ordersARN), ConsumerName: name})),
					only(c.UpdateShardCount(ctx, &kinesis.UpdateShardCountInput{StreamName: name, TargetShardCount: aws.Int32(4), ScalingType: types.ScalingTypeUniformScaling})),
					only(c.ListStreams(ctx, &kinesis.ListStreamsInput{})),
					only(c.ListStreamConsumers(ctx, &kinesis.ListStreamConsumersInput{StreamARN: aws.String(ordersARN)})),
					only(c.DeregisterStreamConsumer(ctx, &kinesis.DeregisterStreamConsumerInput{StreamARN: aws.String(ordersARN), ConsumerName: name})),
					only(c.DeleteStream(ctx, &kinesis.DeleteStreamInput{StreamName: name, EnforceConsumerDeletion: aws.Bool(true)})),
				} {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if names := h.engine.Streams(); len(names) != 1 || *h.summary().ConsumerCount != 0 {
		t.Errorf("left are %v, and %d consumers", names, *h.summary().ConsumerCount)
	}
}

// only returns the error of a call.
func only(_ any, err error) error { return err }

func TestADirectoryIsItsUsersAloneButForTheCertificate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "above", "data")
	h, _ := open(t, dir, Config{})
	put(t, h.stream("orders", engine.StreamConfig{}), 0, 10)
	if _, err := h.server.Certificate(); err != nil {
		t.Fatal(err)
	}
	n := 0
	err := filepath.WalkDir(filepath.Dir(dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if n++; info.Mode().Perm()&0o077 != 0 && d.Name() != certificateFile {
			t.Errorf("%s is %v", path, info.Mode())
		}
		return nil
	})
	if err != nil || n < 6 {
		t.Errorf("%d files and directories, %v", n, err)
	}
}
