//go:build !wasip1

package secrets

import (
	"dataflare/internal/host"
	"dataflare/internal/twin"
)

func get(name string) (string, error) {
	if value, is := twin.Host.Secrets[name]; is {
		return value, nil
	}
	return "", host.Errorf(host.Denied, "no secret %q is granted", name)
}
