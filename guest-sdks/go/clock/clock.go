// Package clock gives the time: list `clock` under `needs` in `plugin.yaml`. In a component, time.Now does not know the time.
package clock

import "time"

// Now gives the time, in UTC.
func Now() time.Time { return now() }

// Monotonic gives the reading of a clock that never goes back.
func Monotonic() time.Duration { return monotonic() }
