package server

import "context"

type stopStreamEncryptionInput struct {
	streamRef
	EncryptionType string `wire:"required,enum=NONE|KMS"`
	KeyId          string `wire:"required,len=1..2048"`
}

// stopStreamEncryption tells clients that records are not encrypted any more.
func (s *Server) stopStreamEncryption(ctx context.Context, in *stopStreamEncryptionInput) error {
	return s.setEncryption(ctx, in.streamRef, in.EncryptionType, in.KeyId, "")
}
