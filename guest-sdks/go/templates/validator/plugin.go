// Checks that a column is within bounds: rows out of bounds break its rule, nulls do not.
package main

import (
	"fmt"

	"dataflare"
)

// Config is the configuration: its JSON Schema, and the checks of what the operator writes, come from it.
type Config struct {
	Column   string  `json:"column" doc:"The column to check."`
	Least    float64 `json:"least" default:"0" doc:"The least value."`
	Greatest float64 `json:"greatest" default:"100" doc:"The greatest value."`
}

// SamplePlugin checks batches.
type SamplePlugin struct {
	config Config
}

// New makes the plugin of its configuration.
func New(config Config) (*SamplePlugin, error) {
	if config.Least > config.Greatest {
		return nil, dataflare.InvalidConfig("least: it is above greatest")
	}
	return &SamplePlugin{config}, nil
}

// Rules are what must hold: expressions, which the host computes.
func (p *SamplePlugin) Rules() []dataflare.Rule {
	config := p.config
	within := dataflare.NewRule("within", dataflare.Col(config.Column).Between(config.Least, config.Greatest))
	within.Description = fmt.Sprintf("%s is within %v and %v", config.Column, config.Least, config.Greatest)
	within.Column = config.Column
	return []dataflare.Rule{within}
}

func init() { dataflare.ExportValidator(New) }

func main() {}
