// Package host is the boundary: what the host offers, as values of Go. A component calls the host; natively, a twin in
// memory plays its part.
package host

// Pair is a key with a value.
type Pair struct{ Key, Value string }

// Field is a column: its name, its Arrow type such as "int64" or "timestamp[us]", and its metadata.
type Field struct {
	Name     string
	Type     string
	Nullable bool
	Metadata []Pair
}

// Schema is the columns of a batch, in order.
type Schema struct {
	Fields   []Field
	Metadata []Pair
}

// Column returns the field of this name; nil if there is none.
func (s *Schema) Column(name string) *Field {
	for i := range s.Fields {
		if s.Fields[i].Name == name {
			return &s.Fields[i]
		}
	}
	return nil
}

// Typed is a constant of an Arrow type, by its text.
type Typed struct{ Type, Text string }

// Node is a part of an expression: a column, a constant, or a call of earlier nodes.
type Node struct {
	Kind NodeKind
	// Name is that of the column or the function.
	Name string
	// Literal is nil, or a bool, int64, float64, string, []byte or Typed.
	Literal   any
	Arguments []uint32
	Options   []Option
}

// NodeKind says what a node is.
type NodeKind int

// The kinds of nodes.
const (
	ColumnNode NodeKind = iota
	LiteralNode
	CallNode
)

// Option is an option of a call.
type Option struct {
	Name  string
	Value any
}

// Output is a column of a result: its name, and the place of its node.
type Output struct {
	Name string
	Node uint32
}

// SortKey is a column to sort by.
type SortKey struct {
	Column     string
	Descending bool
}

// AggregateColumn is what is computed from each group of rows.
type AggregateColumn struct{ Name, Aggregate, Column string }

// JoinKind says which rows a join keeps.
type JoinKind uint8

// The kinds of joins.
const (
	Inner JoinKind = iota
	LeftOuter
	LeftSemi
	LeftAnti
)

// Texts is a column of texts or bytes: row i is from Offsets[i] to Offsets[i+1] of the rest.
type Texts struct {
	Offsets []uint32
	Text    string
}

// Bytes is a column of byte strings.
type Bytes struct {
	Offsets []uint32
	Data    []byte
}

// Batch is a table that the host holds.
type Batch interface {
	NumRows() int
	ColumnNames() []string
	Schema() Schema
	// Validity is a bitmap of the rows that have a value; nil if all have one.
	Validity(column string) ([]uint64, error)
	Int64Column(column string) ([]int64, error)
	Float64Column(column string) ([]float64, error)
	BooleanColumn(column string) ([]bool, error)
	TextColumn(column string) (Texts, error)
	BinaryColumn(column string) (Bytes, error)
	WithInt64Column(column string, values []int64, validity []uint64) (Batch, error)
	WithFloat64Column(column string, values []float64, validity []uint64) (Batch, error)
	WithBooleanColumn(column string, values []bool, validity []uint64) (Batch, error)
	WithTextColumn(column string, values Texts, validity []uint64) (Batch, error)
	WithBinaryColumn(column string, values Bytes, validity []uint64) (Batch, error)
	CastColumn(column, typeName string) (Batch, error)
	Select(columns []string) (Batch, error)
	RenameColumn(column, to string) (Batch, error)
	WithColumnMetadata(column string, metadata []Pair) (Batch, error)
	Filter(mask []uint64) (Batch, error)
	Slice(offset, length int) (Batch, error)
	ToArrow() ([]byte, error)
	ToJSONLines() (string, error)

	WithColumns(nodes []Node, outputs []Output) (Batch, error)
	SelectExpressions(nodes []Node, outputs []Output) (Batch, error)
	FilterBy(condition []Node) (Batch, error)
	Sort(keys []SortKey) (Batch, error)
	Aggregate(keys []string, aggregates []AggregateColumn) (Batch, error)
	Join(right Batch, on []Pair, kind JoinKind) (Batch, error)

	// Drop gives the handle back. The batch cannot be used afterwards.
	Drop()
}

// Level is the severity of an event.
type Level uint8

// The levels, lowest first.
const (
	Trace Level = iota
	Debug
	Info
	Warn
	Failure
)
