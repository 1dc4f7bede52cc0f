package dataflare

import (
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"time"

	"dataflare/internal/host"
)

// mostPassed is after how many events a quiet dataset in a busy log gets a state: without rows, the host keeps the position.
const mostPassed = 65_536

// ChangeLog is a source of datasets with the mode [Changes]. S is a position in the log: anything that JSON can hold. A [Source] may
// be one too; export one that is no Source by [ExportChangeLog].
type ChangeLog[S any] interface {
	Discoverer
	// Changes gives what happened after a position, in order. The position is that of a [Commit]; nil stands for the beginning: the
	// rows that exist come first, as inserts.
	//
	// Every transaction ends with a Commit, and so do rows and new schemas outside of one. Of a log of several datasets, datasets
	// are those that are read; events of others may be left out. Where nothing more is there for now, it ends, or gives [Idle] to
	// go on from where it is. After an end and after an error, it is called anew with the position of the last Commit; the events
	// since then that were taken before have to come again, and do not count twice. If the changes after the position are gone,
	// give [InvalidState].
	Changes(position *S, datasets []Dataset) iter.Seq2[Event, error]
}

// Event is something that happened in a log: an [Insert], [Update], [Delete], [NewSchema], [Commit] or [Idle].
type Event interface{ isEvent() }

// Insert is a row that is new in a dataset.
type Insert struct {
	Dataset string
	// Row is anything that is a JSON object: a struct, a map, a [Record].
	Row any
}

// Update is a row as it is now.
type Update struct {
	Dataset string
	// Row has the values of all columns.
	Row any
	// OldKey has the values of the key's columns before, where they can have changed; else nil. If they did, the update becomes a
	// delete of the old key and an insert of the new one.
	OldKey any
}

// Delete is a row that is gone.
type Delete struct {
	Dataset string
	// Key has the values of the key's columns. Those of others do not count.
	Key any
}

// NewSchema is the columns of a dataset's rows that follow. Key and cursor stay those of the dataset.
type NewSchema struct {
	Dataset string
	Columns []Field
}

// Commit is the end of a transaction, and the position after it. Rows count only with it.
type Commit[S any] struct{ Position S }

// Idle is nothing to read for now; the log goes on from here when the host asks again.
type Idle struct {
	// RetryAfter says when; 0 for one second.
	RetryAfter time.Duration
}

func (_ Insert) isEvent()    {}
func (_ Update) isEvent()    {}
func (_ Delete) isEvent()    {}
func (_ NewSchema) isEvent() {}
func (_ Commit[S]) isEvent() {}
func (_ Idle) isEvent()      {}

func (i *Idle) milliseconds() uint32 {
	if i.RetryAfter == 0 {
		return 1000
	}
	return uint32(i.RetryAfter.Milliseconds())
}

// datasetOf is the dataset that an event is about, if it is about one.
func datasetOf(event Event) (name string, is bool) {
	switch event := event.(type) {
	case Insert:
		return event.Dataset, true
	case Update:
		return event.Dataset, true
	case Delete:
		return event.Dataset, true
	case NewSchema:
		return event.Dataset, true
	}
	return "", false
}

// operation is what an operation column says of a row.
type operation int

const (
	inserted operation = iota
	updated
	deleted
)

// loggedTable is a dataset that is read, and the columns that its rows have now.
type loggedTable[S any] struct {
	request   *Request[S]
	operation string
	schema    Schema
}

func (t *loggedTable[S]) begin(columns []Field) {
	dataset := &t.request.Dataset
	t.request.Schema = dataset.withRoles(columns)
	t.operation = "_operation"
	for t.request.Schema.Column(t.operation) != nil {
		t.operation += "_"
	}
	t.schema = Schema{}
	for _, field := range t.request.Schema.Fields {
		isKey := slices.Contains(dataset.Key, field.Name)
		if len(t.request.Columns) > 0 && !isKey && !slices.Contains(t.request.Columns, field.Name) {
			continue
		}
		// Rows that are deleted have the key alone.
		field.Nullable = field.Nullable || !isKey
		t.schema.Fields = append(t.schema.Fields, field)
	}
	role := []Pair{{Key: "dataflare.role", Value: "operation"}}
	t.schema.Fields = append(t.schema.Fields, Field{Name: t.operation, Type: "int8", Metadata: role})
}

