//go:build wasip1

package host

import (
	"time"
	"unsafe"

	"dataflare/internal/abi/runtime"
	wit "dataflare/internal/abi/types"
	// Before anything else, so that what is printed is not lost.
	_ "dataflare/internal/stdio"
	"dataflare/internal/wit/dataflare_data_batches"
	"dataflare/internal/wit/dataflare_data_schemas"
	"dataflare/internal/wit/dataflare_host_logging"
	"dataflare/internal/wit/dataflare_plugin_types"
)

// componentBatch is a handle of the host's.
type componentBatch struct{ *dataflare_data_batches.Batch }

// WrapBatch takes a handle that the host gave.
func WrapBatch(handle *dataflare_data_batches.Batch) Batch { return componentBatch{handle} }

// HandleOf gives the handle of a batch.
func HandleOf(batch Batch) *dataflare_data_batches.Batch { return batch.(componentBatch).Batch }

// LetGo lets go what the host has allocated for this call: from now on it stays only where a value of Go refers to it.
func LetGo() { runtime.Unpin() }

// NewBatch makes a batch without columns.
func NewBatch(rows int) Batch { return componentBatch{dataflare_data_batches.NewBatch(uint32(rows))} }

// FromArrow reads an Arrow stream.
func FromArrow(stream []byte) (Batch, error) {
	words := make([]uint64, (len(stream)+7)/8)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), len(words)*8), stream)
	buffer := dataflare_data_batches.WordBuffer{ByteLength: uint32(len(stream)), Words: words}
	return made(dataflare_data_batches.FromArrowWords(buffer))
}

// FromJSONLines reads JSON Lines.
func FromJSONLines(lines string, schema *Schema) (Batch, error) {
	known := wit.None[dataflare_data_schemas.Schema]()
	if schema != nil {
		known = wit.Some(WitSchema(*schema))
	}
	return made(dataflare_data_batches.FromJsonLines(lines, known))
}

// Concat puts batches one after another.
func Concat(parts []Batch) (Batch, error) {
	handles := make([]*dataflare_data_batches.Batch, len(parts))
	for i, part := range parts {
		handles[i] = HandleOf(part)
	}
	return made(dataflare_data_batches.Concat(handles))
}

// Log writes an event.
func Log(level Level, message string, fields []Pair) {
	dataflare_host_logging.Log(uint8(level), message, tuplesOf(fields))
}

// IsLogged says whether events of a level are kept.
func IsLogged(level Level) bool { return dataflare_host_logging.IsEnabled(uint8(level)) }

func made(result wit.Result[*dataflare_data_batches.Batch, dataflare_data_batches.DataError]) (Batch, error) {
	handle, err := got(result)
	if err != nil {
		return nil, err
	}
	return componentBatch{handle}, nil
}

func got[T any](result wit.Result[T, dataflare_data_batches.DataError]) (T, error) {
	if result.IsErr() {
		return result.Ok(), dataErrorOf(result.Err())
	}
	return result.Ok(), nil
}

func tuplesOf(pairs []Pair) []wit.Tuple2[string, string] {
	tuples := make([]wit.Tuple2[string, string], len(pairs))
	for i, pair := range pairs {
		tuples[i] = wit.Tuple2[string, string]{F0: pair.Key, F1: pair.Value}
	}
	return tuples
}

// Tuples are pairs, as the host takes them.
func Tuples(pairs []Pair) []wit.Tuple2[string, string] { return tuplesOf(pairs) }

// Pairs are pairs that the host gave.
func Pairs(tuples []wit.Tuple2[string, string]) []Pair {
	if len(tuples) == 0 {
		return nil
	}
	pairs := make([]Pair, len(tuples))
	for i, tuple := range tuples {
		pairs[i] = Pair{Key: tuple.F0, Value: tuple.F1}
	}
	return pairs
}

// WitSchema is a schema, as the host takes it.
func WitSchema(schema Schema) dataflare_data_schemas.Schema {
	fields := make([]dataflare_data_schemas.Field, len(schema.Fields))
	for i, field := range schema.Fields {
		fields[i] = dataflare_data_schemas.Field{
			Name: field.Name, TypeName: field.Type, Nullable: field.Nullable, Metadata: tuplesOf(field.Metadata),
		}
	}
	return dataflare_data_schemas.Schema{Fields: fields, Metadata: tuplesOf(schema.Metadata)}
}

// SchemaOf is a schema that the host gave.
func SchemaOf(schema dataflare_data_schemas.Schema) Schema {
	fields := make([]Field, len(schema.Fields))
	for i, field := range schema.Fields {
		fields[i] = Field{Name: field.Name, Type: field.TypeName, Nullable: field.Nullable, Metadata: Pairs(field.Metadata)}
	}
	return Schema{Fields: fields, Metadata: Pairs(schema.Metadata)}
}

