//go:build wasip1

package host

import (
	"unsafe"

	wit "dataflare/internal/abi/types"
	"dataflare/internal/wit/dataflare_data_batches"
	"dataflare/internal/wit/dataflare_data_expressions"
)

func (b componentBatch) NumRows() int { return int(b.Batch.NumRows()) }

func (b componentBatch) Schema() Schema { return SchemaOf(b.Batch.Schema()) }

func (b componentBatch) Validity(column string) ([]uint64, error) {
	found, err := got(b.Batch.Validity(column))
	return found.Some(), err
}

func (b componentBatch) Int64Column(column string) ([]int64, error) {
	return got(b.Batch.Int64Column(column))
}

func (b componentBatch) Float64Column(column string) ([]float64, error) {
	return got(b.Batch.Float64Column(column))
}

func (b componentBatch) BooleanColumn(column string) ([]bool, error) {
	return got(b.Batch.BooleanColumn(column))
}

func (b componentBatch) TextColumn(column string) (Texts, error) {
	found, err := got(b.Batch.TextColumn(column))
	return Texts{Offsets: found.Offsets, Text: found.Text}, err
}

func (b componentBatch) BinaryColumn(column string) (Bytes, error) {
	found, err := got(b.Batch.BinaryColumn(column))
	return Bytes{Offsets: found.Offsets, Data: found.Data}, err
}

func (b componentBatch) WithInt64Column(column string, values []int64, validity []uint64) (Batch, error) {
	return made(b.Batch.WithInt64Column(column, values, Optional(validity)))
}

func (b componentBatch) WithFloat64Column(column string, values []float64, validity []uint64) (Batch, error) {
	return made(b.Batch.WithFloat64Column(column, values, Optional(validity)))
}

func (b componentBatch) WithBooleanColumn(column string, values []bool, validity []uint64) (Batch, error) {
	return made(b.Batch.WithBooleanColumn(column, values, Optional(validity)))
}

func (b componentBatch) WithTextColumn(column string, values Texts, validity []uint64) (Batch, error) {
	texts := dataflare_data_batches.TextValues{Offsets: values.Offsets, Text: values.Text}
	return made(b.Batch.WithTextColumn(column, texts, Optional(validity)))
}

func (b componentBatch) WithBinaryColumn(column string, values Bytes, validity []uint64) (Batch, error) {
	found := dataflare_data_batches.BinaryValues{Offsets: values.Offsets, Data: values.Data}
	return made(b.Batch.WithBinaryColumn(column, found, Optional(validity)))
}

func (b componentBatch) CastColumn(column, typeName string) (Batch, error) {
	return made(b.Batch.CastColumn(column, typeName))
}

func (b componentBatch) Select(columns []string) (Batch, error) { return made(b.Batch.Select(columns)) }

func (b componentBatch) RenameColumn(column, to string) (Batch, error) {
	return made(b.Batch.RenameColumn(column, to))
}

func (b componentBatch) WithColumnMetadata(column string, metadata []Pair) (Batch, error) {
	return made(b.Batch.WithColumnMetadata(column, tuplesOf(metadata)))
}

func (b componentBatch) Filter(mask []uint64) (Batch, error) { return made(b.Batch.Filter(mask)) }

func (b componentBatch) Slice(offset, length int) (Batch, error) {
	return made(b.Batch.Slice(uint32(offset), uint32(length)))
}

func (b componentBatch) ToArrow() ([]byte, error) {
	found, err := got(b.Batch.ToArrowWords())
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(found.Words))), found.ByteLength), err
}

func (b componentBatch) ToJSONLines() (string, error) { return got(b.Batch.ToJsonLines()) }

func (b componentBatch) WithColumns(nodes []Node, outputs []Output) (Batch, error) {
	return made(dataflare_data_expressions.WithColumns(b.Batch, witNodes(nodes), witOutputs(outputs)))
}

func (b componentBatch) SelectExpressions(nodes []Node, outputs []Output) (Batch, error) {
	return made(dataflare_data_expressions.Select(b.Batch, witNodes(nodes), witOutputs(outputs)))
}

func (b componentBatch) FilterBy(condition []Node) (Batch, error) {
	return made(dataflare_data_expressions.Filter(b.Batch, witNodes(condition)))
}

func (b componentBatch) Sort(keys []SortKey) (Batch, error) {
	found := make([]dataflare_data_expressions.SortKey, len(keys))
	for i, key := range keys {
		found[i] = dataflare_data_expressions.SortKey(key)
	}
	return made(dataflare_data_expressions.Sort(b.Batch, found, dataflare_data_expressions.NullOrderLast))
}

func (b componentBatch) Aggregate(keys []string, aggregates []AggregateColumn) (Batch, error) {
	found := make([]dataflare_data_expressions.AggregateColumn, len(aggregates))
	for i, each := range aggregates {
		found[i] = dataflare_data_expressions.AggregateColumn(each)
	}
	return made(dataflare_data_expressions.Aggregate(b.Batch, keys, found))
}

func (b componentBatch) Join(right Batch, on []Pair, kind JoinKind) (Batch, error) {
	return made(dataflare_data_expressions.Join(b.Batch, HandleOf(right), tuplesOf(on), uint8(kind)))
}

func witOutputs(outputs []Output) []dataflare_data_expressions.Output {
	found := make([]dataflare_data_expressions.Output, len(outputs))
	for i, output := range outputs {
		found[i] = dataflare_data_expressions.Output(output)
	}
	return found
}

func witNodes(nodes []Node) []dataflare_data_expressions.Node {
	found := make([]dataflare_data_expressions.Node, len(nodes))
	for i, node := range nodes {
		switch node.Kind {
		case ColumnNode:
			found[i] = dataflare_data_expressions.MakeNodeColumn(node.Name)
		case LiteralNode:
			found[i] = dataflare_data_expressions.MakeNodeLiteral(witLiteral(node.Literal))
		case CallNode:
			found[i] = dataflare_data_expressions.MakeNodeCall(witCall(node))
		}
	}
	return found
}

func witLiteral(value any) dataflare_data_expressions.Literal {
	switch value := value.(type) {
	case bool:
		return dataflare_data_expressions.MakeLiteralBoolean(value)
	case int64:
		return dataflare_data_expressions.MakeLiteralInt64(value)
	case float64:
		return dataflare_data_expressions.MakeLiteralFloat64(value)
	case string:
		return dataflare_data_expressions.MakeLiteralText(value)
	case []byte:
		return dataflare_data_expressions.MakeLiteralBinary(value)
	case Typed:
		typed := dataflare_data_expressions.TypedLiteral{TypeName: value.Type, Text: value.Text}
		return dataflare_data_expressions.MakeLiteralTyped(typed)
	}
	return dataflare_data_expressions.MakeLiteralNullValue()
}

func witCall(node Node) dataflare_data_expressions.Call {
	call := dataflare_data_expressions.Call{Name: node.Name, Arguments: node.Arguments}
	for _, option := range node.Options {
		literal := witLiteral(option.Value)
		call.Options = append(call.Options, wit.Tuple2[string, dataflare_data_expressions.Literal]{F0: option.Name, F1: literal})
	}
	return call
}