// lines are the rows that say what happened, as JSON.
func (t *loggedTable[S]) lines(event Event) ([]string, error) {
	switch event := event.(type) {
	case Insert:
		row, err := t.whole(event.Row)
		return []string{t.line(row, inserted)}, err
	case Delete:
		key, err := t.key(event.Key)
		return []string{t.line(key, deleted)}, err
	case Update:
		return t.update(event)
	}
	return nil, nil
}

func (t *loggedTable[S]) update(event Update) ([]string, error) {
	row, err := t.whole(event.Row)
	if err != nil {
		return nil, err
	}
	for _, field := range t.schema.Fields {
		if field.Name != t.operation && !row.Has(field.Name) {
			return nil, t.wrong("an update lacks the column %q: it has the values of all columns", field.Name)
		}
	}
	if event.OldKey == nil {
		return []string{t.line(row, updated)}, nil
	}
	before, err := t.key(event.OldKey)
	if err != nil {
		return nil, err
	}
	isSame := func(member member) bool { return string(member.text) == row.JSON(member.name) }
	for _, each := range before.members {
		if !isSame(each) {
			return []string{t.line(before, deleted), t.line(row, inserted)}, nil
		}
	}
	return []string{t.line(row, updated)}, nil
}

// whole is a row whose columns are known, and that has a key.
func (t *loggedTable[S]) whole(row any) (Record, error) {
	record, err := t.record(row)
	if err != nil {
		return Record{}, err
	}
	for _, name := range record.Names() {
		if t.request.Schema.Column(name) == nil {
			return Record{}, t.wrong("the rows have a column %q, which its schema lacks: name it there, leave it out, or give a NewSchema first", name)
		}
	}
	_, err = t.key(row)
	return record, err
}

// key is the columns of the key, each with a value.
func (t *loggedTable[S]) key(row any) (Record, error) {
	record, err := t.record(row)
	if err != nil {
		return Record{}, err
	}
	var key Record
	for _, name := range t.request.Dataset.Key {
		if record.IsNull(name) {
			return Record{}, t.wrong("a change lacks the key column %q", name)
		}
		key.put(name, json.RawMessage(record.JSON(name)))
	}
	return key, nil
}

func (t *loggedTable[S]) record(row any) (Record, error) {
	var record Record
	text, err := json.Marshal(row)
	if err == nil {
		err = json.Unmarshal(text, &record)
	}
	if err != nil {
		return Record{}, t.wrong("a row is not a JSON object: %s", jsonProblem(err))
	}
	return record, nil
}

func (t *loggedTable[S]) line(row Record, operation operation) string {
	row.Set(t.operation, operation)
	return string(row.append(nil))
}

func (t *loggedTable[S]) wrong(format string, arguments ...any) error {
	return InvalidInput("dataset %q: "+format, append([]any{t.request.Dataset.Name}, arguments...)...)
}

// changeReading is a read of one log that is under way, of some of its datasets.
type changeReading[S any] struct {
	log    ChangeLog[S]
	tables []*loggedTable[S]
	// Where each dataset is among the selections; -1 for one that is not read.
	places   map[string]int
	position *S
	// The events that come next, unless they begin anew.
	next func() (Event, error, bool)
	stop func()
	// Events after the last commit: how many were taken, and how many of them come again.
	since, again int
	// Rows of one table that were not given yet, and how many of them the position covers.
	place, safe int
	rows        []string
	// What waits until these rows are given.
	held            Event
	givenSinceState bool
	passed          int
}

func newChangeReading[S any](plugin Discoverer, requests []*Request[S]) (*changeReading[S], error) {
	log, is := plugin.(ChangeLog[S])
	if !is {
		return nil, host.Errorf(host.Internal, "dataset %q: the source has no Changes", requests[0].Dataset.Name)
	}
	reading := &changeReading[S]{log: log, places: map[string]int{}, position: requests[0].State}
	for place, request := range requests {
		table := &loggedTable[S]{request: request}
		table.begin(request.Schema.Fields)
		reading.tables = append(reading.tables, table)
		reading.places[request.Dataset.Name] = place
	}
	return reading, nil
}

func (r *changeReading[S]) schemas() []Schema {
	schemas := make([]Schema, len(r.tables))
	for i, table := range r.tables {
		schemas[i] = table.schema
	}
	return schemas
}

