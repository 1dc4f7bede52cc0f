// Keeps rows by key in the state that the host has for the plugin. Rows are visible when the run is finished.
package main

import (
	"fmt"

	"dataflare"
	"dataflare/state"
)

// Config is the configuration: its JSON Schema, and the checks of what the operator writes, come from it.
type Config struct {
	Key string `json:"key" default:"id" doc:"The column whose values rows are kept by."`
}

// SamplePlugin writes rows.
type SamplePlugin struct {
	config Config
	kept   []kept
}

// kept is a row of the run.
type kept struct {
	name   string
	record dataflare.Record
}

// New makes the plugin of its configuration.
func New(config Config) (*SamplePlugin, error) {
	return &SamplePlugin{config: config}, nil
}

// Write takes rows; those without a key are sent back.
func (p *SamplePlugin) Write(target *dataflare.Target, rows *dataflare.Batch) ([]dataflare.RejectedRow, error) {
	records, err := dataflare.Records[dataflare.Record](rows)
	if err != nil {
		return nil, err
	}
	var rejected []dataflare.RejectedRow
	for row, record := range records {
		if record.IsNull(p.config.Key) {
			reason := fmt.Sprintf("%s is null", p.config.Key)
			rejected = append(rejected, dataflare.RejectedRow{Row: row, Column: p.config.Key, Reason: reason})
			continue
		}
		p.kept = append(p.kept, kept{target.Name + "/" + record.JSON(p.config.Key), record})
	}
	return rejected, nil
}

// Finish makes them visible. After an error this may come again, and must do no harm.
func (p *SamplePlugin) Finish([]byte) error {
	for _, row := range p.kept {
		if err := state.Put(row.name, &row.record); err != nil {
			return err
		}
	}
	p.kept = nil
	return nil
}

// Abort forgets them.
func (p *SamplePlugin) Abort() error {
	p.kept = nil
	return nil
}

func init() { dataflare.ExportDestination(New) }

func main() {}
