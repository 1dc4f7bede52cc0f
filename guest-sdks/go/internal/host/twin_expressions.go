//go:build !wasip1

package host

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

func (b *twinBatch) evaluated(nodes []Node) ([]twinColumn, error) {
	var found []twinColumn
	for _, node := range nodes {
		column, err := b.evaluate(node, found)
		if err != nil {
			return nil, err
		}
		found = append(found, column)
	}
	return found, nil
}

func (b *twinBatch) evaluate(node Node, known []twinColumn) (twinColumn, error) {
	switch node.Kind {
	case ColumnNode:
		column, err := b.find(node.Name)
		if err != nil {
			return twinColumn{}, err
		}
		return *column, nil
	case LiteralNode:
		value := node.Literal
		if typed, is := value.(Typed); is {
			value = typed.Text
		}
		return twinColumn{field: Field{Type: typeOfCell(value), Nullable: true}, cells: slices.Repeat([]any{value}, b.rows)}, nil
	}
	arguments := make([]twinColumn, len(node.Arguments))
	for i, place := range node.Arguments {
		arguments[i] = known[place]
	}
	return compute(node, arguments, b.rows)
}

func typeOfCell(cell any) string {
	switch cell.(type) {
	case bool:
		return "bool"
	case int64:
		return "int64"
	case float64:
		return "double"
	case []byte:
		return "binary"
	case nil:
		return "null"
	}
	return "string"
}

// compute is a function of columns, row by row: one of those that plugins use most.
func compute(node Node, arguments []twinColumn, rows int) (twinColumn, error) {
	made := twinColumn{field: Field{Nullable: true}, cells: make([]any, rows)}
	made.field.Type = resultType(node, arguments)
	row := make([]any, len(arguments))
	for number := range rows {
		for i := range arguments {
			row[i] = arguments[i].cells[number]
		}
		cell, err := computeCell(node, row, made.field.Type)
		if err != nil {
			return made, err
		}
		made.cells[number] = cell
	}
	return made, nil
}

func resultType(node Node, arguments []twinColumn) string {
	switch node.Name {
	case "cast":
		name, _ := node.Options[0].Value.(string)
		return name
	case "add_checked", "subtract_checked", "multiply_checked", "divide", "modulo":
		for _, argument := range arguments {
			if slices.Contains(realTypes, argument.field.Type) {
				return "double"
			}
		}
		return "int64"
	case "negate_checked", "abs", "utf8_lower", "utf8_upper", "utf8_trim_whitespace":
		return arguments[0].field.Type
	case "coalesce":
		for _, argument := range arguments {
			if argument.field.Type != "null" {
				return argument.field.Type
			}
		}
		return "null"
	case "if_else":
		return arguments[1].field.Type
	case "utf8_length":
		return "int32"
	}
	return "bool"
}

func computeCell(node Node, row []any, typeName string) (any, error) {
	switch node.Name {
	case "cast":
		return castCell(row[0], typeName)
	case "is_null":
		return row[0] == nil, nil
	case "is_valid":
		return row[0] != nil, nil
	case "coalesce":
		for _, cell := range row {
			if cell != nil {
				return cell, nil
			}
		}
		return nil, nil
	case "is_in":
		return row[0] != nil && slices.ContainsFunc(row[1:], func(other any) bool { return compareCells(row[0], other) == 0 }), nil
	case "and_kleene":
		return kleene(row[0], row[1], false), nil
	case "or_kleene":
		return kleene(row[0], row[1], true), nil
	case "if_else":
		switch row[0] {
		case true:
			return row[1], nil
		case false:
			return row[2], nil
		}
		return nil, nil
	}
	if slices.Contains(row, nil) {
		return nil, nil
	}
	return computeValue(node.Name, row)
}

func computeValue(name string, row []any) (any, error) {
	switch name {
	case "equal":
		return compareCells(row[0], row[1]) == 0, nil
	case "not_equal":
		return compareCells(row[0], row[1]) != 0, nil
	case "less":
		return compareCells(row[0], row[1]) < 0, nil
	case "less_equal":
		return compareCells(row[0], row[1]) <= 0, nil
	case "greater":
		return compareCells(row[0], row[1]) > 0, nil
	case "greater_equal":
		return compareCells(row[0], row[1]) >= 0, nil
	case "between":
		return compareCells(row[0], row[1]) >= 0 && compareCells(row[0], row[2]) <= 0, nil
	case "invert":
		if value, is := row[0].(bool); is {
			return !value, nil
		}
	case "add_checked", "subtract_checked", "multiply_checked", "divide", "modulo":
		return calculate(name, row[0], row[1])
	case "negate_checked":
		return calculate("subtract_checked", int64(0), row[0])
	case "utf8_lower", "utf8_upper", "utf8_trim_whitespace", "utf8_length":
		if text, is := row[0].(string); is {
			return onText(name, text), nil
		}
	default:
		return nil, onlyInAComponent("the function " + name)
	}
	return nil, &DataError{Kind: WrongType, Function: name, Expected: "a value of another type", Found: fmt.Sprintf("%T", row[0])}
}

