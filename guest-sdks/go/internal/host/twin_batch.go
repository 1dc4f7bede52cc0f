//go:build !wasip1

package host

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// twinBatch is a batch in memory. Its cells are nil, or an int64, float64, bool, string or []byte, and for other types what
// JSON has for them.
type twinBatch struct {
	rows    int
	columns []twinColumn
}

type twinColumn struct {
	field Field
	cells []any
}

// NewBatch makes a batch without columns.
func NewBatch(rows int) Batch { return &twinBatch{rows: rows} }

// FromArrow is not there natively.
func FromArrow([]byte) (Batch, error) { return nil, onlyInAComponent("an Arrow stream") }

// FromJSONLines makes a batch of JSON Lines.
func FromJSONLines(lines string, schema *Schema) (Batch, error) {
	var names []string
	cells := map[string][]any{}
	rows := 0
	for line := range strings.Lines(lines) {
		if err := eachMember(line, func(name string, value any) {
			if cells[name] == nil {
				names = append(names, name)
			}
			for len(cells[name]) < rows {
				cells[name] = append(cells[name], nil)
			}
			cells[name] = append(cells[name], value)
		}); err != nil {
			return nil, &DataError{Kind: Malformed, Message: fmt.Sprintf("line %d: %v", rows+1, err)}
		}
		rows++
	}
	made := &twinBatch{rows: rows}
	if schema != nil {
		for _, field := range schema.Fields {
			made.columns = append(made.columns, twinColumn{field: field})
		}
	} else {
		for _, name := range names {
			made.columns = append(made.columns, twinColumn{field: Field{Name: name, Type: inferred(cells[name]), Nullable: true}})
		}
	}
	for i := range made.columns {
		column := &made.columns[i]
		values := cells[column.field.Name]
		column.cells = make([]any, rows)
		for row, value := range values {
			cell, err := castCell(value, column.field.Type)
			if err != nil {
				return nil, err
			}
			column.cells[row] = cell
		}
	}
	return made, nil
}

func eachMember(line string, take func(name string, value any)) error {
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.UseNumber()
	if token, err := decoder.Token(); err != nil {
		return err
	} else if token != json.Delim('{') {
		return fmt.Errorf("it is not an object")
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		var value any
		if err := decoder.Decode(&value); err != nil {
			return err
		}
		take(name.(string), value)
	}
	_, err := decoder.Token()
	return err
}

func inferred(values []any) string {
	found := "null"
	for _, value := range values {
		kind := ""
		switch value := value.(type) {
		case nil:
			continue
		case json.Number:
			if kind = "int64"; strings.ContainsAny(value.String(), ".eE") {
				kind = "double"
			}
		case bool:
			kind = "bool"
		case string:
			kind = "string"
		default:
			kind = "json"
		}
		switch {
		case found == "null" || (found == "int64" && kind == "double"):
			found = kind
		case found != kind && (found != "double" || kind != "int64"):
			found = "json"
		}
	}
	return found
}

// Concat puts batches one after another.
func Concat(parts []Batch) (Batch, error) {
	if len(parts) == 0 {
		return nil, &DataError{Kind: OutOfRange, Message: "there is no batch"}
	}
	made := &twinBatch{}
	for i, part := range parts {
		part := part.(*twinBatch)
		if i == 0 {
			made.columns = slices.Clone(part.columns)
		}
		for j := range made.columns {
			if i > 0 {
				if len(part.columns) != len(made.columns) || part.columns[j].field.Name != made.columns[j].field.Name {
					return nil, &DataError{Kind: WrongType, Expected: "the same columns", Found: "others"}
				}
				made.columns[j].cells = slices.Concat(made.columns[j].cells, part.columns[j].cells)
			}
		}
		made.rows += part.rows
	}
	return made, nil
}

