package wal

import "fmt"

// Pos is a place in the log: the generation of a segment and an offset in its
// file. Later places are greater.
type Pos uint64

func makePos(gen uint64, off int64) Pos { return Pos(gen<<32 | uint64(off)) }

func (p Pos) gen() uint64 { return uint64(p >> 32) }
func (p Pos) off() int64  { return int64(p & 0xffffffff) }

func (p Pos) String() string { return fmt.Sprintf("%d:%d", p.gen(), p.off()) }
