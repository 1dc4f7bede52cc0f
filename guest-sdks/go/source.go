package dataflare

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"dataflare/internal/host"
)

// Mode says how a dataset is read.
type Mode string

// The modes.
const (
	// Full reads all rows.
	Full Mode = "full"
	// Incremental reads the rows after the state's cursor.
	Incremental Mode = "incremental"
)

// Dataset is something that a source can read.
type Dataset struct {
	Name        string
	Description string
	Columns     []Field
	// Key are the columns that identify a row.
	Key []string
	// Cursor is the column that rows are ordered by; with one, the dataset can be read incrementally.
	Cursor string
	// Splittable says that the source is a [Splitter] for it.
	Splittable bool
}

// Nullable makes a column that may hold nulls.
func Nullable(name, typeName string) Field {
	return Field{Name: name, Type: typeName, Nullable: true}
}

// Schema is the columns, with their roles in the metadata.
func (d *Dataset) Schema() Schema { return d.withRoles(d.Columns) }

// withRoles gives columns of the dataset's rows the roles of its key and its cursor.
func (d *Dataset) withRoles(columns []Field) Schema {
	var schema Schema
	for _, field := range columns {
		field.Metadata = slices.DeleteFunc(slices.Clone(field.Metadata), func(pair Pair) bool {
			return pair.Key == "dataflare.key" || pair.Key == "dataflare.role"
		})
		if at := slices.Index(d.Key, field.Name); at >= 0 {
			field.Metadata = append(field.Metadata, Pair{Key: "dataflare.key", Value: strconv.Itoa(at)})
		}
		if field.Name == d.Cursor {
			field.Metadata = append(field.Metadata, Pair{Key: "dataflare.role", Value: "cursor"})
		}
		// A state keeps it without an order.
		slices.SortFunc(field.Metadata, func(one, other Pair) int { return strings.Compare(one.Key, other.Key) })
		schema.Fields = append(schema.Fields, field)
	}
	return schema
}

// Request is a read that a source is asked for.
type Request[S any] struct {
	Dataset Dataset
	Mode    Mode
	// Columns are those that the host asks for; empty for all. Chunks may have more.
	Columns []string
	// State is that of the last chunk before; nil: read from the beginning.
	State *S
	// Schema is the columns that rows have after the state: the dataset's, or those that the last chunk with a schema had.
	Schema Schema
	// MaxRows are the most rows that the host takes at a time.
	MaxRows int
	part    json.RawMessage
}

// Part reads the part to read, as [Splitter] made it; false if all is to be read.
func (r *Request[S]) Part(into any) (bool, error) {
	if r.part == nil {
		return false, nil
	}
	if err := json.Unmarshal(r.part, into); err != nil {
		return false, InvalidState("dataset %q: the part: %s", r.Dataset.Name, jsonProblem(err))
	}
	return true, nil
}

// Chunk is rows, and the state from which a later read continues.
type Chunk[S any] struct {
	Rows  *Batch
	State S
	// Schema is the columns of these rows and of those that follow; nil: as before. Where they are others than before, the host is
	// told first. Key and cursor stay those of the dataset. Reads that continue after the chunk know them.
	Schema *Schema
}

// Source reads datasets. S is where a read came to: anything that JSON can hold.
//
// Read is called until it returns nil, each time with the state of the chunk before. A later read begins with the state of the
// last chunk that the host kept; and when a call fails, the host may make it again. Where the columns change, the first chunk with
// other ones has their schema.
type Source[S any] interface {
	// Datasets are what can be read.
	Datasets() ([]Dataset, error)
	// Read returns the next rows, at most request.MaxRows, and the state after them; nil at the end.
	Read(request *Request[S]) (*Chunk[S], error)
}

// Evolver is a [Source] whose older rows had other columns than the dataset has now.
type Evolver[S any] interface {
	// SchemaAt returns the columns of the rows after request.State. Without it, they are request.Schema.
	SchemaAt(request *Request[S]) (Schema, error)
}

// Splitter is a [Source] that divides reads.
type Splitter[S any] interface {
	// Split divides the rest of a read into at most this many parts that can be read at the same time, each anything that JSON
	// can hold.
	Split(request *Request[S], atMost int) ([]any, error)
}

