// Package state is what the host keeps for the plugin between runs: list `state` under `needs` in `plugin.yaml`.
package state

import (
	"bytes"
	"encoding/json"

	"dataflare/internal/host"
)

// Get gives the value of a key; nil if there is none.
func Get(key string) ([]byte, error) { return get(key) }

// Set keeps a value under a key.
func Set(key string, value []byte) error { return set(key, value) }

// Delete removes a key, if it is there.
func Delete(key string) error { return remove(key) }

// List gives the keys that begin with a prefix and come after another, at most so many (0: 1000), and whether there are more.
func List(prefix, after string, limit int) (keys []string, more bool, err error) {
	return list(prefix, after, limit)
}

// CompareAndSwap replaces a value (nil: none) where it is the expected one, and says whether it did.
func CompareAndSwap(key string, expected, replacement []byte) (bool, error) {
	return swap(key, expected, replacement)
}

// Load reads a value that [Put] kept; false if there is none.
func Load(key string, into any) (bool, error) {
	value, err := get(key)
	if err != nil || value == nil {
		return false, err
	}
	if err := json.Unmarshal(value, into); err != nil {
		return false, host.Errorf(host.InvalidState, "the state of %s: %v", key, err)
	}
	return true, nil
}

// Put keeps anything that JSON can hold; operators can read it.
func Put(key string, value any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	return set(key, bytes.TrimSuffix(text.Bytes(), []byte("\n")))
}