// Optional are bytes, or none for nil.
func Optional[T any](values []T) wit.Option[[]T] {
	if values == nil {
		return wit.None[[]T]()
	}
	return wit.Some(values)
}

// OrNil are bytes, nil for none.
func OrNil(option wit.Option[[]uint8]) []byte {
	if value := option.Some(); value != nil || !option.IsSome() {
		return value
	}
	return []byte{}
}

// OptionalText is a text, or none for an empty one.
func OptionalText(text string) wit.Option[string] {
	if text == "" {
		return wit.None[string]()
	}
	return wit.Some(text)
}

func dataErrorOf(err dataflare_data_batches.DataError) *DataError {
	switch err.Tag() {
	case dataflare_data_batches.DataErrorNoSuchColumn:
		return &DataError{Kind: NoSuchColumn, Message: err.NoSuchColumn()}
	case dataflare_data_batches.DataErrorNoSuchFunction:
		return &DataError{Kind: NoSuchFunction, Message: err.NoSuchFunction()}
	case dataflare_data_batches.DataErrorWrongType:
		mismatch := err.WrongType()
		return &DataError{
			Kind: WrongType, Column: mismatch.Column, Function: mismatch.FunctionName, Expected: mismatch.Expected, Found: mismatch.Actual,
		}
	case dataflare_data_batches.DataErrorOutOfRange:
		return &DataError{Kind: OutOfRange, Message: err.OutOfRange()}
	case dataflare_data_batches.DataErrorMalformed:
		return &DataError{Kind: Malformed, Message: err.Malformed()}
	case dataflare_data_batches.DataErrorTooLarge:
		return &DataError{Kind: TooLarge, Message: err.TooLarge()}
	}
	return &DataError{Kind: OtherData, Message: err.Other()}
}

func witDataError(err *DataError) dataflare_data_batches.DataError {
	switch err.Kind {
	case NoSuchColumn:
		return dataflare_data_batches.MakeDataErrorNoSuchColumn(err.Message)
	case NoSuchFunction:
		return dataflare_data_batches.MakeDataErrorNoSuchFunction(err.Message)
	case WrongType:
		return dataflare_data_batches.MakeDataErrorWrongType(dataflare_data_batches.TypeMismatch{
			Column: err.Column, FunctionName: err.Function, Expected: err.Expected, Actual: err.Found,
		})
	case OutOfRange:
		return dataflare_data_batches.MakeDataErrorOutOfRange(err.Message)
	case Malformed:
		return dataflare_data_batches.MakeDataErrorMalformed(err.Message)
	case TooLarge:
		return dataflare_data_batches.MakeDataErrorTooLarge(err.Message)
	}
	return dataflare_data_batches.MakeDataErrorOther(err.Message)
}

// WitError is any error, as the host takes it.
func WitError(err error) dataflare_plugin_types.Error {
	found := AsError(err)
	switch found.Kind {
	case InvalidConfig:
		return dataflare_plugin_types.MakeErrorInvalidConfig(found.Message)
	case InvalidInput:
		return dataflare_plugin_types.MakeErrorInvalidInput(found.Message)
	case InvalidState:
		return dataflare_plugin_types.MakeErrorInvalidState(found.Message)
	case Data:
		return dataflare_plugin_types.MakeErrorData(witDataError(found.Data))
	case Denied:
		return dataflare_plugin_types.MakeErrorDenied(found.Message)
	case Unavailable:
		return dataflare_plugin_types.MakeErrorUnavailable(found.Message)
	case RateLimited:
		return dataflare_plugin_types.MakeErrorRateLimited(uint32(max(found.RetryAfter/time.Millisecond, 0)))
	case Superseded:
		return dataflare_plugin_types.MakeErrorSuperseded(found.Message)
	case Cancelled:
		return dataflare_plugin_types.MakeErrorCancelled()
	case Unsupported:
		return dataflare_plugin_types.MakeErrorUnsupported(found.Message)
	case Internal:
		return dataflare_plugin_types.MakeErrorInternal(found.Message)
	}
	return dataflare_plugin_types.MakeErrorOther(found.Message)
}

// WitResult is what a call gave, or its error, as the host takes it.
func WitResult[T any](value T, err error) wit.Result[T, dataflare_plugin_types.Error] {
	if err != nil {
		return wit.Err[T](WitError(err))
	}
	return wit.Ok[T, dataflare_plugin_types.Error](value)
}
