//go:build !linux

package machine

func diskKind(_, device string) string { return device }
