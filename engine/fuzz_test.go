package engine

import (
	"testing"

	"github.com/millrace/millrace/stream"
)

// Whatever a log file has turned into, opening it ends, without a panic, and
// gives no record that was not put.
func FuzzADamagedLogIsOpenedOrRefused(f *testing.F) {
	disk, all := closedLog(f)
	f.Add(uint16(4096), []byte{1, 2, 3})
	f.Add(uint16(0), make([]byte, 4096))
	f.Add(uint16(4200), []byte("MBK1"))
	put := map[stream.Sequence]string{}
	for _, records := range all {
		for _, r := range records {
			put[r.Sequence] = string(r.Data)
		}
	}
	f.Fuzz(func(t *testing.T, off uint16, junk []byte) {
		fs := disk.Now()
		file, err := fs.Open(firstLog)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt(junk, int64(off)); err != nil {
			t.Fatal(err)
		}
		cfg := small()
		cfg.fs = fs
		e, err := Open("", cfg)
		if err != nil {
			return
		}
		defer e.Close()
		s, err := e.Stream("orders")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range s.topology.Load().all {
			records, _ := readNow(s, m.id, stream.TrimHorizon)
			for _, r := range records {
				if put[r.Sequence] != string(r.Data) {
					t.Fatalf("%v was never put", r.Sequence)
				}
			}
		}
	})
}
