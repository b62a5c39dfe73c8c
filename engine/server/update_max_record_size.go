package server

import "context"

type updateMaxRecordSizeInput struct {
	StreamARN          string `wire:"len=1..2048,pattern=streamARN"`
	StreamId           string `wire:"len=1..24"`
	MaxRecordSizeInKiB int    `wire:"required,range=1024..10240"`
}

// updateMaxRecordSize changes how large a record may be.
func (s *Server) updateMaxRecordSize(ctx context.Context, in *updateMaxRecordSizeInput) error {
	return s.update(ctx, streamRef{StreamARN: in.StreamARN}, func(ctx context.Context, _ *change, v view) error {
		return v.SetMaxRecordBytes(ctx, in.MaxRecordSizeInKiB<<10)
	})
}
