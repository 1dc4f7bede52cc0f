//go:build !wasip1

package dataflare

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	schemas, err := source.open(selected("full", "", "id"), nil, nil)
	if err != nil || len(schemas[0].Fields) != 1 || schemas[0].Fields[0].Metadata[1].Value != "cursor" {
		t.Fatal(schemas[0], err)
	}
	first, err := source.read(1)
	if text := lines(t, first.rows, err); text != "{\"id\":0}\n" || first.state != nil {
		t.Error(text, string(first.state))
	}
	second, err := source.read(1)
	if text := lines(t, second.rows, err); text != "{\"id\":1}\n" || string(second.state) != `{"after":2,"columns":["id"],"dataset":"numbers","mode":"full"}` {
		t.Error(text, string(second.state))
	}
	other := &sourceOf[int64]{plugin: &countTo{last: 4}}
	if _, err := other.open(selected("full", ""), nil, second.state); err == nil || !strings.Contains(err.Error(), `dataset "numbers": the state is of other columns`) {
		t.Error(err)
	}
	if _, err := other.open(selected("full", "", "id"), nil, second.state); err != nil {
		t.Fatal(err)
	}
	rest, err := other.read(10)
	if text := lines(t, rest.rows, err); text != "{\"id\":2}\n{\"id\":3}\n" {
		t.Error(text)
	}
	if end, err := other.read(10); end.rows != nil || err != nil {
		t.Error(end, err)
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
		{selected("incremental", "id"), nil, state, "the state is of other columns, or of another dataset, mode or part"},
		{selected("full", ""), []byte("{}"), nil, "the part does not come from this source"},
	} {
		_, err := source.open(each.selections, each.part, each.state)
		if err == nil || !strings.Contains(err.Error(), each.says) {
			t.Errorf("%v, not %s", err, each.says)
		}
	}
	if _, err := source.read(1); err == nil {
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
	last, err := source.read(10)
	if err != nil || string(last.state) != `{"after":2,"dataset":"numbers","mode":"full","part":2}` {
		t.Error(string(last.state), err)
	}
	if end, err := source.read(10); end.rows != nil || err != nil {
		t.Error("the part has ended", err)
	}
	if err := source.acknowledge(last.state); err != nil || plugin.acknowledged != 2 {
		t.Error(plugin.acknowledged, err)
	}
	if count, err := source.estimate(selected("full", ""), nil, nil); count != 100 || err != nil {
		t.Error(count, err)
	}
}

// growing has a column more from the third row on.
type growing struct{ knew []int }

func (g *growing) Datasets() ([]Dataset, error) {
	return []Dataset{{Name: "numbers", Columns: []Field{Nullable("id", "int64"), Nullable("name", "string")}, Key: []string{"id"}}}, nil
}

func (g *growing) Read(request *Request[int64]) (*Chunk[int64], error) {
	at := int64(0)
	if request.State != nil {
		at = *request.State
	}
	if at == 4 {
		return nil, nil
	}
	g.knew = append(g.knew, len(request.Schema.Fields))
	values := []Named{{"id", []int64{at}}, {"name", []string{"n"}}}
	var schema *Schema
	if at >= 2 {
		values = append(values, Named{"age", []int64{at}})
		schema = &Schema{Fields: []Field{Nullable("id", "int64"), Nullable("name", "string"), Nullable("age", "int32")}}
	}
	rows, err := NewBatch(values...)
	return &Chunk[int64]{Rows: rows, State: at + 1, Schema: schema}, err
}

// readToEnd gives what comes, and the last state.
func readToEnd(t *testing.T, plugin Source[int64], state []byte, columns ...string) (found []string, last []byte) {
	t.Helper()
	source := &sourceOf[int64]{plugin: plugin}
	schemas, err := source.open(selected("full", "", columns...), nil, state)
	if err != nil {
		t.Fatal(err)
	}
	for next := (progress{schema: &schemas[0]}); next.schema != nil || next.rows != nil; next, err = source.read(10) {
		if err != nil {
			t.Fatal(err)
		}
		if next.rows != nil {
			found = append(found, strings.TrimSpace(lines(t, next.rows, nil)))
			last = next.state
			continue
		}
		var names []string
		for _, field := range next.schema.Fields {
			names = append(names, field.Name+" "+field.Type)
		}
		found = append(found, strings.Join(names, ", "))
	}
	if err != nil {
		t.Fatal(err)
	}
	return found, last
}

