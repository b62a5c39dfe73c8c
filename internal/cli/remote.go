package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"

	"github.com/millrace/millrace/kinesis"
	"github.com/millrace/millrace/stream"
)

// remote is an endpoint of Kinesis' API.
type remote struct {
	client    *sdk.Client
	transport *http.Transport
	endpoint  string
	stream    kinesis.Config
}

// amazon is the endpoint that is Kinesis itself.
const amazon = "aws"

func newRemote(ctx context.Context, w where, world IO) (source, error) {
	r := &remote{endpoint: w.endpoint, stream: kinesis.Config{Logger: complaints(world)}}
	var target func(*sdk.Options)
	var options []func(*config.LoadOptions) error
	if w.endpoint == amazon {
		target = func(*sdk.Options) {}
	} else {
		u, err := url.Parse(w.endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, usagef("--endpoint is %q: use a URL like http://127.0.0.1:4567, or %q", w.endpoint, amazon)
		}
		target = func(o *sdk.Options) { o.BaseEndpoint = aws.String(strings.TrimSuffix(w.endpoint, "/")) }
		if isLoopback(u.Hostname()) {
			r.stream.MinPoll = 20 * time.Millisecond
			options = append(options, config.WithRetryer(func() aws.Retryer {
				return retry.AddWithMaxBackoffDelay(retry.NewStandard(), 100*time.Millisecond)
			}))
		}
		options = append(options, config.WithEC2IMDSClientEnableState(imds.ClientDisabled)) // nobody waits for it
	}
	transport, err := newTransport(world)
	if err != nil {
		return nil, err
	}
	r.transport = transport
	if w.region != "" {
		options = append(options, config.WithRegion(w.region))
	}
	if w.accessKey != "" {
		id, secret, ok := strings.Cut(w.accessKey, ":")
		if !ok || id == "" || secret == "" {
			return nil, usagef("--access-key: use the form ID:SECRET")
		}
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(id, secret, "")))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, err
	}
	if w.endpoint != amazon {
		if cfg.Region == "" {
			cfg.Region = "us-east-1"
		}
		if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
			// Servers that know no keys believe any.
			cfg.Credentials = credentials.NewStaticCredentialsProvider("local", "local", "")
		}
	} else if cfg.Region == "" {
		return nil, usagef("no region is configured: give --region, or set AWS_REGION")
	}
	cfg.HTTPClient = &http.Client{Transport: transport}
	r.client = sdk.NewFromConfig(cfg, target)
	return r, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// newTransport believes the certificates that the AWS CLI would.
