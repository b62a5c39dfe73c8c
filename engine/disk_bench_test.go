package engine

import (
	"testing"

	"github.com/millrace/millrace/engine/internal/vfs"
)

// BenchmarkDisk is the yardstick for the others: what the bare disk does, in
// files that are allocated and in files that were written before.
func BenchmarkDisk(b *testing.B) {
	const size = 256 << 20
	for _, kind := range []string{"Allocated", "Recycled"} {
		for _, each := range []int{4 << 10, 4 << 20} {
			name := kind + "/append=4KiB"
			if each > 4<<10 {
				name = kind + "/append=4MiB"
			}
			b.Run(name, func(b *testing.B) {
				f, err := vfs.Dir(b.TempDir()).Create("yardstick")
				if err != nil {
					b.Fatal(err)
				}
				defer f.Close()
				if err := f.Allocate(size); err != nil {
					b.Fatal(err)
				}
				data := make([]byte, each)
				if kind == "Recycled" {
					whole := make([]byte, 4<<20)
					for off := int64(0); off < size; off += int64(len(whole)) {
						if _, err := f.WriteAt(whole, off); err != nil {
							b.Fatal(err)
						}
					}
					if err := f.Sync(); err != nil {
						b.Fatal(err)
					}
				}
				b.SetBytes(int64(each))
				b.ResetTimer()
				for i := range b.N {
					if _, err := f.WriteAt(data, int64(i*each)%size); err != nil {
						b.Fatal(err)
					}
					if err := f.Sync(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