// read gives what comes next: the log has no end.
func (r *changeReading[S]) read(maxRows int) (progress, error) {
	for {
		isFull := len(r.rows) >= maxRows
		event, err := r.take()
		if err != nil {
			return progress{}, err
		}
		place, err := r.placeOf(event)
		if err != nil {
			return progress{}, err
		}
		commit, isCommit := event.(Commit[S])
		idle, isIdle := event.(Idle)
		schema, isSchema := event.(NewSchema)
		isOfOthers := place >= 0 && (isSchema || place != r.place)
		// The commit of the last row that fits belongs to the chunk.
		if len(r.rows) > 0 && (isFull && !isCommit || isOfOthers || isIdle) {
			r.held = event
			return r.give(maxRows)
		}
		switch {
		case isIdle:
			pause := progress{idle: &idle}
			if r.position != nil && !r.givenSinceState {
				pause.state = r.state()
			}
			return pause, nil
		case isCommit:
			r.position, r.safe = &commit.Position, len(r.rows)
			if isFull || len(r.rows) == 0 && (r.givenSinceState || r.passed >= mostPassed) {
				return r.give(maxRows)
			}
		case place < 0:
			r.passed++
		case isSchema:
			table := r.tables[place]
			before := table.schema
			table.begin(schema.Columns)
			// Otherwise it is about columns that are not read.
			if !sameFields(table.schema, before) {
				r.givenSinceState = true
				return progress{selection: place, schema: &table.schema}, nil
			}
		default:
			lines, err := r.tables[place].lines(event)
			if err != nil {
				return progress{}, err
			}
			r.rows, r.place = append(r.rows, lines...), place
		}
	}
}

// give gives rows, up to the last commit if there is one among them.
func (r *changeReading[S]) give(maxRows int) (progress, error) {
	count := len(r.rows)
	if r.safe > 0 {
		count = r.safe
	}
	count = min(count, maxRows)
	isSafe := count == r.safe
	rows, err := FromJSONLines(strings.Join(r.rows[:count], "\n"), &r.tables[r.place].schema)
	r.rows, r.safe = slices.Clone(r.rows[count:]), max(r.safe-count, 0)
	r.givenSinceState, r.passed = !isSafe, 0
	given := progress{selection: r.place, rows: rows}
	if isSafe {
		given.state = r.state()
	}
	return given, err
}

func (r *changeReading[S]) take() (Event, error) {
	if event := r.held; event != nil {
		r.held = nil
		return event, nil
	}
	return r.pull()
}

// pull gives the next event that was not taken yet. After an error or an end, the log begins anew from its last commit.
func (r *changeReading[S]) pull() (Event, error) {
	if r.next == nil {
		r.again = r.since
		r.follow()
	}
	for {
		event, err, more := r.next()
		if err != nil {
			r.end()
			return nil, err
		}
		if !more {
			r.end()
			if r.again > 0 {
				return nil, InvalidState("the changes after the last commit are not those that were read before")
			}
			return Idle{}, nil
		}
		switch event.(type) {
		case Idle:
			return event, nil
		case Insert, Update, Delete, NewSchema, Commit[S]:
		default:
			return nil, host.Errorf(host.Internal, "Changes gave a %T, which is not an event with a position of %T", event, *new(S))
		}
		if r.again > 0 {
			r.again--
			continue
		}
		r.since++
		if _, is := event.(Commit[S]); is {
			r.since = 0
		}
		return event, nil
	}
}

func (r *changeReading[S]) follow() {
	datasets := make([]Dataset, len(r.tables))
	for i, table := range r.tables {
		datasets[i] = table.request.Dataset
	}
	r.next, r.stop = iter.Pull2(r.log.Changes(r.position, datasets))
}

func (r *changeReading[S]) end() {
	if r.stop != nil {
		r.stop()
	}
	r.next, r.stop = nil, nil
}

// placeOf is which selection an event's dataset is; -1 if it is not read.
func (r *changeReading[S]) placeOf(event Event) (int, error) {
	name, is := datasetOf(event)
	if !is {
		return -1, nil
	}
	place, known := r.places[name]
	if known {
		return place, nil
	}
	datasets, err := r.log.Datasets()
	if err != nil {
		return -1, err
	}
	if !slices.ContainsFunc(datasets, func(each Dataset) bool { return each.Name == name }) {
		return -1, InvalidInput("there is no dataset %q, only %s", name, listed(datasets))
	}
	r.places[name] = -1
	return -1, nil
}

func (r *changeReading[S]) state() []byte {
	requests := make([]*Request[S], len(r.tables))
	for i, table := range r.tables {
		requests[i] = table.request
	}
	return encodedChanges(requests, *r.position)
}
