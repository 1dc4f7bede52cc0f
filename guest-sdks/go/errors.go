package dataflare

import (
	"time"

	"dataflare/internal/host"
)

// Error is why a plugin cannot do what it was asked for. Its kind says what can be done about it. Any other error that a
// plugin returns counts as a fault of the plugin.
type Error = host.Error

// ErrorKind says what can be done about an error: InvalidInput concerns this record or batch, Unavailable and RateLimited
// may be tried again, InvalidConfig only the operator can correct.
type ErrorKind = host.ErrorKind

// DataError is why an operation on a batch failed.
type DataError = host.DataError

// InvalidConfig says that the configuration is wrong: which key, and what it should be.
func InvalidConfig(format string, arguments ...any) error {
	return host.Errorf(host.InvalidConfig, format, arguments...)
}

// InvalidInput says that this record or batch is wrong; others may be right.
func InvalidInput(format string, arguments ...any) error {
	return host.Errorf(host.InvalidInput, format, arguments...)
}

// InvalidState says that the plugin cannot continue from this state, part or token.
func InvalidState(format string, arguments ...any) error {
	return host.Errorf(host.InvalidState, format, arguments...)
}

// Denied says that the host refused something that the plugin needs.
func Denied(format string, arguments ...any) error {
	return host.Errorf(host.Denied, format, arguments...)
}

// Unavailable says that something outside cannot be reached now; the host may try again.
func Unavailable(format string, arguments ...any) error {
	return host.Errorf(host.Unavailable, format, arguments...)
}

// RateLimited says that something outside accepts no more requests for this long.
func RateLimited(after time.Duration) error {
	return &Error{Kind: host.RateLimited, RetryAfter: after}
}

// Superseded says that a newer run has replaced this one.
func Superseded(format string, arguments ...any) error {
	return host.Errorf(host.Superseded, format, arguments...)
}

// Cancelled says that the call ended because the operator cancelled it.
func Cancelled() error {
	return &Error{Kind: host.Cancelled}
}

// Unsupported says that the plugin does not do this.
func Unsupported(format string, arguments ...any) error {
	return host.Errorf(host.Unsupported, format, arguments...)
}