func (b *twinBatch) find(name string) (*twinColumn, error) {
	for i := range b.columns {
		if b.columns[i].field.Name == name {
			return &b.columns[i], nil
		}
	}
	return nil, &DataError{Kind: NoSuchColumn, Message: name}
}

func (b *twinBatch) NumRows() int { return b.rows }

func (b *twinBatch) ColumnNames() []string {
	names := make([]string, len(b.columns))
	for i := range b.columns {
		names[i] = b.columns[i].field.Name
	}
	return names
}

func (b *twinBatch) Schema() Schema {
	var schema Schema
	for _, column := range b.columns {
		schema.Fields = append(schema.Fields, column.field)
	}
	return schema
}

func (b *twinBatch) Validity(name string) ([]uint64, error) {
	column, err := b.find(name)
	if err != nil || !slices.Contains(column.cells, nil) {
		return nil, err
	}
	words := make([]uint64, (b.rows+63)/64)
	for row, cell := range column.cells {
		if cell != nil {
			words[row/64] |= 1 << (row % 64)
		}
	}
	return words, nil
}

func cellsOf[T any](b *twinBatch, name, wanted string, convert func(any) (T, bool)) ([]T, error) {
	column, err := b.find(name)
	if err != nil {
		return nil, err
	}
	values := make([]T, b.rows)
	for row, cell := range column.cells {
		if cell == nil {
			continue
		}
		value, fits := convert(cell)
		if !fits {
			return nil, column.wrongType(wanted)
		}
		values[row] = value
	}
	return values, nil
}

func (c *twinColumn) wrongType(wanted string) *DataError {
	return &DataError{Kind: WrongType, Column: c.field.Name, Expected: wanted, Found: c.field.Type}
}

func same[T any](cell any) (T, bool) {
	value, is := cell.(T)
	return value, is
}

func asFloat(cell any) (float64, bool) {
	if whole, is := cell.(int64); is {
		return float64(whole), true
	}
	return same[float64](cell)
}

func (b *twinBatch) Int64Column(name string) ([]int64, error) {
	return cellsOf(b, name, "integers", same[int64])
}

func (b *twinBatch) Float64Column(name string) ([]float64, error) {
	return cellsOf(b, name, "numbers", asFloat)
}

func (b *twinBatch) BooleanColumn(name string) ([]bool, error) {
	return cellsOf(b, name, "booleans", same[bool])
}

func (b *twinBatch) TextColumn(name string) (Texts, error) {
	texts, err := cellsOf(b, name, "texts", same[string])
	found := Texts{Offsets: []uint32{0}, Text: strings.Join(texts, "")}
	for _, text := range texts {
		found.Offsets = append(found.Offsets, found.Offsets[len(found.Offsets)-1]+uint32(len(text)))
	}
	return found, err
}

func (b *twinBatch) BinaryColumn(name string) (Bytes, error) {
	values, err := cellsOf(b, name, "byte strings", same[[]byte])
	found := Bytes{Offsets: []uint32{0}, Data: bytes.Join(values, nil)}
	for _, value := range values {
		found.Offsets = append(found.Offsets, found.Offsets[len(found.Offsets)-1]+uint32(len(value)))
	}
	return found, err
}

// with gives a batch with a column: in the place of that of its name, or at the end.
func (b *twinBatch) with(column twinColumn) *twinBatch {
	made := &twinBatch{rows: b.rows, columns: slices.Clone(b.columns)}
	if old, err := made.find(column.field.Name); err == nil {
		*old = column
	} else {
		made.columns = append(made.columns, column)
	}
	return made
}

