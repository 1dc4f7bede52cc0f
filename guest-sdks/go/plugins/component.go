//go:build wasip1

package plugins

import (
	"dataflare"
	"dataflare/internal/host"
	"dataflare/internal/wit/dataflare_host_plugins"
)

func call(plugin string, batch *dataflare.Batch) (*dataflare.Batch, error) {
	result := dataflare_host_plugins.Call(plugin, host.HandleOf(host.TakeBatch(batch)))
	if !result.IsErr() {
		return host.GiveBatch(host.WrapBatch(result.Ok())).(*dataflare.Batch), nil
	}
	err := result.Err()
	switch err.Tag() {
	case dataflare_host_plugins.CallErrorDenied:
		return nil, host.Errorf(host.Denied, "%s", err.Denied())
	case dataflare_host_plugins.CallErrorNotFound:
		return nil, host.Errorf(host.InvalidConfig, "%s", err.NotFound())
	case dataflare_host_plugins.CallErrorTooDeep:
		return nil, host.Errorf(host.Internal, "the plugin %s: %s", plugin, err.TooDeep())
	case dataflare_host_plugins.CallErrorFailed:
		return nil, host.Errorf(host.Other, "the plugin %s: %s", plugin, err.Failed())
	case dataflare_host_plugins.CallErrorFaulted:
		return nil, host.Errorf(host.Unavailable, "the plugin %s: %s", plugin, err.Faulted())
	}
	return nil, host.Errorf(host.Other, "the plugin %s: %s", plugin, err.Other())
}
