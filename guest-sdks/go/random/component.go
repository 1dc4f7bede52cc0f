//go:build wasip1

package random

import "dataflare/internal/wit/dataflare_host_random"

func random(length int) []byte { return dataflare_host_random.GetRandomBytes(uint32(length)) }