// Estimator is a [Source] that knows how many rows a read has.
type Estimator[S any] interface {
	// Estimate returns the exact number; -1 where it is not known.
	Estimate(request *Request[S]) (int64, error)
}

// Acknowledger is a [Source] that takes note that all rows up to a state are safe.
type Acknowledger[S any] interface {
	Acknowledge(state S) error
}

// reading is a source with any state.
type reading interface {
	datasets() ([]Dataset, error)
	split(selections []host.Selection, state []byte, atMost int) ([][]byte, error)
	estimate(selections []host.Selection, part, state []byte) (int64, error)
	open(selections []host.Selection, part, state []byte) (Schema, error)
	read(maxRows int) (progress, error)
	acknowledge(state []byte) error
	close()
}

// progress is what comes next in a read: rows, with the state after them where there is a safe point, or the columns of the rows
// that follow; nothing of it at the end.
type progress struct {
	rows   *Batch
	state  []byte
	schema *Schema
}

type sourceOf[S any] struct {
	plugin Source[S]
	// The read that is under way, and the columns that are read, of those that rows have now.
	request *Request[S]
	schema  Schema
	// What the host was not given yet of a chunk.
	rest *progress
}

func (s *sourceOf[S]) datasets() ([]Dataset, error) { return s.plugin.Datasets() }

func (s *sourceOf[S]) split(selections []host.Selection, state []byte, atMost int) ([][]byte, error) {
	request, err := s.requestOf(selections, nil, state)
	if err != nil {
		return nil, err
	}
	splitter, is := s.plugin.(Splitter[S])
	if !is {
		return nil, Unsupported("dataset %q cannot be split", request.Dataset.Name)
	}
	parts, err := splitter.Split(request, atMost)
	if err != nil {
		return nil, err
	}
	found := make([][]byte, len(parts))
	for i, part := range parts {
		found[i] = encoded(request, "part", part)
	}
	return found, nil
}

func (s *sourceOf[S]) estimate(selections []host.Selection, part, state []byte) (int64, error) {
	request, err := s.requestOf(selections, part, state)
	if err != nil {
		return 0, err
	}
	if estimator, is := s.plugin.(Estimator[S]); is {
		return estimator.Estimate(request)
	}
	return -1, nil
}

func (s *sourceOf[S]) open(selections []host.Selection, part, state []byte) (Schema, error) {
	request, err := s.requestOf(selections, part, state)
	if err != nil {
		return Schema{}, err
	}
	if evolver, is := s.plugin.(Evolver[S]); is {
		schema, err := evolver.SchemaAt(request)
		if err != nil {
			return Schema{}, err
		}
		request.Schema = request.Dataset.withRoles(schema.Fields)
	}
	s.close()
	s.request, s.schema = request, request.chosen()
	return s.schema, nil
}

// chosen is those of the columns that are read.
func (r *Request[S]) chosen() Schema {
	if len(r.Columns) == 0 {
		return r.Schema
	}
	var schema Schema
	needed := slices.Concat(r.Columns, r.Dataset.Key, []string{r.Dataset.Cursor})
	for _, field := range r.Schema.Fields {
		if slices.Contains(needed, field.Name) {
			schema.Fields = append(schema.Fields, field)
		}
	}
	return schema
}

func (s *sourceOf[S]) close() {
	if s.rest != nil {
		s.rest.rows.Drop()
	}
	s.request, s.rest = nil, nil
}

func (s *sourceOf[S]) read(maxRows int) (progress, error) {
	if s.request == nil {
		return progress{}, Unsupported("no read is under way: `open` comes first")
	}
	next, err := s.next(maxRows)
	if err != nil || next.rows == nil || next.rows.Len() <= maxRows {
		return next, err
	}
	rest, err := next.rows.Slice(maxRows, next.rows.Len()-maxRows)
	if err != nil {
		return progress{}, err
	}
	rows, err := next.rows.Slice(0, maxRows)
	if err != nil {
		return progress{}, err
	}
	// What is held back keeps the state: before it, there is no safe point.
	s.hold(progress{rows: rest, state: next.state})
	return progress{rows: rows}, nil
}

// hold keeps rows for the next call.
func (s *sourceOf[S]) hold(rest progress) {
	rest.rows.Keep()
	s.rest = &rest
}

