//go:build wasip1

package shared

import (
	"dataflare"
	wit "dataflare/internal/abi/types"
	"dataflare/internal/host"
	"dataflare/internal/wit/dataflare_host_shared"
)

func got[T any](result wit.Result[T, dataflare_host_shared.SharedError]) (T, error) {
	if !result.IsErr() {
		return result.Ok(), nil
	}
	err := result.Err()
	switch err.Tag() {
	case dataflare_host_shared.SharedErrorDenied:
		return result.Ok(), host.Errorf(host.Denied, "%s", err.Denied())
	case dataflare_host_shared.SharedErrorQuotaExceeded:
		return result.Ok(), host.Errorf(host.Internal, "shared batches have at most %d bytes", err.QuotaExceeded())
	}
	return result.Ok(), host.Errorf(host.Other, "%s", err.Other())
}

func get(name string) (*dataflare.Batch, error) {
	found, err := got(dataflare_host_shared.Get(name))
	if err != nil || !found.IsSome() {
		return nil, err
	}
	return host.GiveBatch(host.WrapBatch(found.Some())).(*dataflare.Batch), nil
}

func put(name string, batch *dataflare.Batch) error {
	_, err := got(dataflare_host_shared.Put(name, host.HandleOf(host.TakeBatch(batch))))
	return err
}
