package dataflare

import (
	"fmt"

	"dataflare/internal/host"
)

// Value is what a cell of a column is read as: int64 for integers, dates and times, float64 for all numbers.
type Value interface {
	int64 | float64 | bool | string | []byte
}

// Column is the values of a column, one for each row. A null row has the zero value.
type Column[T Value] struct {
	Values []T
	valid  []uint64
}

// NewColumn makes a column without nulls.
func NewColumn[T Value](values []T) *Column[T] { return &Column[T]{Values: values} }

// NewColumnOf makes a column of pointers, of which nil is null.
func NewColumnOf[T Value](values []*T) *Column[T] {
	made := &Column[T]{Values: make([]T, len(values))}
	for row, value := range values {
		if value == nil {
			made.SetNull(row)
		} else {
			made.Values[row] = *value
		}
	}
	return made
}

// Len is the number of rows.
func (c *Column[T]) Len() int { return len(c.Values) }

// IsNull says whether a row has no value.
func (c *Column[T]) IsNull(row int) bool {
	return c.valid != nil && c.valid[row/64]&(1<<(row%64)) == 0
}

// Get is the value of a row; false if it is null.
func (c *Column[T]) Get(row int) (T, bool) { return c.Values[row], !c.IsNull(row) }

// SetNull takes the value of a row away.
func (c *Column[T]) SetNull(row int) {
	var zero T
	if c.valid == nil {
		c.valid = bitmapOf(len(c.Values), func(int) bool { return true })
	}
	c.valid[row/64] &^= 1 << (row % 64)
	c.Values[row] = zero
}

// Set gives a row a value.
func (c *Column[T]) Set(row int, value T) {
	if c.valid != nil {
		c.valid[row/64] |= 1 << (row % 64)
	}
	c.Values[row] = value
}

// Read takes a column out of a batch: Read[int64](batch, "id").
func Read[T Value](batch *Batch, name string) (*Column[T], error) {
	values, err := valuesOf[T](batch.raw, name)
	if err != nil {
		return nil, err
	}
	valid, err := batch.raw.Validity(name)
	if err != nil {
		return nil, err
	}
	return &Column[T]{Values: values, valid: valid}, nil
}

func valuesOf[T Value](raw host.Batch, name string) (values []T, err error) {
	switch into := any(&values).(type) {
	case *[]int64:
		*into, err = raw.Int64Column(name)
	case *[]float64:
		*into, err = raw.Float64Column(name)
	case *[]bool:
		*into, err = raw.BooleanColumn(name)
	case *[]string:
		var texts host.Texts
		if texts, err = raw.TextColumn(name); err == nil {
			*into = cut(texts.Offsets, func(begin, end uint32) string { return texts.Text[begin:end] })
		}
	case *[][]byte:
		var found host.Bytes
		if found, err = raw.BinaryColumn(name); err == nil {
			*into = cut(found.Offsets, func(begin, end uint32) []byte { return found.Data[begin:end:end] })
		}
	}
	return values, err
}

func cut[T any](offsets []uint32, piece func(begin, end uint32) T) []T {
	values := make([]T, max(len(offsets)-1, 0))
	for row := range values {
		values[row] = piece(offsets[row], offsets[row+1])
	}
	return values
}

func bitmapOf(rows int, isSet func(row int) bool) []uint64 {
	words := make([]uint64, (rows+63)/64)
	for row := range rows {
		if isSet(row) {
			words[row/64] |= 1 << (row % 64)
		}
	}
	return words
}

func lengthOf(values any) int {
	switch values := values.(type) {
	case []int64:
		return len(values)
	case []int:
		return len(values)
	case []float64:
		return len(values)
	case []bool:
		return len(values)
	case []string:
		return len(values)
	case [][]byte:
		return len(values)
	case interface{ Len() int }:
		return values.Len()
	}
	panic(fmt.Sprintf("a column cannot be made of %T", values))
}

func put(raw host.Batch, name string, values any) (host.Batch, error) {
	switch values := values.(type) {
	case []int64:
		return raw.WithInt64Column(name, values, nil)
	case []int:
		wide := make([]int64, len(values))
		for row, value := range values {
			wide[row] = int64(value)
		}
		return raw.WithInt64Column(name, wide, nil)
	case []float64:
		return raw.WithFloat64Column(name, values, nil)
	case []bool:
		return raw.WithBooleanColumn(name, values, nil)
	case []string:
		return putTexts(raw, name, values, nil)
	case [][]byte:
		return putBytes(raw, name, values, nil)
	case *Column[int64]:
		return raw.WithInt64Column(name, values.Values, values.valid)
	case *Column[float64]:
		return raw.WithFloat64Column(name, values.Values, values.valid)
	case *Column[bool]:
		return raw.WithBooleanColumn(name, values.Values, values.valid)
	case *Column[string]:
		return putTexts(raw, name, values.Values, values.valid)
	case *Column[[]byte]:
		return putBytes(raw, name, values.Values, values.valid)
	}
	panic(fmt.Sprintf("a column cannot be made of %T", values))
}

func putTexts(raw host.Batch, name string, values []string, valid []uint64) (host.Batch, error) {
	offsets, text := laidOut(values)
	return raw.WithTextColumn(name, host.Texts{Offsets: offsets, Text: string(text)}, valid)
}

func putBytes(raw host.Batch, name string, values [][]byte, valid []uint64) (host.Batch, error) {
	offsets, data := laidOut(values)
	return raw.WithBinaryColumn(name, host.Bytes{Offsets: offsets, Data: data}, valid)
}

func laidOut[T string | []byte](values []T) ([]uint32, []byte) {
	size := 0
	for _, value := range values {
		size += len(value)
	}
	offsets, data := make([]uint32, 1, len(values)+1), make([]byte, 0, size)
	for _, value := range values {
		data = append(data, value...)
		offsets = append(offsets, uint32(len(data)))
	}
	return offsets, data
}
