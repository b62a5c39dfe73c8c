package kinesis

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
)

// form is what was learned about how the endpoint answers GetRecords.
type form struct {
	cbor  atomic.Int32 // untried, spoken or refused
	toSDK atomic.Bool  // answers were unusual: the SDK decodes them
}

const (
	untried int32 = iota
	spoken
	refused
)

// getRecords asks once for what stands behind an iterator. An answer that is
// not understood is asked for again, in another form or for the SDK to decode:
// an iterator may be used many times.
func (s *Stream) getRecords(ctx context.Context, iterator string, limit int) (*page, error) {
	in := &sdk.GetRecordsInput{ShardIterator: &iterator, Limit: aws.Int32(int32(limit)), StreamARN: s.target.arn}
	state := s.form.cbor.Load()
	cbor := s.cfg.Encoding == CBOR || s.cfg.Encoding == Auto && state != refused
	p, cbor, err := s.ask(ctx, in, cbor)
	switch {
	case err == nil:
		if cbor && state == untried {
			s.form.cbor.CompareAndSwap(untried, spoken)
		}
		return p, nil
	case ctx.Err() != nil:
		return nil, err
	case cbor && s.cfg.Encoding == Auto && (errors.Is(err, errUnusual) || state == untried && !understood[code(err)]):
		return s.askJSON(ctx, in, err)
	case errors.Is(err, errUnusual):
		return s.askForSDK(ctx, in, cbor, err)
	}
	return nil, err
}

// askJSON asks again in JSON, after CBOR led to an error. If that is of use,
// CBOR is not tried again.
func (s *Stream) askJSON(ctx context.Context, in *sdk.GetRecordsInput, why error) (*page, error) {
	p, _, err := s.ask(ctx, in, false)
	if err != nil && !understood[code(err)] {
		if errors.Is(err, errUnusual) {
			return s.askForSDK(ctx, in, false, err)
		}
		return nil, err
	}
	if s.form.cbor.Swap(refused) != refused {
		s.cfg.Logger.InfoContext(ctx, "the endpoint does not speak CBOR, going on in JSON", "stream", s.target.text, "err", why)
	}
	return p, err
}

// askForSDK asks again, and from now on leaves all answers to the SDK.
func (s *Stream) askForSDK(ctx context.Context, in *sdk.GetRecordsInput, cbor bool, why error) (*page, error) {
	if !s.form.toSDK.Swap(true) {
		s.cfg.Logger.WarnContext(ctx, "answers of the endpoint are unusual: the SDK decodes them, which takes several times as long", "stream", s.target.text, "err", why)
	}
	p, _, err := s.ask(ctx, in, cbor)
	return p, err
}

// ask asks once. It returns whether it was in CBOR.
func (s *Stream) ask(ctx context.Context, in *sdk.GetRecordsInput, cbor bool) (*page, bool, error) {
	ctx, cancel := s.request(ctx)
	defer cancel()
	x := &exchange{s: s, cbor: cbor}
	done := s.tel.begin(ctx, getRecords)
	out, err := s.client.GetRecords(ctx, in, x.plug)
	if errors.Is(err, errLonger) {
		x.any = true
		out, err = s.client.GetRecords(ctx, in, x.plug)
	}
	p := x.page
	if err == nil && p == nil {
		p, err = pageOf(out)
	}
	done(err)
	if err != nil {
		if ctx.Err() != nil {
			err = errors.Join(context.Cause(ctx), err)
		}
		return nil, x.cbor, err
	}
	return p, x.cbor, nil
}

// understood are the codes by which an endpoint shows that it has understood a
// GetRecords. InvalidArgumentException is none of them: it may speak of the form.
var understood = map[string]bool{
	"ExpiredIteratorException": true, "ResourceNotFoundException": true, "ProvisionedThroughputExceededException": true,
	"LimitExceededException": true, "ThrottlingException": true, "AccessDeniedException": true, "InternalFailureException": true,
	"KMSAccessDeniedException": true, "KMSDisabledException": true, "KMSInvalidStateException": true, "KMSNotFoundException": true,
	"KMSOptInRequired": true, "KMSThrottlingException": true,
}
