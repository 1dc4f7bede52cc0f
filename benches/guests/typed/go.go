// Marks the flights that are late, and drops those that did not arrive.
package main

import "dataflare"

type Config struct{}

// Flight is a record.
type Flight struct {
	Carrier  string   `json:"carrier"`
	ArrDelay *float64 `json:"arr_delay"`
	Late     bool     `json:"late"`
}

type MarkLate struct{}

func New(Config) (*MarkLate, error) { return &MarkLate{}, nil }

func (p *MarkLate) Process(flight *Flight) (*Flight, error) {
	if flight.ArrDelay == nil {
		return nil, nil
	}
	flight.Late = *flight.ArrDelay >= 15
	return flight, nil
}

func init() { dataflare.ExportProcessor(New) }

func main() {}
