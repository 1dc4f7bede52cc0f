//go:build !wasip1

package state

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"dataflare/internal/twin"
)

func get(key string) ([]byte, error) { return twin.Host.State[key], nil }

func set(key string, value []byte) error {
	twin.Host.State[key] = append([]byte{}, value...)
	return nil
}

func remove(key string) error {
	delete(twin.Host.State, key)
	return nil
}

func list(prefix, after string, limit int) ([]string, bool, error) {
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(twin.Host.State)), func(key string) bool {
		return !strings.HasPrefix(key, prefix) || key <= after
	})
	if limit == 0 || limit > 1000 {
		limit = 1000
	}
	if len(keys) <= limit {
		return keys, false, nil
	}
	return keys[:limit], true, nil
}

func swap(key string, expected, replacement []byte) (bool, error) {
	found, is := twin.Host.State[key]
	if is != (expected != nil) || !bytes.Equal(found, expected) {
		return false, nil
	}
	if replacement == nil {
		return true, remove(key)
	}
	return true, set(key, replacement)
}
