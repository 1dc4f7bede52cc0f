package dataflare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"dataflare/internal/host"
)

// Field is a column: its name, its Arrow type such as "int64" or "timestamp[us]", and its metadata.
type Field = host.Field

// Schema is the columns of a batch, in order.
type Schema = host.Schema

// Batch is rows of named columns. The host holds them; a plugin has a handle, and takes the columns that it looks at. A batch
// never changes: methods that "change" one return a new one, which shares the rest.
//
// Handles are given back when the call ends. To use a batch in a later call, call [Batch.Keep].
type Batch struct {
	raw host.Batch
}

func init() {
	host.TakeBatch = func(batch any) host.Batch { return batch.(*Batch).take() }
	host.GiveBatch = func(raw host.Batch) any { return newBatch(raw) }
}

// held are the batches of the current call.
var held []*Batch

func newBatch(raw host.Batch) *Batch {
	made := &Batch{raw: raw}
	held = append(held, made)
	return made
}

func batchOr(raw host.Batch, err error) (*Batch, error) {
	if err != nil {
		return nil, err
	}
	return newBatch(raw), nil
}

// release drops the batches of a call that ends.
func release() {
	for _, batch := range held {
		batch.Drop()
	}
	held = held[:0]
}

// take hands the batch over: the host has it from now on.
func (b *Batch) take() host.Batch {
	raw := b.raw
	b.raw = nil
	return raw
}

// Keep has the batch outlive the call, until [Batch.Drop].
func (b *Batch) Keep() {
	for i, each := range held {
		if each == b {
			held = append(held[:i], held[i+1:]...)
			return
		}
	}
}

// Drop gives the handle back. The batch cannot be used afterwards.
func (b *Batch) Drop() {
	if raw := b.take(); raw != nil {
		raw.Drop()
	}
}

// BatchOfRows makes a batch of this many rows and no columns, to add columns to.
func BatchOfRows(rows int) *Batch { return newBatch(host.NewBatch(rows)) }

// Named is a column with its name, for [NewBatch].
type Named struct {
	Name string
	// Values are as for [Batch.WithColumn], without expressions.
	Values any
}

// NewBatch makes a batch of columns of equal length.
func NewBatch(columns ...Named) (*Batch, error) {
	if len(columns) == 0 {
		return BatchOfRows(0), nil
	}
	batch := BatchOfRows(lengthOf(columns[0].Values))
	var err error
	for _, each := range columns {
		if batch, err = batch.WithColumn(each.Name, each.Values); err != nil {
			return nil, err
		}
	}
	return batch, nil
}

// FromRecords makes a batch of records: anything that is a JSON object. Without a schema, types are inferred.
func FromRecords[T any](records []T, schema *Schema) (*Batch, error) {
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	encoder.SetEscapeHTML(false)
	for i := range records {
		if err := encoder.Encode(&records[i]); err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
	}
	return FromJSONLines(lines.String(), schema)
}

// FromJSONLines makes a batch of JSON Lines. Without a schema, types are inferred.
func FromJSONLines(lines string, schema *Schema) (*Batch, error) {
	return batchOr(host.FromJSONLines(lines, schema))
}

// FromArrow makes a batch of an Arrow IPC stream.
func FromArrow(stream []byte) (*Batch, error) { return batchOr(host.FromArrow(stream)) }

// Concat puts batches of the same columns one after another.
func Concat(parts ...*Batch) (*Batch, error) {
	raw := make([]host.Batch, len(parts))
	for i, part := range parts {
		raw[i] = part.raw
	}
	return batchOr(host.Concat(raw))
}

// Len is the number of rows.
func (b *Batch) Len() int { return b.raw.NumRows() }

// Columns are the names of the columns, in order.
func (b *Batch) Columns() []string { return b.raw.ColumnNames() }

// Schema is the columns with their types.
func (b *Batch) Schema() Schema { return b.raw.Schema() }

// Records reads the rows into values: a struct gets the fields that it has, by their names in JSON; [Record] gets all.
func Records[T any](batch *Batch) ([]T, error) {
	if found, isTyped := readTyped[T](batch); isTyped {
		return found, nil
	}
	lines, err := batch.ToJSONLines()
	if err != nil {
		return nil, err
	}
	found := make([]T, 0, batch.Len())
	for row, line := range linesOf(lines) {
		var record T
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			return nil, InvalidInput("row %d: %s", row, jsonProblem(err))
		}
		found = append(found, record)
	}
	return found, nil
}

