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
	// Changes reads inserts, updates and deletes, in the order in which they happened: see [ChangeLog].
	Changes Mode = "changes"
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
	// Modes are how it can be read; empty for [Full] and, with a cursor, [Incremental].
	Modes []Mode
}

func (d *Dataset) hasMode(mode Mode) bool {
	if mode == Incremental && d.Cursor == "" {
		return false
	}
	return slices.Contains(d.Modes, mode) || len(d.Modes) == 0 && mode != Changes
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

// Discoverer knows what can be read.
type Discoverer interface {
	// Datasets are what can be read.
	Datasets() ([]Dataset, error)
}

// Source reads datasets. S is where a read came to: anything that JSON can hold.
//
// Read is called until it returns nil, each time with the state of the chunk before. A later read begins with the state of the
// last chunk that the host kept; and when a call fails, the host may make it again. Where the columns change, the first chunk with
// other ones has their schema.
type Source[S any] interface {
	Discoverer
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
	open(selections []host.Selection, part, state []byte) ([]Schema, error)
	read(maxRows int) (progress, error)
	acknowledge(state []byte) error
	close()
}

// progress is what comes next in a read: rows of a selection, with the state after them where there is a safe point, the columns of
// the rows that follow, or a pause; nothing of it at the end.
type progress struct {
	selection int
	rows      *Batch
	state     []byte
	schema    *Schema
	idle      *Idle
}

type sourceOf[S any] struct {
	plugin Discoverer
	// The read of a log that is under way.
	log *changeReading[S]
	// The read of a dataset that is under way, and the columns that are read, of those that rows have now.
	request *Request[S]
	schema  Schema
	// What the host was not given yet of a chunk.
	rest *progress
}

func (s *sourceOf[S]) datasets() ([]Dataset, error) { return s.plugin.Datasets() }

func (s *sourceOf[S]) split(selections []host.Selection, state []byte, atMost int) ([][]byte, error) {
	requests, err := s.requestsOf(selections, nil, state)
	if err != nil {
		return nil, err
	}
	request := requests[0]
	if request.Mode == Changes {
		return nil, Unsupported("dataset %q: changes have one order, and no parts", request.Dataset.Name)
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
	requests, err := s.requestsOf(selections, part, state)
	if err != nil {
		return 0, err
	}
	if estimator, is := s.plugin.(Estimator[S]); is && requests[0].Mode != Changes {
		return estimator.Estimate(requests[0])
	}
	return -1, nil
}

func (s *sourceOf[S]) open(selections []host.Selection, part, state []byte) ([]Schema, error) {
	requests, err := s.requestsOf(selections, part, state)
	if err != nil {
		return nil, err
	}
	for _, request := range requests {
		evolver, is := s.plugin.(Evolver[S])
		if !is {
			break
		}
		schema, err := evolver.SchemaAt(request)
		if err != nil {
			return nil, err
		}
		request.Schema = request.Dataset.withRoles(schema.Fields)
	}
	s.close()
	if requests[0].Mode == Changes {
		s.log, err = newChangeReading(s.plugin, requests)
		if err != nil {
			return nil, err
		}
		return s.log.schemas(), nil
	}
	s.request, s.schema = requests[0], requests[0].chosen()
	return []Schema{s.schema}, nil
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
	if s.log != nil {
		s.log.end()
	}
	s.log, s.request, s.rest = nil, nil, nil
}

func (s *sourceOf[S]) read(maxRows int) (progress, error) {
	if s.log != nil {
		return s.log.read(maxRows)
	}
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
	source, is := s.plugin.(Source[S])
	if !is {
		return progress{}, host.Errorf(host.Internal, "dataset %q: the source has no Read", s.request.Dataset.Name)
	}
	s.request.MaxRows = maxRows
	chunk, err := source.Read(s.request)
	if err != nil {
		return progress{}, err
	}
	if chunk == nil {
		return s.request.end(), nil
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

// end is what follows the last row: of a dataset that is unbounded, an incremental read has no end either.
func (r *Request[S]) end() progress {
	if r.Mode == Full || !r.Dataset.hasMode(Changes) {
		return progress{}
	}
	pause := progress{idle: &Idle{}}
	if r.State != nil {
		pause.state = encoded(r, "after", *r.State)
	}
	return pause
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
