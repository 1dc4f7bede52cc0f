// Makes rows of consecutive numbers, and continues where a read ended.
package main

import (
	"dataflare"
)

// Config is the configuration: its JSON Schema, and the checks of what the operator writes, come from it.
type Config struct {
	Rows int64 `json:"rows" default:"10" doc:"How many rows to make."`
}

// SamplePlugin is a source of one dataset.
type SamplePlugin struct {
	config Config
}

// New makes the plugin of its configuration.
func New(config Config) (*SamplePlugin, error) {
	if config.Rows < 0 {
		return nil, dataflare.InvalidConfig("rows: give at least 0")
	}
	return &SamplePlugin{config}, nil
}

// Datasets are what can be read.
func (p *SamplePlugin) Datasets() ([]dataflare.Dataset, error) {
	return []dataflare.Dataset{{
		Name:    "numbers",
		Columns: []dataflare.Field{dataflare.Nullable("id", "int64"), dataflare.Nullable("square", "int64")},
		Key:     []string{"id"},
	}}, nil
}

// Read returns rows, and the state from which a later read continues: the next number.
func (p *SamplePlugin) Read(request *dataflare.Request[int64]) (*dataflare.Chunk[int64], error) {
	var begin int64
	if request.State != nil {
		begin = *request.State
	}
	end := min(p.config.Rows, begin+int64(request.MaxRows))
	if begin >= end {
		return nil, nil
	}
	var ids, squares []int64
	for id := begin; id < end; id++ {
		ids = append(ids, id)
		squares = append(squares, id*id)
	}
	rows, err := dataflare.NewBatch(
		dataflare.Named{Name: "id", Values: ids},
		dataflare.Named{Name: "square", Values: squares},
	)
	if err != nil {
		return nil, err
	}
	return &dataflare.Chunk[int64]{Rows: rows, State: end}, nil
}

func init() { dataflare.ExportSource(New) }

func main() {}