func TestNewSchemaComesBeforeItsRowsAndStatesAfterItKnowIt(t *testing.T) {
	plugin := &growing{}
	found, last := readToEnd(t, plugin, nil)
	wanted := []string{
		"id int64, name string", `{"id":0,"name":"n"}`, `{"id":1,"name":"n"}`,
		"id int64, name string, age int32", `{"id":2,"name":"n","age":2}`, `{"id":3,"name":"n","age":3}`,
	}
	if !slices.Equal(found, wanted) || !slices.Equal(plugin.knew, []int{2, 2, 2, 3}) {
		t.Error(found, plugin.knew)
	}
	rest, _ := readToEnd(t, plugin, []byte(`{"after":2,"dataset":"numbers","mode":"full"}`))
	if !slices.Equal(rest[1:], wanted[3:]) {
		t.Error("the change comes again", rest)
	}
	if rest, _ = readToEnd(t, plugin, last); !slices.Equal(rest, wanted[3:4]) {
		t.Error(rest)
	}
	if found, _ = readToEnd(t, plugin, nil, "name"); len(found) != 5 || found[4] != `{"id":3,"name":"n"}` {
		t.Error("columns that are not read are no news", found)
	}
}

func TestStateWhoseColumnsAreDamagedIsRefused(t *testing.T) {
	for _, schema := range []string{`[{"name":"id"}]`, `[{"name":1,"type":"a"}]`, `{}`, `3`, `[{"name":"a","type":"b","nullable":true,"metadata":{},"x":1}]`} {
		source := &sourceOf[int64]{plugin: &growing{}}
		state := fmt.Sprintf(`{"after":2,"dataset":"numbers","mode":"full","schema":%s}`, schema)
		if _, err := source.open(selected("full", ""), nil, []byte(state)); host.AsError(err).Kind != host.InvalidState {
			t.Error(schema, err)
		}
	}
}

// shrunk describes what its rows have now, and says what they had before.
type shrunk struct{ growing }

func (s *shrunk) Datasets() ([]Dataset, error) {
	datasets, err := s.growing.Datasets()
	datasets[0].Columns = append(datasets[0].Columns, Nullable("age", "int32"))
	return datasets, err
}

func (s *shrunk) SchemaAt(request *Request[int64]) (Schema, error) {
	if request.State == nil || *request.State <= 2 {
		return Schema{Fields: request.Schema.Fields[:2]}, nil
	}
	return request.Schema, nil
}

func TestSourceSaysWhichColumnsItsOlderRowsHad(t *testing.T) {
	found, last := readToEnd(t, &shrunk{}, nil)
	if len(found) != 6 || found[0] != "id int64, name string" || found[3] != "id int64, name string, age int32" {
		t.Error(found)
	}
	if string(last) != `{"after":4,"dataset":"numbers","mode":"full"}` {
		t.Error("the dataset says it: ", string(last))
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

// noting can add columns, and takes note of them.
type noting struct {
	sink
	noted Schema
}

func (n *noting) Abilities() Abilities { return CanAppend | CanAddColumns }

func (n *noting) ChangeSchema(_ *Target, schema Schema) error {
	n.noted = schema
	return nil
}

func TestChangeOfColumnsIsRefusedWithoutTheAbilityForIt(t *testing.T) {
	first := Schema{Fields: []Field{{Name: "id", Type: "int32"}}}
	wider := Schema{Fields: []Field{{Name: "id", Type: "int64"}}}
	more := Schema{Fields: []Field{{Name: "id", Type: "int32"}, {Name: "b", Type: "string"}}}
	plugin := &noting{}
	for _, each := range []struct {
		to      *writing
		schema  Schema
		message string
	}{
		{&writing{plugin: &sink{}}, more, `dataset "a": column "b" cannot be added`},
		{&writing{plugin: &sink{}}, first, ""},
		{&writing{plugin: plugin}, wider, `dataset "a": column "id" cannot be int64`},
		{&writing{plugin: plugin}, more, ""},
	} {
		if _, err := each.to.open(Run{}, []Target{{Name: "a", Schema: first, Mode: Append}}); err != nil {
			t.Fatal(err)
		}
		err := each.to.changeSchema(0, each.schema)
		if (err == nil) != (each.message == "") || err != nil && (host.AsError(err).Kind != host.Unsupported || err.Error() != each.message) {
			t.Errorf("%v, and should be %q", err, each.message)
		}
	}
	if len(plugin.noted.Fields) != 2 {
		t.Error(plugin.noted)
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
