package dataflare

import (
	"reflect"
	"slices"
	"strings"
	"unsafe"
)

// Records that are structs of simple fields go from columns to fields and back, without a word of JSON in between.

var (
	wholeTypes = []string{"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
	realTypes  = []string{"float", "double"}
	// A column of these that is replaced keeps its type, as JSON does it.
	keptTypes = slices.Concat(wholeTypes, realTypes, []string{"bool", "string"})
)

// typedField is a field of a struct that a column can be read into, or be made of.
type typedField struct {
	name      string
	offset    uintptr
	kind      reflect.Type
	isPointer bool
}

// typedFields gives the fields of a struct; false if a column cannot have what one of them has, or JSON writes it in a way of its
// own.
func typedFields(kind reflect.Type) ([]typedField, bool) {
	if kind.Kind() != reflect.Struct || reflect.PointerTo(kind).NumMethod() > 0 {
		return nil, false
	}
	var found []typedField
	for i := range kind.NumField() {
		field := kind.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || field.Anonymous || options != "" {
			return nil, false
		}
		if name == "-" {
			continue
		}
		if name == "" {
			name = field.Name
		}
		each := typedField{name: name, offset: field.Offset, kind: field.Type}
		if each.kind.Kind() == reflect.Pointer {
			each.kind, each.isPointer = each.kind.Elem(), true
		}
		switch each.kind {
		case reflect.TypeFor[int](), reflect.TypeFor[int64](), reflect.TypeFor[int32](), reflect.TypeFor[float64](),
			reflect.TypeFor[bool](), reflect.TypeFor[string]():
			found = append(found, each)
		default:
			return nil, false
		}
	}
	return found, len(found) > 0
}

// readTyped reads the rows of a batch; false if JSON has to do it, which also says what is wrong.
func readTyped[T any](batch *Batch) ([]T, bool) {
	fields, isTyped := typedFields(reflect.TypeFor[T]())
	if !isTyped {
		return nil, false
	}
	schema := batch.Schema()
	records := make([]T, batch.Len())
	if len(records) == 0 {
		return records, true
	}
	for _, field := range fields {
		column := schema.Column(field.name)
		if column == nil {
			if slices.ContainsFunc(schema.Fields, func(other Field) bool { return strings.EqualFold(other.Name, field.name) }) {
				return nil, false
			}
			continue
		}
		rows := fieldRows{unsafe.Pointer(unsafe.SliceData(records)), unsafe.Sizeof(records[0]), field.offset}
		if !readField(batch, field, column.Type, rows) {
			return nil, false
		}
	}
	return records, true
}

// fieldRows are the places of a field in all records.
type fieldRows struct {
	begin        unsafe.Pointer
	step, offset uintptr
}

func (r fieldRows) at(row int) unsafe.Pointer {
	return unsafe.Add(r.begin, uintptr(row)*r.step+r.offset)
}

func readField(batch *Batch, field typedField, typeName string, rows fieldRows) bool {
	isWhole := slices.Contains(wholeTypes, typeName)
	switch field.kind.Kind() {
	case reflect.Int, reflect.Int64:
		return isWhole && fill(batch, field, rows, func(value int64) (int64, bool) { return value, true })
	case reflect.Int32:
		return isWhole && fill(batch, field, rows, func(value int64) (int32, bool) { return int32(value), int64(int32(value)) == value })
	case reflect.Float64:
		if isWhole {
			return fill(batch, field, rows, func(value int64) (float64, bool) { return float64(value), true })
		}
		return slices.Contains(realTypes, typeName) && fill(batch, field, rows, func(value float64) (float64, bool) { return value, true })
	case reflect.Bool:
		return typeName == "bool" && fill(batch, field, rows, func(value bool) (bool, bool) { return value, true })
	}
	return typeName == "string" && fill(batch, field, rows, func(value string) (string, bool) { return value, true })
}

// fill reads a column into a field of all records. Null is nil, or leaves a field as it is.
func fill[T Value, F any](batch *Batch, field typedField, rows fieldRows, convert func(T) (F, bool)) bool {
	column, err := Read[T](batch, field.name)
	if err != nil {
		return false
	}
	var boxes []F
	if field.isPointer {
		boxes = make([]F, len(column.Values))
	}
	for row, value := range column.Values {
		if column.IsNull(row) {
			continue
		}
		converted, fits := convert(value)
		if !fits {
			return false
		}
		if field.isPointer {
			boxes[row] = converted
			*(**F)(rows.at(row)) = &boxes[row]
		} else {
			*(*F)(rows.at(row)) = converted
		}
	}
	return true
}

// canWriteTyped says whether columns can be made of records, and take the place of those of a batch.
func canWriteTyped[T any](schema Schema) ([]typedField, bool) {
	fields, isTyped := typedFields(reflect.TypeFor[T]())
	return fields, isTyped && !slices.ContainsFunc(fields, func(field typedField) bool {
		column := schema.Column(field.name)
		return column != nil && !slices.Contains(keptTypes, column.Type)
	})
}

// writeTyped makes a batch of what became of the rows of another; of a row that is dropped, nothing.
func writeTyped[T any](batch *Batch, fields []typedField, records []*T) (*Batch, error) {
	var err error
	known := batch.Schema()
	if slices.Contains(records, nil) {
		kept := make([]bool, len(records))
		for row := range records {
			kept[row] = records[row] != nil
		}
		if batch, err = batch.FilterRows(kept); err != nil {
			return nil, err
		}
		records = slices.DeleteFunc(records, func(record *T) bool { return record == nil })
	}
	names := make([]string, len(fields))
	for i, field := range fields {
		names[i] = field.name
		if batch, err = writeField(batch, field, records); err != nil {
			return nil, err
		}
	}
	if batch, err = batch.Select(names...); err != nil {
		return nil, err
	}
	for _, field := range batch.Schema().Fields {
		// Such as whole numbers that were read as float64.
		if had := known.Column(field.Name); had != nil && had.Type != field.Type {
			if batch, err = batch.Cast(field.Name, had.Type); err != nil {
				return nil, err
			}
		}
	}
	return batch, nil
}

func writeField[T any](batch *Batch, field typedField, records []*T) (*Batch, error) {
	switch field.kind.Kind() {
	case reflect.Int, reflect.Int64:
		return batch.WithColumn(field.name, gathered(field, records, func(value int64) int64 { return value }))
	case reflect.Int32:
		return batch.WithColumn(field.name, gathered(field, records, func(value int32) int64 { return int64(value) }))
	case reflect.Float64:
		return batch.WithColumn(field.name, gathered(field, records, func(value float64) float64 { return value }))
	case reflect.Bool:
		return batch.WithColumn(field.name, gathered(field, records, func(value bool) bool { return value }))
	}
	return batch.WithColumn(field.name, gathered(field, records, func(value string) string { return value }))
}

// gathered makes a column of a field of all records.
func gathered[T, F any, V Value](field typedField, records []*T, convert func(F) V) *Column[V] {
	column := NewColumn(make([]V, len(records)))
	for row, record := range records {
		place := unsafe.Add(unsafe.Pointer(record), field.offset)
		if !field.isPointer {
			column.Values[row] = convert(*(*F)(place))
		} else if value := *(**F)(place); value != nil {
			column.Values[row] = convert(*value)
		} else {
			column.SetNull(row)
		}
	}
	return column
}
