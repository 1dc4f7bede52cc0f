//go:build !wasip1

package plugins

import (
	"dataflare"
	"dataflare/internal/host"
)

func call(plugin string, _ *dataflare.Batch) (*dataflare.Batch, error) {
	return nil, host.Errorf(host.InvalidConfig, "there is no plugin %s", plugin)
}
