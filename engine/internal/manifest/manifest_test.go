package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/millrace/millrace/engine/internal/vfs"
	"github.com/millrace/millrace/stream"
)

func example() *Manifest {
	return &Manifest{
		Openings: 3, FirstSegment: 4, Durable: 5 << 32, NextHandle: 6, LastCreated: 7,
		Streams: []Stream{{
			Name: "orders", Created: 7, NextShard: 2, RetentionMs: 1000, MaxRecordBytes: 100, Limits: "kinesis",
			Tags: map[string]string{"a": "b"},
			Shards: []Shard{
				{Index: 0, Handle: 1, End: stream.MaxHash, ClosedMs: 9, Last: 1 << 63, Trimmed: 2, Accepted: [][2]uint64{{3, 4}}},
				{Index: 1, Handle: 2, Parents: []uint64{0}, End: stream.MaxHash, OpenedMs: 9},
			},
		}},
	}
}

func TestAManifestComesBackAsItWasSaved(t *testing.T) {
	dir := vfs.Memory()
	if m, _, err := Load(dir); m != nil || err != nil {
		t.Fatalf("an empty directory has %v, %v", m, err)
	}
	if err := Save(dir, example()); err != nil {
		t.Fatal(err)
	}
	m, repair, err := Load(dir)
	if err != nil || repair || fmt.Sprintf("%+v", m) != fmt.Sprintf("%+v", example()) {
		t.Fatalf("%+v, repair %v, %v", m, repair, err)
	}
}

func TestOneDamagedCopyIsNoLoss(t *testing.T) {
	whole, err := Encode(example())
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		m, sound, err := Decode(b)
		if err != nil || sound || fmt.Sprintf("%+v", m) != fmt.Sprintf("%+v", example()) {
			t.Fatalf("byte %d changed: sound %v, %v", i, sound, err)
		}
	}
	for n := range whole {
		m, sound, err := Decode(whole[:n])
		if n < len(whole)/2 && !errors.Is(err, ErrDamaged) || n >= len(whole)/2 && (err != nil || sound || m.Openings != 3) {
			t.Fatalf("cut to %d of %d: sound %v, %v", n, len(whole), sound, err)
		}
	}
}

func TestAFailedSaveLeavesTheOldManifest(t *testing.T) {
	for kind := range vfs.OpSyncDir + 1 {
		fs := vfs.NewCrash()
		if err := Save(fs, example()); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("broken")
		fs.Fail(func(op vfs.Op) error {
			if op.Kind == kind {
				return broken
			}
			return nil
		})
		changed := example()
		changed.Openings = 99
		err := Save(fs, changed)
		fs.Fail(nil)
		var unknown *UnknownError
		m, _, loadErr := Load(fs)
		switch {
		case loadErr != nil:
			t.Fatalf("%v fails: %v", kind, loadErr)
		case err == nil && m.Openings != 99:
			t.Fatalf("%v fails: saved, and not there", kind)
		case err != nil && !errors.As(err, &unknown) && m.Openings != 3:
			t.Fatalf("%v fails: %v, and the new one is there", kind, err)
		}
	}
}

func TestWhatCouldNotBeReadAgainIsNotWritten(t *testing.T) {
	b, err := Encode(example())
	if err != nil {
		t.Fatal(err)
	}
	body := len(b)/2 - headSize
	if _, err := encode(example(), body); err != nil {
		t.Errorf("as large as may be: %v", err)
	}
	if _, err := encode(example(), body-1); !errors.Is(err, ErrFull) {
		t.Errorf("a byte too large: %v", err)
	}
}
