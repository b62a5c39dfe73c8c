package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/millrace/millrace/stream"
)

// recordJSON is a record as a line of JSON: what "tail -o json" writes, and "put
// --format ndjson" reads.
type recordJSON struct {
	Shard    string     `json:"shard,omitempty"`
	Sequence string     `json:"sequence,omitempty"`
	Arrival  *time.Time `json:"arrival,omitempty"`
	// PartitionKey and HashKey are as the producer gave them.
	PartitionKey string       `json:"partition_key,omitempty"`
	HashKey      *stream.Hash `json:"explicit_hash_key,omitempty"`
	// Data is text; or anything else of JSON, which then is the payload as it is
	// written. Base64 is what is no text.
	Data   json.RawMessage `json:"data,omitempty"`
	Base64 []byte          `json:"data_base64,omitempty"`
}

func toJSON(shard string, r *stream.Record) recordJSON {
	arrival := r.Arrival.UTC()
	out := recordJSON{Shard: shard, Sequence: r.Sequence.String(), Arrival: &arrival, PartitionKey: r.PartitionKey}
	if r.HasHashKey {
		out.HashKey = &r.HashKey
	}
	if utf8.Valid(r.Data) {
		out.Data = appendText(nil, string(r.Data))
	} else {
		out.Base64 = r.Data
	}
	return out
}

func appendText(dst []byte, s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

var errNoData = errors.New(`there is neither "data" nor "data_base64"`)

// fromJSON reads a line of JSON. What says where the record was is left aside.
func fromJSON(line []byte) (stream.Entry, error) {
	var in recordJSON
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return stream.Entry{}, err
	}
	if d.More() {
		return stream.Entry{}, errors.New("there is something behind the object")
	}
	e := stream.Entry{PartitionKey: in.PartitionKey}
	if in.HashKey != nil {
		e.HashKey, e.HasHashKey = *in.HashKey, true
	}
	switch {
	case in.Data != nil && in.Base64 != nil:
		return stream.Entry{}, errors.New(`"data" and "data_base64" are both there: give one`)
	case in.Base64 != nil:
		e.Data = in.Base64
	case len(in.Data) == 0:
		return stream.Entry{}, errNoData
	case in.Data[0] == '"':
		var text string
		if err := json.Unmarshal(in.Data, &text); err != nil {
			return stream.Entry{}, err
		}
		e.Data = []byte(text)
	default:
		e.Data = in.Data
	}
	return e, nil
}

// keyField takes the partition key from a field of a line that is JSON.
func keyField(line []byte, field string) (string, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(line, &object); err != nil {
		return "", fmt.Errorf("it is no JSON object, which --key-field needs: %w", err)
	}
	raw, ok := object[field]
	if !ok {
		return "", fmt.Errorf("it has no field %q, which --key-field names", field)
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	return string(raw), nil
}
