//go:build wasip1

package clock

import (
	"time"

	"dataflare/internal/wit/dataflare_host_clock"
)

func now() time.Time {
	instant := dataflare_host_clock.Now()
	return time.Unix(int64(instant.Seconds), int64(instant.Nanoseconds)).UTC()
}

func monotonic() time.Duration {
	return time.Duration(dataflare_host_clock.MonotonicNow().Nanoseconds)
}
