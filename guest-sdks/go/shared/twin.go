//go:build !wasip1

package shared

import (
	"dataflare"
	"dataflare/internal/host"
	"dataflare/internal/twin"
)

func get(name string) (*dataflare.Batch, error) {
	raw, is := twin.Host.Shared[name].(host.Batch)
	if !is {
		return nil, nil
	}
	return host.GiveBatch(raw).(*dataflare.Batch), nil
}

func put(name string, batch *dataflare.Batch) error {
	twin.Host.Shared[name] = host.TakeBatch(batch)
	return nil
}