// linesOf gives lines that end in a line feed, numbered from 0.
func linesOf(text string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		for row := 0; text != ""; row++ {
			line, rest, _ := strings.Cut(text, "\n")
			if text = rest; !yield(row, line) {
				return
			}
		}
	}
}

// ToJSONLines gives the rows as JSON Lines.
func (b *Batch) ToJSONLines() (string, error) { return b.raw.ToJSONLines() }

// ToArrow gives the batch as an Arrow IPC stream.
func (b *Batch) ToArrow() ([]byte, error) { return b.raw.ToArrow() }

// WithColumn adds or replaces a column: by an [Expression], which the host computes, or by values, one for each row: a slice
// of int64, int, float64, bool, string or []byte, or a [Column], which may have nulls.
func (b *Batch) WithColumn(name string, values any) (*Batch, error) {
	if expression, is := values.(Expression); is {
		return b.WithColumns(Computed{name, expression})
	}
	if rows := lengthOf(values); rows != b.Len() {
		return nil, host.Errorf(host.Internal, "column %q: there are %d values for %d rows", name, rows, b.Len())
	}
	return batchOr(put(b.raw, name, values))
}

// Computed is a column of a result with the expression that it is computed by.
type Computed struct {
	Name  string
	Value Expression
}

func outputsOf(columns []Computed) ([]host.Node, []host.Output) {
	values := make([]Expression, len(columns))
	for i, each := range columns {
		values[i] = each.Value
	}
	nodes, places := nodesOf(values...)
	outputs := make([]host.Output, len(columns))
	for i, each := range columns {
		outputs[i] = host.Output{Name: each.Name, Node: places[i]}
	}
	return nodes, outputs
}

// WithColumns adds or replaces columns by expressions, which the host computes.
func (b *Batch) WithColumns(columns ...Computed) (*Batch, error) {
	return batchOr(b.raw.WithColumns(outputsOf(columns)))
}

// SelectComputed makes a batch of expressions alone.
func (b *Batch) SelectComputed(columns ...Computed) (*Batch, error) {
	return batchOr(b.raw.SelectExpressions(outputsOf(columns)))
}

// Cast converts a column to another Arrow type.
func (b *Batch) Cast(name, typeName string) (*Batch, error) {
	return batchOr(b.raw.CastColumn(name, typeName))
}

// Select keeps these columns, in this order.
func (b *Batch) Select(names ...string) (*Batch, error) { return batchOr(b.raw.Select(names)) }

// Rename gives a column another name.
func (b *Batch) Rename(name, to string) (*Batch, error) { return batchOr(b.raw.RenameColumn(name, to)) }

// WithMetadata gives a column other metadata.
func (b *Batch) WithMetadata(name string, metadata ...Pair) (*Batch, error) {
	return batchOr(b.raw.WithColumnMetadata(name, metadata))
}

// Pair is a key with a value.
type Pair = host.Pair

// Filter keeps the rows for which an expression holds.
func (b *Batch) Filter(condition Expression) (*Batch, error) {
	nodes, _ := nodesOf(condition)
	return batchOr(b.raw.FilterBy(nodes))
}

// FilterRows keeps the rows for which a value is true, one for each row.
func (b *Batch) FilterRows(kept []bool) (*Batch, error) {
	return batchOr(b.raw.Filter(bitmapOf(len(kept), func(row int) bool { return kept[row] })))
}

// Slice keeps this many rows from an offset on.
func (b *Batch) Slice(offset, length int) (*Batch, error) {
	return batchOr(b.raw.Slice(offset, length))
}

// SortKey is a column to sort by.
type SortKey = host.SortKey

// Sort orders the rows by columns; nulls come last.
func (b *Batch) Sort(keys ...SortKey) (*Batch, error) { return batchOr(b.raw.Sort(keys)) }

// AggregateColumn is what is computed from each group of rows.
type AggregateColumn = host.AggregateColumn

// Aggregate makes one row for each group of rows with equal keys.
func (b *Batch) Aggregate(keys []string, columns ...AggregateColumn) (*Batch, error) {
	return batchOr(b.raw.Aggregate(keys, columns))
}

// JoinKind says which rows a join keeps.
type JoinKind = host.JoinKind

// The kinds of joins.
const (
	Inner     = host.Inner
	LeftOuter = host.LeftOuter
	LeftSemi  = host.LeftSemi
	LeftAnti  = host.LeftAnti
)

// Join finds the rows of two batches for which pairs of columns are equal.
func (b *Batch) Join(right *Batch, kind JoinKind, on ...Pair) (*Batch, error) {
	return batchOr(b.raw.Join(right.raw, on, kind))
}