func onText(name, text string) any {
	switch name {
	case "utf8_lower":
		return strings.ToLower(text)
	case "utf8_upper":
		return strings.ToUpper(text)
	case "utf8_trim_whitespace":
		return strings.TrimSpace(text)
	}
	return int64(utf8.RuneCountInString(text))
}

func calculate(name string, one, other any) (any, error) {
	first, isWhole := one.(int64)
	second, areWhole := other.(int64)
	if isWhole && areWhole {
		return calculateWhole(name, first, second)
	}
	real, fits := asFloat(one)
	other2, fit := asFloat(other)
	if !fits || !fit {
		return nil, &DataError{Kind: WrongType, Function: name, Expected: "numbers", Found: fmt.Sprintf("%T and %T", one, other)}
	}
	switch name {
	case "add_checked":
		return real + other2, nil
	case "subtract_checked":
		return real - other2, nil
	case "multiply_checked":
		return real * other2, nil
	case "divide":
		return real / other2, nil
	}
	return real - other2*math.Floor(real/other2), nil
}

func calculateWhole(name string, one, other int64) (any, error) {
	outOfRange := &DataError{Kind: OutOfRange, Message: fmt.Sprintf("%s: %d and %d have no result of 64 bits", name, one, other)}
	switch name {
	case "add_checked":
		if sum := one + other; (sum > one) == (other > 0) {
			return sum, nil
		}
		return nil, outOfRange
	case "subtract_checked":
		if difference := one - other; (difference < one) == (other > 0) {
			return difference, nil
		}
		return nil, outOfRange
	case "multiply_checked":
		product := one * other
		if one != 0 && (product/one != other || (one == -1 && other == math.MinInt64)) {
			return nil, outOfRange
		}
		return product, nil
	}
	if other == 0 || (one == math.MinInt64 && other == -1) {
		return nil, outOfRange
	}
	if name == "divide" {
		return one / other, nil
	}
	if rest := one % other; rest != 0 && (rest < 0) != (other < 0) {
		return rest + other, nil
	} else {
		return rest, nil
	}
}

func kleene(one, other any, decides bool) any {
	if one == any(decides) || other == any(decides) {
		return decides
	}
	if one == nil || other == nil {
		return nil
	}
	return !decides
}

// compareCells orders cells of one kind; those of two kinds have no order, and are not equal.
func compareCells(one, other any) int {
	switch first := one.(type) {
	case string:
		if second, is := other.(string); is {
			return cmp.Compare(first, second)
		}
	case bool:
		if second, is := other.(bool); is {
			return cmp.Compare(boolToInt(first), boolToInt(second))
		}
	case int64:
		if second, is := other.(int64); is {
			return cmp.Compare(first, second)
		}
	}
	first, fits := asFloat(one)
	second, fit := asFloat(other)
	if !fits || !fit {
		return -1
	}
	return cmp.Compare(first, second)
}

func (b *twinBatch) outputs(nodes []Node, outputs []Output) ([]twinColumn, error) {
	found, err := b.evaluated(nodes)
	if err != nil {
		return nil, err
	}
	columns := make([]twinColumn, len(outputs))
	for i, output := range outputs {
		columns[i] = found[output.Node]
		columns[i].field.Name = output.Name
	}
	return columns, nil
}

func (b *twinBatch) WithColumns(nodes []Node, outputs []Output) (Batch, error) {
	columns, err := b.outputs(nodes, outputs)
	if err != nil {
		return nil, err
	}
	made := b
	for _, column := range columns {
		made = made.with(column)
	}
	return made, nil
}

func (b *twinBatch) SelectExpressions(nodes []Node, outputs []Output) (Batch, error) {
	columns, err := b.outputs(nodes, outputs)
	if err != nil {
		return nil, err
	}
	return &twinBatch{rows: b.rows, columns: columns}, nil
}

func (b *twinBatch) FilterBy(condition []Node) (Batch, error) {
	found, err := b.evaluated(condition)
	if err != nil {
		return nil, err
	}
	var kept []int
	for row, cell := range found[len(found)-1].cells {
		if cell == true {
			kept = append(kept, row)
		}
	}
	return b.rowsOf(kept), nil
}