func (s *sourceOf[S]) next(maxRows int) (progress, error) {
	if rest := s.rest; rest != nil {
		s.rest = nil
		held = append(held, rest.rows)
		return *rest, nil
	}
	s.request.MaxRows = maxRows
	chunk, err := s.plugin.Read(s.request)
	if err != nil || chunk == nil {
		return progress{}, err
	}
	after := *s.request
	after.State = &chunk.State
	if chunk.Schema != nil {
		after.Schema = after.Dataset.withRoles(chunk.Schema.Fields)
	}
	schema := after.chosen()
	rows, err := fitting(&after, chunk.Rows, schema)
	if err != nil {
		return progress{}, err
	}
	next := progress{rows: rows, state: encoded(&after, "after", chunk.State)}
	s.request = &after
	// A change of columns that are not read is not news.
	if sameFields(schema, s.schema) {
		return next, nil
	}
	s.schema = schema
	s.hold(next)
	return progress{schema: &schema}, nil
}

func (s *sourceOf[S]) acknowledge(state []byte) error {
	acknowledger, is := s.plugin.(Acknowledger[S])
	if !is {
		return nil
	}
	var said struct{ After *S }
	if json.Unmarshal(state, &said) != nil || said.After == nil {
		return InvalidState("the acknowledged state does not come from this source")
	}
	return acknowledger.Acknowledge(*said.After)
}

// fitting gives rows the columns, types and metadata that a read promised.
func fitting[S any](request *Request[S], rows *Batch, promised Schema) (*Batch, error) {
	given := rows.Schema()
	if reflect.DeepEqual(given.Fields, promised.Fields) {
		return rows, nil
	}
	for _, field := range given.Fields {
		if request.Schema.Column(field.Name) == nil {
			return nil, InvalidInput("dataset %q: the rows have a column %q, which its schema lacks: name it there, leave it out, or give the chunk a schema",
				request.Dataset.Name, field.Name)
		}
	}
	names := make([]string, len(promised.Fields))
	for i, field := range promised.Fields {
		names[i] = field.Name
	}
	rows, err := rows.Select(names...)
	for _, field := range promised.Fields {
		have := given.Column(field.Name)
		if err == nil && have.Type != field.Type {
			rows, err = rows.Cast(field.Name, field.Type)
		}
		if err == nil && !slices.Equal(have.Metadata, field.Metadata) {
			rows, err = rows.WithMetadata(field.Name, field.Metadata...)
		}
	}
	return rows, err
}

func sameFields(one, other Schema) bool {
	return slices.EqualFunc(one.Fields, other.Fields, func(one, other Field) bool {
		return one.Name == other.Name && one.Type == other.Type && one.Nullable == other.Nullable &&
			slices.Equal(one.Metadata, other.Metadata)
	})
}

// requestOf checks what the host selects, against what there is.
func (s *sourceOf[S]) requestOf(selections []host.Selection, part, state []byte) (*Request[S], error) {
	if len(selections) != 1 {
		return nil, InvalidConfig("select one dataset: each has a state of its own")
	}
	selection := selections[0]
	datasets, err := s.plugin.Datasets()
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(datasets, func(each Dataset) bool { return each.Name == selection.Name && selection.Namespace == "" })
	if at < 0 {
		names := make([]string, len(datasets))
		for i, each := range datasets {
			names[i] = each.Name
		}
		return nil, InvalidConfig("there is no dataset %q, only %s", selection.Name, strings.Join(names, ", "))
	}
	dataset := datasets[at]
	if err := checkMode(&dataset, selection.Mode, selection.Cursor); err != nil {
		return nil, err
	}
	for _, name := range selection.Columns {
		if !slices.ContainsFunc(dataset.Columns, func(field Field) bool { return field.Name == name }) {
			return nil, InvalidConfig("dataset %q: there is no column %q", dataset.Name, name)
		}
	}
	request := &Request[S]{Dataset: dataset, Mode: Mode(selection.Mode), Columns: selection.Columns, Schema: dataset.Schema()}
	if part != nil {
		if request.part, _, err = decoded(request, part, "part"); err != nil {
			return nil, err
		}
	}
	if state != nil {
		text, schema, err := decoded(request, state, "after")
		if err != nil {
			return nil, err
		}
		if schema != nil {
			if request.Schema, err = savedSchema(dataset.Name, schema); err != nil {
				return nil, err
			}
		}
		request.State = new(S)
		if err := json.Unmarshal(text, request.State); err != nil {
			return nil, InvalidState("dataset %q: the state does not come from this source: %s", dataset.Name, jsonProblem(err))
		}
	}
	return request, nil
}

