//go:build wasip1

package state

import (
	wit "dataflare/internal/abi/types"
	"dataflare/internal/host"
	"dataflare/internal/wit/dataflare_host_state"
)

func got[T any](result wit.Result[T, dataflare_host_state.StateError]) (T, error) {
	if result.IsErr() {
		return result.Ok(), errorOf(result.Err())
	}
	return result.Ok(), nil
}

func errorOf(err dataflare_host_state.StateError) error {
	switch err.Tag() {
	case dataflare_host_state.StateErrorUnavailable:
		return host.Errorf(host.Unavailable, "%s", err.Unavailable())
	case dataflare_host_state.StateErrorInvalidKey:
		return host.Errorf(host.Internal, "the state: %s", err.InvalidKey())
	case dataflare_host_state.StateErrorValueTooLarge:
		return host.Errorf(host.Internal, "the state: a value has at most %d bytes", err.ValueTooLarge())
	case dataflare_host_state.StateErrorQuotaExceeded:
		return host.Errorf(host.Internal, "the state: it has at most %d bytes", err.QuotaExceeded())
	}
	return host.Errorf(host.Other, "the state: %s", err.Other())
}

func get(key string) ([]byte, error) {
	found, err := got(dataflare_host_state.Get(key))
	return host.OrNil(found), err
}

func set(key string, value []byte) error {
	_, err := got(dataflare_host_state.Set(key, value))
	return err
}

func remove(key string) error {
	_, err := got(dataflare_host_state.Delete(key))
	return err
}

func list(prefix, after string, limit int) ([]string, bool, error) {
	page, err := got(dataflare_host_state.ListKeys(prefix, host.OptionalText(after), uint32(limit)))
	return page.Keys, page.More, err
}

func swap(key string, expected, replacement []byte) (bool, error) {
	return got(dataflare_host_state.CompareAndSwap(key, host.Optional(expected), host.Optional(replacement)))
}
