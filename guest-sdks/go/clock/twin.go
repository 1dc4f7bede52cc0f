//go:build !wasip1

package clock

import "time"

var begin = time.Now()

func now() time.Time { return time.Now().UTC() }

func monotonic() time.Duration { return time.Since(begin) }
