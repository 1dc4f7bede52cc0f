//go:build !wasip1

package dataflare

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"dataflare/internal/host"
	"dataflare/internal/twin"
)

// countTo counts, and can be cut into parts.
type countTo struct {
	last         int64
	acknowledged int64
}

func (c *countTo) Datasets() ([]Dataset, error) {
	return []Dataset{{
		Name: "numbers", Columns: []Field{Nullable("id", "int64"), Nullable("half", "double")},
		Key: []string{"id"}, Cursor: "id", Splittable: true,
	}}, nil
}

func (c *countTo) Read(request *Request[int64]) (*Chunk[int64], error) {
	begin, end := int64(0), c.last
	if _, err := request.Part(&end); err != nil {
		return nil, err
	}
	if request.State != nil {
		begin = *request.State
	}
	if begin >= end {
		return nil, nil
	}
	// Two rows at a time, whatever the host takes.
	rows, err := NewBatch(Named{"half", []float64{float64(begin) / 2, float64(begin+1) / 2}}, Named{"id", []int64{begin, begin + 1}})
	return &Chunk[int64]{Rows: rows, State: begin + 2}, err
}

func (c *countTo) Split(*Request[int64], int) ([]any, error) { return []any{2, 4}, nil }

func (c *countTo) Estimate(*Request[int64]) (int64, error) { return c.last, nil }

func (c *countTo) Acknowledge(state int64) error {
	c.acknowledged = state
	return nil
}

func selected(mode, cursor string, columns ...string) []host.Selection {
	return []host.Selection{{Name: "numbers", Mode: mode, Cursor: cursor, Columns: columns}}
}

func TestSourceGivesWhatItPromisedInChunksThatTheHostTakes(t *testing.T) {
	source := &sourceOf[int64]{plugin: &countTo{last: 4}}
	schema, err := source.open(selected("full", "", "id"), nil, nil)
	if err != nil || len(schema.Fields) != 1 || schema.Fields[0].Metadata[1].Value != "cursor" {
		t.Fatal(schema, err)
	}
	first, state, err := source.read(1)
	if text := lines(t, first, err); text != "{\"id\":0}\n" || state != nil {
		t.Error(text, string(state))
	}
	second, state, err := source.read(1)
	if text := lines(t, second, err); text != "{\"id\":1}\n" || string(state) != `{"after":2,"dataset":"numbers","mode":"full"}` {
		t.Error(text, string(state))
	}
	other := &sourceOf[int64]{plugin: &countTo{last: 4}}
	if _, err := other.open(selected("full", ""), nil, state); err != nil {
		t.Fatal(err)
	}
	rest, _, err := other.read(10)
	if text := lines(t, rest, err); text != "{\"id\":2,\"half\":1}\n{\"id\":3,\"half\":1.5}\n" {
		t.Error(text)
	}
	if rows, _, err := other.read(10); rows != nil || err != nil {
		t.Error(rows, err)
	}
}

func TestSourceRefusesWhatThereIsNot(t *testing.T) {
	source := &sourceOf[int64]{plugin: &countTo{last: 4}}
	state := []byte(`{"after":2,"dataset":"numbers","mode":"full"}`)
	for _, each := range []struct {
		selections []host.Selection
		part       []byte
		state      []byte
		says       string
	}{
		{nil, nil, nil, "select one dataset"},
		{[]host.Selection{{Name: "letters", Mode: "full"}}, nil, nil, `there is no dataset "letters", only numbers`},
		{selected("changes", ""), nil, nil, "it cannot be read in the mode changes"},
		{selected("incremental", "half"), nil, nil, `its cursor is "id"`},
		{selected("full", "", "size"), nil, nil, `there is no column "size"`},
		{selected("full", ""), nil, []byte("x"), "the state does not come from this source"},
		{selected("incremental", "id"), nil, state, "the state is of another dataset, mode or part"},
		{selected("full", ""), []byte("{}"), nil, "the part does not come from this source"},
	} {
		_, err := source.open(each.selections, each.part, each.state)
		if err == nil || !strings.Contains(err.Error(), each.says) {
			t.Errorf("%v, not %s", err, each.says)
		}
	}
	if _, _, err := source.read(1); err == nil {
		t.Error("nothing is open")
	}
}

