// Adds a column that is a ratio of two others.
package main

import (
	"dataflare"
)

// Config is the configuration: its JSON Schema, and the checks of what the operator writes, come from it.
type Config struct {
	Of     string `json:"of" doc:"The column above the line."`
	To     string `json:"to" doc:"The column below it."`
	Column string `json:"column" default:"ratio" doc:"The name of the new column."`
}

// SamplePlugin changes batches.
type SamplePlugin struct {
	config Config
}

// New makes the plugin of its configuration.
func New(config Config) (*SamplePlugin, error) {
	return &SamplePlugin{config}, nil
}

// Transform lets the host compute: no value comes into the plugin.
func (p *SamplePlugin) Transform(batch *dataflare.Batch) (*dataflare.Batch, error) {
	ratio := dataflare.Col(p.config.Of).Cast("double").Div(dataflare.Col(p.config.To))
	return batch.WithColumn(p.config.Column, ratio)
}

func init() { dataflare.ExportTransformer(New) }

func main() {}
