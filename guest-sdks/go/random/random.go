// Package random gives random bytes: list `random` under `needs` in `plugin.yaml`. In a component, crypto/rand has none.
package random

// Bytes gives this many random bytes, at most 65,536.
func Bytes(length int) []byte { return random(length) }
