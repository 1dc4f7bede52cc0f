package host

import (
	"errors"
	"fmt"
	"time"
)

// ErrorKind says what can be done about an error.
type ErrorKind string

// The kinds of errors.
const (
	InvalidConfig ErrorKind = "invalid-config"
	InvalidInput  ErrorKind = "invalid-input"
	InvalidState  ErrorKind = "invalid-state"
	Data          ErrorKind = "data"
	Denied        ErrorKind = "denied"
	Unavailable   ErrorKind = "unavailable"
	RateLimited   ErrorKind = "rate-limited"
	Superseded    ErrorKind = "superseded"
	Cancelled     ErrorKind = "cancelled"
	Unsupported   ErrorKind = "unsupported"
	Internal      ErrorKind = "internal"
	Other         ErrorKind = "other"
)

// Error is why a call failed, by what the caller can do about it.
type Error struct {
	Kind ErrorKind
	// Message is for the operator.
	Message string
	// RetryAfter is of RateLimited alone.
	RetryAfter time.Duration
	// Data is of Data alone: which operation on a batch failed, and why.
	Data *DataError
	// Cause is what errors.Is finds in it; it may be nil.
	Cause error
}

func (e *Error) Error() string {
	switch {
	case e.Message != "":
		return e.Message
	case e.Data != nil:
		return e.Data.Error()
	case e.Kind == RateLimited:
		return fmt.Sprintf("retry after %v", e.RetryAfter)
	}
	return string(e.Kind)
}

// Unwrap gives the error of a batch, or the cause.
func (e *Error) Unwrap() error {
	if e.Data == nil {
		return e.Cause
	}
	return e.Data
}

// Errorf makes an error of a kind.
func Errorf(kind ErrorKind, format string, arguments ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, arguments...)}
}

// AsError finds the error of the host's kinds in another; any other error is a fault of the plugin.
func AsError(err error) *Error {
	var found *Error
	if errors.As(err, &found) {
		if text := err.Error(); text != found.Error() && found.Data == nil {
			// What was put around it stays.
			return &Error{Kind: found.Kind, Message: text, RetryAfter: found.RetryAfter}
		}
		return found
	}
	var data *DataError
	if errors.As(err, &data) {
		return &Error{Kind: Data, Data: data}
	}
	return &Error{Kind: Internal, Message: err.Error()}
}

// DataErrorKind says why an operation on a batch failed.
type DataErrorKind string

// The kinds of errors of batches.
const (
	NoSuchColumn   DataErrorKind = "no-such-column"
	NoSuchFunction DataErrorKind = "no-such-function"
	WrongType      DataErrorKind = "wrong-type"
	OutOfRange     DataErrorKind = "out-of-range"
	Malformed      DataErrorKind = "malformed"
	TooLarge       DataErrorKind = "too-large"
	OtherData      DataErrorKind = "other"
)

// DataError is why an operation on a batch failed.
type DataError struct {
	Kind DataErrorKind
	// Message is the column's or the function's name, or a text.
	Message string
	// These are of WrongType alone.
	Column, Function, Expected, Found string
}

func (e *DataError) Error() string {
	if e.Kind == WrongType {
		text := fmt.Sprintf("column %q is %s, not %s", e.Column, e.Found, e.Expected)
		if e.Function != "" {
			return fmt.Sprintf("%s: %s", e.Function, text)
		}
		return text
	}
	return fmt.Sprintf("%s: %s", e.Kind, e.Message)
}