func checkMode(dataset *Dataset, mode, cursor string) error {
	switch {
	case mode == string(Full):
		return nil
	case mode != string(Incremental) || dataset.Cursor == "":
		return InvalidConfig("dataset %q: it cannot be read in the mode %s", dataset.Name, mode)
	case cursor != dataset.Cursor:
		return InvalidConfig("dataset %q: its cursor is %q", dataset.Name, dataset.Cursor)
	}
	return nil
}

// belonging says which read a state or a part is of.
func belonging[S any](request *Request[S]) map[string]any {
	said := map[string]any{"dataset": request.Dataset.Name, "mode": request.Mode}
	if len(request.Columns) > 0 {
		said["columns"] = slices.Sorted(slices.Values(request.Columns))
	}
	if request.part != nil {
		said["part"] = request.part
	}
	return said
}

// encoded writes a state ("after", with the schema of the rows that follow where the dataset has another one) or a part ("part"),
// with the read that it belongs to.
func encoded[S any](request *Request[S], key string, value any) []byte {
	said := belonging(request)
	said[key] = value
	if key == "after" && !sameFields(request.Schema, request.Dataset.Schema()) {
		said["schema"] = saved(request.Schema)
	}
	return marshalled(said)
}

// decoded reads what encoded wrote: the value, and the schema if there is one.
func decoded[S any](request *Request[S], data []byte, key string) (value, schema json.RawMessage, err error) {
	what := map[string]string{"after": "state", "part": "part"}[key]
	var said map[string]json.RawMessage
	if json.Unmarshal(data, &said) != nil || said[key] == nil {
		return nil, nil, InvalidState("dataset %q: the %s does not come from this source", request.Dataset.Name, what)
	}
	value, schema = said[key], said["schema"]
	delete(said, key)
	delete(said, "schema")
	if !sameJSON(marshalled(said), marshalled(belonging(request))) {
		return nil, nil, InvalidState("dataset %q: the %s is of other columns, or of another dataset, mode or part", request.Dataset.Name, what)
	}
	return value, schema, nil
}

// savedField is a column in a state.
type savedField struct {
	Name     *string           `json:"name"`
	Type     *string           `json:"type"`
	Nullable *bool             `json:"nullable"`
	Metadata map[string]string `json:"metadata"`
}

func saved(schema Schema) []savedField {
	found := make([]savedField, len(schema.Fields))
	for i := range schema.Fields {
		field := &schema.Fields[i]
		found[i] = savedField{&field.Name, &field.Type, &field.Nullable, map[string]string{}}
		for _, pair := range field.Metadata {
			found[i].Metadata[pair.Key] = pair.Value
		}
	}
	return found
}

func savedSchema(dataset string, text json.RawMessage) (Schema, error) {
	var columns []savedField
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&columns); err != nil {
		return Schema{}, InvalidState("dataset %q: the state does not come from this source: %s", dataset, jsonProblem(err))
	}
	var schema Schema
	for _, each := range columns {
		if each.Name == nil || each.Type == nil || each.Nullable == nil || each.Metadata == nil {
			return Schema{}, InvalidState("dataset %q: the state does not come from this source: a column of its schema is damaged", dataset)
		}
		field := Field{Name: *each.Name, Type: *each.Type, Nullable: *each.Nullable}
		for _, key := range slices.Sorted(maps.Keys(each.Metadata)) {
			field.Metadata = append(field.Metadata, Pair{Key: key, Value: each.Metadata[key]})
		}
		schema.Fields = append(schema.Fields, field)
	}
	return schema, nil
}

func sameJSON(one, other []byte) bool {
	var first, second any
	return json.Unmarshal(one, &first) == nil && json.Unmarshal(other, &second) == nil && reflect.DeepEqual(first, second)
}
