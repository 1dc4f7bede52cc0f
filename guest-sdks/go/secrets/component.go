//go:build wasip1

package secrets

import (
	"dataflare/internal/host"
	"dataflare/internal/wit/dataflare_host_secrets"
)

func get(name string) (string, error) {
	result := dataflare_host_secrets.Get(name)
	if !result.IsErr() {
		return result.Ok(), nil
	}
	err := result.Err()
	switch err.Tag() {
	case dataflare_host_secrets.SecretErrorNotGranted:
		return "", host.Errorf(host.Denied, "%s", err.NotGranted())
	case dataflare_host_secrets.SecretErrorUnavailable:
		return "", host.Errorf(host.Unavailable, "%s", err.Unavailable())
	}
	return "", host.Errorf(host.Other, "%s", err.Other())
}
