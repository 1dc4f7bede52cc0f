// Rows of which the last two have a column more, for tests: `described` says whether the dataset has that column.
package main

import (
	"fmt"

	"dataflare"
)

// Config is the configuration.
type Config struct {
	Described bool `json:"described" default:"false"`
}

// Growing is the source.
type Growing struct{ config Config }

var columns = []dataflare.Field{
	dataflare.Nullable("id", "int64"), dataflare.Nullable("name", "string"), dataflare.Nullable("age", "int32"),
}

// Datasets are one.
func (g *Growing) Datasets() ([]dataflare.Dataset, error) {
	known := columns[:2]
	if g.config.Described {
		known = columns
	}
	return []dataflare.Dataset{{Name: "people", Columns: known, Key: []string{"id"}}}, nil
}

// SchemaAt says that the first rows have the old columns in any case.
func (g *Growing) SchemaAt(request *dataflare.Request[int64]) (dataflare.Schema, error) {
	if g.config.Described && (request.State == nil || *request.State <= 2) {
		return dataflare.Schema{Fields: columns[:2]}, nil
	}
	return request.Schema, nil
}

// Read returns one row.
func (g *Growing) Read(request *dataflare.Request[int64]) (*dataflare.Chunk[int64], error) {
	at := int64(0)
	if request.State != nil {
		at = *request.State
	}
	if at >= 4 {
		return nil, nil
	}
	chunk := &dataflare.Chunk[int64]{State: at + 1}
	values := []dataflare.Named{{Name: "id", Values: []int64{at}}, {Name: "name", Values: []string{fmt.Sprintf("n%d", at)}}}
	if at >= 2 {
		values = append(values, dataflare.Named{Name: "age", Values: []int64{at}})
	}
	if at == 2 {
		chunk.Schema = &dataflare.Schema{Fields: columns}
	}
	var err error
	chunk.Rows, err = dataflare.NewBatch(values...)
	return chunk, err
}

func init() {
	dataflare.ExportSource(func(config Config) (*Growing, error) { return &Growing{config}, nil })
}

func main() {}
