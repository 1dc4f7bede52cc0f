package dataflare

import (
	"encoding/json"
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
func (d *Dataset) Schema() Schema {
	var schema Schema
	for _, field := range d.Columns {
		field.Metadata = slices.Clone(field.Metadata)
		if at := slices.Index(d.Key, field.Name); at >= 0 {
			field.Metadata = append(field.Metadata, Pair{Key: "dataflare.key", Value: strconv.Itoa(at)})
		}
		if field.Name == d.Cursor {
			field.Metadata = append(field.Metadata, Pair{Key: "dataflare.role", Value: "cursor"})
		}
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
		return false, InvalidState("the part: %s", jsonProblem(err))
	}
	return true, nil
}

// Chunk is rows, and the state from which a later read continues.
type Chunk[S any] struct {
	Rows  *Batch
	State S
}

// Source reads datasets. S is where a read came to: anything that JSON can hold.
//
// Read is called until it returns nil, each time with the state of the chunk before. A later read begins with the state of the
// last chunk that the host kept; and when a call fails, the host may make it again.
type Source[S any] interface {
	// Datasets are what can be read.
	Datasets() ([]Dataset, error)
	// Read returns the next rows, at most request.MaxRows, and the state after them; nil at the end.
	Read(request *Request[S]) (*Chunk[S], error)
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
	read(maxRows int) (rows *Batch, state []byte, err error)
	acknowledge(state []byte) error
	close()
}

type sourceOf[S any] struct {
	plugin Source[S]
	// The read that is under way, and what it promised.
	request *Request[S]
	schema  Schema
	// What a chunk had more than the host takes at a time, with the state after it.
	rest      *Batch
	restState []byte
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
	s.close()
	s.request, s.schema = request, request.Dataset.Schema()
	if len(request.Columns) > 0 {
		needed := slices.Concat(request.Columns, request.Dataset.Key, []string{request.Dataset.Cursor})
		s.schema.Fields = slices.DeleteFunc(s.schema.Fields, func(field Field) bool { return !slices.Contains(needed, field.Name) })
	}
	return s.schema, nil
}

func (s *sourceOf[S]) close() {
	if s.rest != nil {
		s.rest.Drop()
	}
	s.request, s.rest, s.restState = nil, nil, nil
}

// read gives the next rows, and the state after them; no rows at the end, no state where there is no safe point.
func (s *sourceOf[S]) read(maxRows int) (*Batch, []byte, error) {
	if s.request == nil {
		return nil, nil, Unsupported("no read is under way: `open` comes first")
	}
	rows, state, err := s.next(maxRows)
	if err != nil || rows == nil || rows.Len() <= maxRows {
		return rows, state, err
	}
	rest, err := rows.Slice(maxRows, rows.Len()-maxRows)
	if err != nil {
		return nil, nil, err
	}
	if rows, err = rows.Slice(0, maxRows); err != nil {
		return nil, nil, err
	}
	// What is held back keeps the state: before it, there is no safe point.
	rest.Keep()
	s.rest, s.restState = rest, state
	return rows, nil, nil
}

func (s *sourceOf[S]) next(maxRows int) (*Batch, []byte, error) {
	if rows, state := s.rest, s.restState; rows != nil {
		s.rest, s.restState = nil, nil
		held = append(held, rows)
		return rows, state, nil
	}
	s.request.MaxRows = maxRows
	chunk, err := s.plugin.Read(s.request)
	if err != nil || chunk == nil {
		return nil, nil, err
	}
	rows, err := fitting(chunk.Rows, s.schema)
	if err != nil {
		return nil, nil, err
	}
	state := encoded(s.request, "after", chunk.State)
	s.request.State = &chunk.State
	return rows, state, nil
}

func (s *sourceOf[S]) acknowledge(state []byte) error {
	acknowledger, is := s.plugin.(Acknowledger[S])
	if !is {
		return nil
	}
	var said struct{ After *S }
	if json.Unmarshal(state, &said) != nil || said.After == nil {
		return InvalidState("the state does not come from this source")
	}
	return acknowledger.Acknowledge(*said.After)
}

// fitting gives rows the columns, types and metadata that a read promised.
func fitting(rows *Batch, promised Schema) (*Batch, error) {
	given := rows.Schema()
	if reflect.DeepEqual(given.Fields, promised.Fields) {
		return rows, nil
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
	request := &Request[S]{Dataset: dataset, Mode: Mode(selection.Mode), Columns: selection.Columns}
	if part != nil {
		if request.part, err = decoded(request, part, "part"); err != nil {
			return nil, err
		}
	}
	if state != nil {
		text, err := decoded(request, state, "after")
		if err != nil {
			return nil, err
		}
		request.State = new(S)
		if err := json.Unmarshal(text, request.State); err != nil {
			return nil, InvalidState("the state does not come from this source: %s", jsonProblem(err))
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
	if request.part != nil {
		said["part"] = request.part
	}
	return said
}

// encoded writes a state ("after") or a part ("part"), with the read that it belongs to.
func encoded[S any](request *Request[S], key string, value any) []byte {
	said := belonging(request)
	said[key] = value
	return marshalled(said)
}

func decoded[S any](request *Request[S], data []byte, key string) (json.RawMessage, error) {
	what := map[string]string{"after": "state", "part": "part"}[key]
	var said map[string]json.RawMessage
	if json.Unmarshal(data, &said) != nil || said[key] == nil {
		return nil, InvalidState("the %s does not come from this source", what)
	}
	found := said[key]
	delete(said, key)
	if !sameJSON(marshalled(said), marshalled(belonging(request))) {
		return nil, InvalidState("the %s is of another dataset, mode or part", what)
	}
	return found, nil
}

func sameJSON(one, other []byte) bool {
	var first, second any
	return json.Unmarshal(one, &first) == nil && json.Unmarshal(other, &second) == nil && reflect.DeepEqual(first, second)
}