func newTransport(world IO) (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if bundle := world.Getenv("AWS_CA_BUNDLE"); bundle != "" {
		pem, err := os.ReadFile(bundle)
		if err != nil {
			return nil, fmt.Errorf("AWS_CA_BUNDLE: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, usagef("AWS_CA_BUNDLE is %q: there is no certificate in it", bundle)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return t, nil
}

func (r *remote) close() error {
	r.transport.CloseIdleConnections()
	return nil
}

// explain implements source: what the SDK says is for programs.
func (r *remote) explain(name string, err error) error {
	var answer smithy.APIError
	switch {
	case err == nil, errors.Is(err, stream.ErrShardNotFound):
		return err
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no server answers at %s: start \"millrace serve -data DIR\", or give another --endpoint: %w", r.endpoint, syscall.ECONNREFUSED)
	case !errors.As(err, &answer):
		return err
	}
	told := fmt.Errorf("%s: %s", answer.ErrorCode(), answer.ErrorMessage())
	switch answer.ErrorCode() {
	case "ResourceNotFoundException":
		return fmt.Errorf("stream %s: %w: %w", name, stream.ErrStreamNotFound, told)
	case "ResourceInUseException":
		return fmt.Errorf("stream %s: %w: %w", name, errInTheWay, told)
	case "ValidationException", "InvalidArgumentException":
		return &usageError{told}
	}
	return told
}

func (r *remote) list(ctx context.Context) ([]listed, error) {
	all := []listed{}
	pages := sdk.NewListStreamsPaginator(r.client, &sdk.ListStreamsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range page.StreamSummaries {
			all = append(all, listed{aws.ToString(s.StreamName), string(s.StreamStatus), aws.ToTime(s.StreamCreationTimestamp).UTC()})
		}
	}
	return all, nil
}

func (r *remote) describe(ctx context.Context, name string) (described, error) {
	s, err := r.summary(ctx, name)
	if err != nil {
		return described{}, err
	}
	d := described{
		listed:    listed{aws.ToString(s.StreamName), string(s.StreamStatus), aws.ToTime(s.StreamCreationTimestamp).UTC()},
		ARN:       aws.ToString(s.StreamARN),
		Retention: time.Duration(aws.ToInt32(s.RetentionPeriodHours)) * time.Hour,
	}
	st, err := r.open(ctx, name)
	if err != nil {
		return described{}, err
	}
	shards, err := st.Shards(ctx)
	if err != nil {
		return described{}, err
	}
	d.finish(shards)
	return d, nil
}

func (r *remote) summary(ctx context.Context, name string) (*types.StreamDescriptionSummary, error) {
	in := &sdk.DescribeStreamSummaryInput{StreamName: &name}
	if strings.HasPrefix(name, "arn:") {
		in = &sdk.DescribeStreamSummaryInput{StreamARN: &name}
	}
	out, err := r.client.DescribeStreamSummary(ctx, in)
	if err != nil {
		return nil, err
	}
	return out.StreamDescriptionSummary, nil
}

// settle waits until the stream is ACTIVE, which it is not while it is created,
// changed or deleted.
func (r *remote) settle(ctx context.Context, name string) error {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		s, err := r.summary(ctx, name)
		if err != nil || s.StreamStatus == types.StreamStatusActive {
			return err
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

func (r *remote) create(ctx context.Context, name string, o createOptions) error {
	_, err := r.client.CreateStream(ctx, &sdk.CreateStreamInput{StreamName: &name, ShardCount: aws.Int32(int32(o.shards))})
	var inUse *types.ResourceInUseException
	switch {
	case errors.As(err, &inUse):
		return fmt.Errorf("stream %s: %w", name, errExists)
	case err != nil:
		return err
	}
	if err := r.settle(ctx, name); err != nil || o.retention == 24*time.Hour {
		return err
	}
	_, err = r.client.IncreaseStreamRetentionPeriod(ctx, &sdk.IncreaseStreamRetentionPeriodInput{
		StreamName: &name, RetentionPeriodHours: aws.Int32(int32(o.retention / time.Hour)),
	})
	if err == nil {
		err = r.settle(ctx, name)
	}
	return err
}

func (r *remote) remove(ctx context.Context, name string) error {
	_, err := r.client.DeleteStream(ctx, &sdk.DeleteStreamInput{StreamName: &name, EnforceConsumerDeletion: aws.Bool(true)})
	if err != nil {
		return err
	}
	err = r.settle(ctx, name)
	if absent := (*types.ResourceNotFoundException)(nil); errors.As(err, &absent) {
		return nil
	}
	return err
}

func (r *remote) open(_ context.Context, name string) (fullStream, error) {
	s, err := kinesis.New(r.client, name, r.stream)
	if err != nil {
		return nil, &usageError{err}
	}
	return &remoteStream{s, r.client, name}, nil
}

type remoteStream struct {
	*kinesis.Stream
	client *sdk.Client
	name   string
}

// mostEmpty is how many pages without a record are looked at: Kinesis gives some
// on its way to the records.
const mostEmpty = 10

func (s *remoteStream) ended(ctx context.Context, shardID string, from stream.Position) bool {
	in := &sdk.GetShardIteratorInput{ShardId: &shardID}
	if in.StreamName = &s.name; strings.HasPrefix(s.name, "arn:") {
		in.StreamName, in.StreamARN = nil, &s.name
	}
	seq, after, numbered := from.Sequence()
	since, timed := from.Time()
	switch {
	case numbered:
		in.ShardIteratorType = types.ShardIteratorTypeAtSequenceNumber
		if after {
			in.ShardIteratorType = types.ShardIteratorTypeAfterSequenceNumber
		}
		in.StartingSequenceNumber = aws.String(seq.WithSub(0).String())
	case timed:
		in.ShardIteratorType, in.Timestamp = types.ShardIteratorTypeAtTimestamp, &since
	case from == stream.Latest:
		in.ShardIteratorType = types.ShardIteratorTypeLatest
	default:
		in.ShardIteratorType = types.ShardIteratorTypeTrimHorizon
	}
	begin, err := s.client.GetShardIterator(ctx, in)
	if err != nil {
		return false
	}
	iterator := begin.ShardIterator
	for range mostEmpty {
		page, err := s.client.GetRecords(ctx, &sdk.GetRecordsInput{ShardIterator: iterator, StreamARN: in.StreamARN, Limit: aws.Int32(1)})
		if err != nil || len(page.Records) > 0 || page.NextShardIterator == nil {
			return false
		}
		if aws.ToInt64(page.MillisBehindLatest) == 0 {
			return true
		}
		iterator = page.NextShardIterator
	}
	return false
}
