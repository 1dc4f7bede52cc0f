//go:build wasip1

// Package types is what generated bindings write values of WIT as.
package types

// The tags of options and results.
const (
	OptionNone = 0
	OptionSome = 1
	ResultOk   = 0
	ResultErr  = 1
)

// Option is a value, or none.
type Option[T any] struct {
	tag   uint8
	value T
}

// None is no value.
func None[T any]() Option[T] { return Option[T]{} }

// Some is a value.
func Some[T any](value T) Option[T] { return Option[T]{OptionSome, value} }

// Tag says whether there is a value.
func (o Option[T]) Tag() uint8 { return o.tag }

// Some gives the value; the zero value if there is none.
func (o Option[T]) Some() T { return o.value }

// IsSome says whether there is a value.
func (o Option[T]) IsSome() bool { return o.tag == OptionSome }

// Result is what a call gave, or an error.
type Result[T, E any] struct {
	tag uint8
	ok  T
	err E
}

// Ok is what a call gave.
func Ok[T, E any](value T) Result[T, E] { return Result[T, E]{tag: ResultOk, ok: value} }

// Err is an error.
func Err[T, E any](err E) Result[T, E] { return Result[T, E]{tag: ResultErr, err: err} }

// Tag says whether it is an error.
func (r Result[T, E]) Tag() uint8 { return r.tag }

// Ok gives the value.
func (r Result[T, E]) Ok() T { return r.ok }

// Err gives the error.
func (r Result[T, E]) Err() E { return r.err }

// IsErr says whether it is an error.
func (r Result[T, E]) IsErr() bool { return r.tag == ResultErr }

// Unit is nothing.
type Unit struct{}

// Tuple2 is two values.
type Tuple2[A, B any] struct {
	F0 A
	F1 B
}