func TestPartsAreReadAloneAndStatesAcknowledged(t *testing.T) {
	plugin := &countTo{last: 100}
	source := &sourceOf[int64]{plugin: plugin}
	parts, err := source.split(selected("full", ""), nil, 2)
	if err != nil || len(parts) != 2 {
		t.Fatal(parts, err)
	}
	if _, err := source.open(selected("full", ""), parts[0], nil); err != nil {
		t.Fatal(err)
	}
	_, state, err := source.read(10)
	if err != nil || string(state) != `{"after":2,"dataset":"numbers","mode":"full","part":2}` {
		t.Error(string(state), err)
	}
	if rows, _, err := source.read(10); rows != nil || err != nil {
		t.Error("the part has ended", err)
	}
	if err := source.acknowledge(state); err != nil || plugin.acknowledged != 2 {
		t.Error(plugin.acknowledged, err)
	}
	if count, err := source.estimate(selected("full", ""), nil, nil); count != 100 || err != nil {
		t.Error(count, err)
	}
}

// bounds has a rule for each way.
type bounds struct{}

func (bounds) Rules() []Rule {
	positive := NewRule("positive", Col("a").Gt(0))
	positive.Description, positive.Column = "a is above 0", "a"
	return []Rule{positive, {Name: "unused"}}
}

func TestValidatorCountsAndReports(t *testing.T) {
	report, err := validate(bounds{}, rows(t, "{\"a\":1}\n{\"a\":-1}\n{\"a\":null}"))
	if err != nil || report.RowsChecked != 3 || len(report.Violations) != 1 || report.Counts[0].Violations != 1 {
		t.Fatal(report, err)
	}
	if found := report.Violations[0]; found.Row != 1 || found.Message != "a is above 0" || found.Column != "a" {
		t.Errorf("%+v", found)
	}
}

// sink takes all.
type sink struct{ written int }

func (s *sink) Write(_ *Target, rows *Batch) ([]RejectedRow, error) {
	s.written += rows.Len()
	return nil, nil
}

func (s *sink) Finish([]byte) error { return nil }
func (s *sink) Abort() error        { return nil }

func TestDestinationWritesInTheModesThatItHas(t *testing.T) {
	plugin := &sink{}
	run := &writing{plugin: plugin}
	if _, err := run.open(Run{}, []Target{{Name: "a", Mode: Merge}}); host.AsError(err).Kind != host.Unsupported {
		t.Error(err)
	}
	if token, err := run.open(Run{}, []Target{{Name: "a", Mode: Append}}); token != nil || err != nil {
		t.Error(token, err)
	}
	if _, err := run.write(0, rows(t, "{\"a\":1}")); err != nil || plugin.written != 1 {
		t.Error(plugin.written, err)
	}
	if _, err := run.write(1, rows(t, "{\"a\":1}")); err == nil {
		t.Error("there is one target")
	}
	if isSafe, err := run.flush(nil); isSafe || err != nil {
		t.Error(isSafe, err)
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	for _, each := range []struct {
		err     error
		kind    ErrorKind
		message string
	}{
		{fmt.Errorf("field 7: %w", InvalidInput("too long")), host.InvalidInput, "field 7: too long"},
		{RateLimited(time.Second), host.RateLimited, "retry after 1s"},
		{errors.New("odd"), host.Internal, "odd"},
		{fmt.Errorf("x: %w", &DataError{Kind: host.NoSuchColumn, Message: "a"}), host.Data, "no-such-column: a"},
	} {
		if found := host.AsError(each.err); found.Kind != each.kind || found.Error() != each.message {
			t.Errorf("%v: %v", found.Kind, found)
		}
	}
}

func TestLoggerOfGoIsTheHosts(t *testing.T) {
	*twin.Host = *twin.New()
	slog.With("page", 1).WithGroup("request").Warn("slow", "ms", 250, slog.Group("to", "host", "a"))
	found := twin.Host.Events
	if len(found) != 1 || found[0].Message != "slow" || host.Level(found[0].Level) != host.Warn ||
		fmt.Sprint(found[0].Fields) != "map[page:1 request.ms:250 request.to.host:a]" {
		t.Errorf("%+v", found)
	}
}
