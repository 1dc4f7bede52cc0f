// A log of changes whose events are in the configuration, for tests; a position is the number of events before it.
package main

import (
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"dataflare"
)

// Config is the configuration: events in JSON.
type Config struct {
	Events string `json:"events"`
}

// Shop is three datasets of one log.
type Shop struct {
	events []*dataflare.Record
	failed bool
	safe   *int
}

// Datasets are two with a key, and one that is read in no test.
func (s *Shop) Datasets() ([]dataflare.Dataset, error) {
	modes := []dataflare.Mode{dataflare.Changes}
	return []dataflare.Dataset{
		{Name: "orders", Columns: columns("id", "int64", "note", "string"), Key: []string{"id"}, Modes: modes},
		{
			Name: "lines", Columns: columns("order", "int64", "line", "int64", "what", "string"),
			Key: []string{"order", "line"}, Modes: modes,
		},
		{Name: "others", Columns: columns("id", "int64"), Key: []string{"id"}, Modes: modes},
	}, nil
}

func columns(said ...string) []dataflare.Field {
	var found []dataflare.Field
	for at := 0; at < len(said); at += 2 {
		found = append(found, dataflare.Nullable(said[at], said[at+1]))
	}
	return found
}

// Acknowledge keeps it, for Health.
func (s *Shop) Acknowledge(state int) error {
	s.safe = &state
	return nil
}

// Health says what was acknowledged.
func (s *Shop) Health() string {
	if s.safe == nil {
		return ""
	}
	return fmt.Sprintf("safe: %d", *s.safe)
}

// Changes gives the events.
func (s *Shop) Changes(position *int, _ []dataflare.Dataset) iter.Seq2[dataflare.Event, error] {
	begin := 0
	if position != nil {
		begin = *position
	}
	return func(yield func(dataflare.Event, error) bool) {
		if begin > len(s.events) {
			yield(nil, dataflare.InvalidState("the log is shorter"))
			return
		}
		for at, said := range s.events[begin:] {
			if said.Has("fail") || said.Has("end") {
				if s.failed {
					continue
				}
				// What comes after it is read by the next call.
				s.failed = true
				if text, fails := said.Text("fail"); fails {
					yield(nil, dataflare.Unavailable("%s", text))
				}
				return
			}
			if !yield(event(said, begin+at), nil) {
				return
			}
		}
	}
}

func event(said *dataflare.Record, at int) dataflare.Event {
	name := said.Names()[0]
	dataset, _ := said.Text(name)
	var row, was dataflare.Record
	said.Get("row", &row)
	switch name {
	case "insert":
		return dataflare.Insert{Dataset: dataset, Row: &row}
	case "update":
		if said.Get("was", &was) {
			return dataflare.Update{Dataset: dataset, Row: &row, OldKey: &was}
		}
		return dataflare.Update{Dataset: dataset, Row: &row}
	case "delete":
		return dataflare.Delete{Dataset: dataset, Key: &row}
	case "schema":
		var types dataflare.Record
		said.Get("columns", &types)
		var said []string
		for _, name := range types.Names() {
			kind, _ := types.Text(name)
			said = append(said, name, kind)
		}
		return dataflare.NewSchema{Dataset: dataset, Columns: columns(said...)}
	case "commit":
		return dataflare.Commit[int]{Position: at + 1}
	case "idle":
		wait, _ := said.Int("idle")
		return dataflare.Idle{RetryAfter: time.Duration(wait) * time.Millisecond}
	}
	return nil
}

func init() {
	dataflare.ExportChangeLog(func(config Config) (*Shop, error) {
		var events []*dataflare.Record
		err := json.Unmarshal([]byte(config.Events), &events)
		return &Shop{events: events}, err
	})
}

func main() {}