// withCells adds values; a replaced column keeps its type where it is one of those that fit.
func withCells[T any](b *twinBatch, name, typeName string, kept []string, values []T, validity []uint64) (Batch, error) {
	if len(values) != b.rows {
		return nil, &DataError{Kind: OutOfRange, Message: fmt.Sprintf("%d values for %d rows", len(values), b.rows)}
	}
	field := Field{Name: name, Type: typeName, Nullable: true}
	if old, err := b.find(name); err == nil {
		field.Metadata = old.field.Metadata
		if slices.Contains(kept, old.field.Type) {
			field.Type = old.field.Type
		}
	}
	cells := make([]any, b.rows)
	for row, value := range values {
		if validity == nil || validity[row/64]&(1<<(row%64)) != 0 {
			cells[row] = value
		}
	}
	return b.with(twinColumn{field, cells}), nil
}

var (
	wholeTypes = []string{"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
	realTypes  = []string{"halffloat", "float", "double"}
)

func (b *twinBatch) WithInt64Column(name string, values []int64, validity []uint64) (Batch, error) {
	return withCells(b, name, "int64", wholeTypes, values, validity)
}

func (b *twinBatch) WithFloat64Column(name string, values []float64, validity []uint64) (Batch, error) {
	return withCells(b, name, "double", realTypes, values, validity)
}

func (b *twinBatch) WithBooleanColumn(name string, values []bool, validity []uint64) (Batch, error) {
	return withCells(b, name, "bool", nil, values, validity)
}

func (b *twinBatch) WithTextColumn(name string, values Texts, validity []uint64) (Batch, error) {
	texts := make([]string, len(values.Offsets)-1)
	for row := range texts {
		texts[row] = values.Text[values.Offsets[row]:values.Offsets[row+1]]
	}
	return withCells(b, name, "string", nil, texts, validity)
}

func (b *twinBatch) WithBinaryColumn(name string, values Bytes, validity []uint64) (Batch, error) {
	found := make([][]byte, len(values.Offsets)-1)
	for row := range found {
		found[row] = values.Data[values.Offsets[row]:values.Offsets[row+1]]
	}
	return withCells(b, name, "binary", nil, found, validity)
}

func (b *twinBatch) CastColumn(name, typeName string) (Batch, error) {
	column, err := b.find(name)
	if err != nil {
		return nil, err
	}
	made := twinColumn{field: column.field, cells: make([]any, b.rows)}
	made.field.Type = typeName
	for row, cell := range column.cells {
		if made.cells[row], err = castCell(cell, typeName); err != nil {
			return nil, err
		}
	}
	return b.with(made), nil
}

// castCell converts a cell, or what JSON has for it, to a type.
func castCell(cell any, typeName string) (any, error) {
	if cell == nil {
		return nil, nil
	}
	text := fmt.Sprint(cell)
	if real, is := cell.(float64); is {
		text = strconv.FormatFloat(real, 'g', -1, 64)
	}
	var found any
	var err error
	switch {
	case slices.Contains(wholeTypes, typeName):
		found, err = strconv.ParseInt(text, 10, 64)
	case slices.Contains(realTypes, typeName):
		found, err = strconv.ParseFloat(text, 64)
	case typeName == "bool":
		found, err = strconv.ParseBool(text)
	case typeName == "string" || typeName == "large_string":
		found = text
	default:
		return cell, nil
	}
	if err != nil {
		return nil, &DataError{Kind: Malformed, Message: fmt.Sprintf("%q is not of the type %s", text, typeName)}
	}
	return found, nil
}

func (b *twinBatch) Select(names []string) (Batch, error) {
	made := &twinBatch{rows: b.rows}
	for _, name := range names {
		column, err := b.find(name)
		if err != nil {
			return nil, err
		}
		made.columns = append(made.columns, *column)
	}
	return made, nil
}

func (b *twinBatch) RenameColumn(name, to string) (Batch, error) {
	if _, err := b.find(name); err != nil {
		return nil, err
	}
	if _, err := b.find(to); err == nil && to != name {
		return nil, &DataError{Kind: OutOfRange, Message: fmt.Sprintf("the name %s is taken", to)}
	}
	made := &twinBatch{rows: b.rows, columns: slices.Clone(b.columns)}
	column, _ := made.find(name)
	column.field.Name = to
	return made, nil
}

func (b *twinBatch) WithColumnMetadata(name string, metadata []Pair) (Batch, error) {
	column, err := b.find(name)
	if err != nil {
		return nil, err
	}
	made := *column
	made.field.Metadata = metadata
	return b.with(made), nil
}

// rowsOf gives the rows of these numbers.
func (b *twinBatch) rowsOf(numbers []int) *twinBatch {
	made := &twinBatch{rows: len(numbers), columns: slices.Clone(b.columns)}
	for i := range made.columns {
		cells := make([]any, len(numbers))
		for row, number := range numbers {
			cells[row] = made.columns[i].cells[number]
		}
		made.columns[i].cells = cells
	}
	return made
}

func (b *twinBatch) Filter(mask []uint64) (Batch, error) {
	if len(mask)*64 < b.rows {
		return nil, &DataError{Kind: OutOfRange, Message: "the mask is too short"}
	}
	var kept []int
	for row := range b.rows {
		if mask[row/64]&(1<<(row%64)) != 0 {
			kept = append(kept, row)
		}
	}
	return b.rowsOf(kept), nil
}

func (b *twinBatch) Slice(offset, length int) (Batch, error) {
	if offset < 0 || length < 0 || offset+length > b.rows {
		return nil, &DataError{Kind: OutOfRange, Message: fmt.Sprintf("%d rows from %d on, of %d", length, offset, b.rows)}
	}
	numbers := make([]int, length)
	for i := range numbers {
		numbers[i] = offset + i
	}
	return b.rowsOf(numbers), nil
}

func (b *twinBatch) ToArrow() ([]byte, error) { return nil, onlyInAComponent("an Arrow stream") }

func (b *twinBatch) ToJSONLines() (string, error) {
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	encoder.SetEscapeHTML(false)
	for row := range b.rows {
		lines.WriteByte('{')
		for i, column := range b.columns {
			if i > 0 {
				lines.WriteByte(',')
			}
			name, value := column.field.Name, column.cells[row]
			for _, part := range []any{name, value} {
				if err := encoder.Encode(part); err != nil {
					return "", &DataError{Kind: Malformed, Message: err.Error()}
				}
				lines.Truncate(lines.Len() - 1)
				lines.WriteByte(':')
			}
			lines.Truncate(lines.Len() - 1)
		}
		lines.WriteString("}\n")
	}
	return lines.String(), nil
}

func (b *twinBatch) Sort(keys []SortKey) (Batch, error) {
	columns := make([]*twinColumn, len(keys))
	for i, key := range keys {
		column, err := b.find(key.Column)
		if err != nil {
			return nil, err
		}
		columns[i] = column
	}
	numbers := make([]int, b.rows)
	for i := range numbers {
		numbers[i] = i
	}
	slices.SortStableFunc(numbers, func(one, other int) int {
		for i, column := range columns {
			first, second := column.cells[one], column.cells[other]
			order := 0
			switch {
			case first == nil || second == nil:
				order = cmp.Compare(boolToInt(first == nil), boolToInt(second == nil))
			case keys[i].Descending:
				order = compareCells(second, first)
			default:
				order = compareCells(first, second)
			}
			if order != 0 {
				return order
			}
		}
		return 0
	})
	return b.rowsOf(numbers), nil
}

func boolToInt(value bool) int {
	if value {
		return 1
	}
	return 0
}

func (b *twinBatch) Aggregate([]string, []AggregateColumn) (Batch, error) {
	return nil, onlyInAComponent("Aggregate")
}

func (b *twinBatch) Join(Batch, []Pair, JoinKind) (Batch, error) {
	return nil, onlyInAComponent("Join")
}

func (b *twinBatch) Drop() {}

func onlyInAComponent(what string) error {
	return Errorf(Unsupported, "%s: it is there in a component alone: test it with `dataflare test`", what)
}
