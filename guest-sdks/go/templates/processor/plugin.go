// Trims a text field, and drops records in which it is empty.
package main

import (
	"strings"

	"dataflare"
)

// Config is the configuration: its JSON Schema, and the checks of what the operator writes, come from it.
type Config struct {
	Field string `json:"field" default:"name" doc:"The field to trim."`
}

// SamplePlugin changes records one by one.
type SamplePlugin struct {
	config Config
}

// New makes the plugin of its configuration.
func New(config Config) (*SamplePlugin, error) {
	return &SamplePlugin{config}, nil
}

// Process returns the record, changed; nil drops it.
func (p *SamplePlugin) Process(record *dataflare.Record) (*dataflare.Record, error) {
	text, isText := record.Text(p.config.Field)
	if !isText && !record.IsNull(p.config.Field) {
		return nil, dataflare.InvalidInput("%s is not a text", p.config.Field)
	}
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		return nil, nil
	}
	record.Set(p.config.Field, trimmed)
	return record, nil
}

func init() { dataflare.ExportProcessor(New) }

func main() {}
