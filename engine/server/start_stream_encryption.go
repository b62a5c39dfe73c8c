package server

import (
	"context"
	"regexp"
)

type startStreamEncryptionInput struct {
	streamRef
	EncryptionType string `wire:"required,enum=NONE|KMS"`
	KeyId          string `wire:"required,len=1..2048"`
}

// encryptionsPerDay is how often a stream's encryption may be started, and
// stopped, in 24 hours, with limits.
const encryptionsPerDay = 25

// keyForms are the ways to name a key: its ID, its ARN, an alias, the ARN of one.
var keyForms = regexp.MustCompile(`^(arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:(key/[a-zA-Z0-9-]+|alias/[a-zA-Z0-9/_-]+)` +
	`|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|mrk-[0-9a-f]{32}|alias/[a-zA-Z0-9/_-]+)$`)

// startStreamEncryption notes the key and tells clients that records are
// encrypted. They are not: there is no KMS to ask, and what is on the disk is as
// safe as the disk.
func (s *Server) startStreamEncryption(ctx context.Context, in *startStreamEncryptionInput) error {
	return s.setEncryption(ctx, in.streamRef, in.EncryptionType, in.KeyId, in.KeyId)
}

// setEncryption sets the key of an ACTIVE stream; key is empty for none.
func (s *Server) setEncryption(ctx context.Context, ref streamRef, kind, named, key string) error {
	if kind != encryptionKMS {
		return invalidArgument("EncryptionType %s is not valid here: the only valid value is KMS.", kind)
	}
	if !keyForms.MatchString(named) {
		return kmsFailure("NotFound", "Invalid keyId %s", named)
	}
	return s.update(ctx, ref, func(_ context.Context, c *change, v view) error {
		if v.known.KeyID == key {
			return nil
		}
		if !c.count(&v.known.Encryptions, encryptionsPerDay) {
			return limitExceeded("The encryption of stream %s under account %s was changed %d times in the last 24 hours, which is the limit.",
				v.name, s.config.Account, encryptionsPerDay)
		}
		v.known.KeyID = key
		return nil
	})
}
