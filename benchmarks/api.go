package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// api asks a server for operations of Kinesis, in JSON. It spends little on it: what
// is asked again and again is written in advance, and answers are not taken apart.
type api struct {
	url    string
	client *http.Client
}

func newAPI(url string) *api {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	transport.DisableCompression = true
	return &api{url, &http.Client{Transport: transport}}
}

func (a *api) close() { a.client.CloseIdleConnections() }

const (
	mediaJSON = "application/x-amz-json-1.1"
	mediaCBOR = "application/x-amz-cbor-1.1"
)

// request is one that is not signed in earnest: on its own machine, no server here
// checks it.
func (a *api) request(ctx context.Context, operation string, body []byte) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	r.Header.Set("Content-Type", mediaJSON)
	r.Header.Set("X-Amz-Target", "Kinesis_20131202."+operation)
	r.Header.Set("X-Amz-Date", now.Format("20060102T150405Z"))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/"+now.Format("20060102")+
		"/us-east-1/kinesis/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature="+
		"0000000000000000000000000000000000000000000000000000000000000000")
	return r, nil
}

// ask sends a body, and reads the answer into another one that it replaces.
func (a *api) ask(ctx context.Context, operation string, body []byte, answer *bytes.Buffer) error {
	r, err := a.request(ctx, operation, body)
	if err != nil {
		return err
	}
	resp, err := a.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer.Reset()
	if _, err := io.Copy(answer, resp.Body); err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %.300s", operation, resp.Status, answer)
	}
	return nil
}

// call is an operation whose input and output are values; out may be nil.
func (a *api) call(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	var answer bytes.Buffer
	if err := a.ask(ctx, operation, body, &answer); err != nil || out == nil {
		return err
	}
	return json.Unmarshal(answer.Bytes(), out)
}

// fields are those of a request.
type fields map[string]any

// create makes a stream, and returns the shards that it has when it is there.
func (a *api) create(ctx context.Context, name string, shards int) (ids []string, err error) {
	if err := a.call(ctx, "CreateStream", fields{"StreamName": name, "ShardCount": shards}, nil); err != nil {
		return nil, err
	}
	for {
		var out struct {
			StreamDescription struct {
				StreamStatus string
				Shards       []struct{ ShardId string }
			}
		}
		if err := a.call(ctx, "DescribeStream", fields{"StreamName": name}, &out); err != nil {
			return nil, err
		}
		if d := out.StreamDescription; d.StreamStatus == "ACTIVE" && len(d.Shards) == shards {
			for _, s := range d.Shards {
				ids = append(ids, s.ShardId)
			}
			return ids, nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// pages returns the requests of GetRecords that read a shard from its beginning to
// where it ends now, and how many records each gives.
func (a *api) pages(ctx context.Context, name, shard string, limit int) (requests [][]byte, records []int, err error) {
	var at struct{ ShardIterator string }
	err = a.call(ctx, "GetShardIterator", fields{"StreamName": name, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}, &at)
	for next := at.ShardIterator; err == nil; {
		request, _ := json.Marshal(fields{"ShardIterator": next, "Limit": limit}) // two plain values
		var out struct {
			NextShardIterator string
			Records           []struct{}
		}
		if err = a.call(ctx, "GetRecords", fields{"ShardIterator": next, "Limit": limit}, &out); err != nil {
			break
		}
		if len(out.Records) == 0 {
			return requests, records, nil
		}
		requests, records = append(requests, request), append(records, len(out.Records))
		next = out.NextShardIterator
	}
	return nil, nil, err
}
