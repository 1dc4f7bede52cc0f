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

// requestsOf checks what the host selects, against what there is: one dataset, or several of one log of changes.
func (s *sourceOf[S]) requestsOf(selections []host.Selection, part, state []byte) ([]*Request[S], error) {
	datasets, err := s.plugin.Datasets()
	if err != nil {
		return nil, err
	}
	requests := make([]*Request[S], len(selections))
	for i, selection := range selections {
		if requests[i], err = requestOf[S](datasets, selection); err != nil {
			return nil, err
		}
	}
	isOther := func(request *Request[S]) bool { return request.Mode != Changes }
	if len(requests) == 0 || len(requests) > 1 && slices.ContainsFunc(requests, isOther) {
		return nil, InvalidConfig("select one dataset: each has a state of its own, apart from those of a log of changes")
	}
	first := requests[0]
	if first.Mode == Changes {
		if part != nil {
			return nil, InvalidState("dataset %q: changes have no parts", first.Dataset.Name)
		}
		if state != nil {
			err = decodeChanges(requests, state)
		}
		return requests, err
	}
	if part != nil {
		if first.part, _, err = decoded(first, part, "part"); err != nil {
			return nil, err
		}
	}
	if state != nil {
		text, schema, err := decoded(first, state, "after")
		if err != nil {
			return nil, err
		}
		return requests, first.continueFrom(text, schema)
	}
	return requests, nil
}

func requestOf[S any](datasets []Dataset, selection host.Selection) (*Request[S], error) {
	at := slices.IndexFunc(datasets, func(each Dataset) bool { return each.Name == selection.Name && selection.Namespace == "" })
	if at < 0 {
		return nil, InvalidConfig("there is no dataset %q, only %s", selection.Name, listed(datasets))
	}
	dataset := datasets[at]
	if mode := Mode(selection.Mode); !dataset.hasMode(mode) {
		return nil, InvalidConfig("dataset %q: it cannot be read in the mode %s", dataset.Name, mode)
	} else if mode == Incremental && selection.Cursor != dataset.Cursor {
		return nil, InvalidConfig("dataset %q: its cursor is %q", dataset.Name, dataset.Cursor)
	}
	for _, name := range selection.Columns {
		if !slices.ContainsFunc(dataset.Columns, func(field Field) bool { return field.Name == name }) {
			return nil, InvalidConfig("dataset %q: there is no column %q", dataset.Name, name)
		}
	}
	return &Request[S]{Dataset: dataset, Mode: Mode(selection.Mode), Columns: selection.Columns, Schema: dataset.Schema()}, nil
}

func listed(datasets []Dataset) string {
	names := make([]string, len(datasets))
	for i, each := range datasets {
		names[i] = each.Name
	}
	return strings.Join(names, ", ")
}

// continueFrom takes the state that was written, and the schema with it, if there is one.
func (r *Request[S]) continueFrom(state, schema json.RawMessage) (err error) {
	if schema != nil {
		if r.Schema, err = savedSchema(r.Dataset.Name, schema); err != nil {
			return err
		}
	}
	r.State = new(S)
	if err := json.Unmarshal(state, r.State); err != nil {
		return InvalidState("dataset %q: the state does not come from this source: %s", r.Dataset.Name, jsonProblem(err))
	}
	return nil
}

// selected says which rows of a dataset a state or a part is of.
func (r *Request[S]) selected() map[string]any {
	said := map[string]any{"dataset": r.Dataset.Name}
	if len(r.Columns) > 0 {
		said["columns"] = slices.Sorted(slices.Values(r.Columns))
	}
	return said
}

// belonging says which read a state or a part is of.
func belonging[S any](request *Request[S]) map[string]any {
	said := request.selected()
	said["mode"] = request.Mode
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

// encodedChanges writes a state of a log of changes, with the datasets that are read and the columns of their next rows: what the
// datasets have now can come later in the log.
func encodedChanges[S any](requests []*Request[S], position S) []byte {
	datasets := make([]map[string]any, len(requests))
	for i, request := range requests {
		datasets[i] = request.selected()
		datasets[i]["schema"] = saved(request.Schema)
	}
	return marshalled(map[string]any{"datasets": datasets, "mode": Changes, "after": position})
}

// decodeChanges takes what encodedChanges wrote.
func decodeChanges[S any](requests []*Request[S], data []byte) error {
	names := make([]string, len(requests))
	selected := make([]map[string]any, len(requests))
	for i, request := range requests {
		names[i], selected[i] = strconv.Quote(request.Dataset.Name), request.selected()
	}
	wrong := func(what string) error {
		return InvalidState("dataset %s: the state %s", strings.Join(names, ", "), what)
	}
	var said struct {
		After    json.RawMessage
		Datasets []map[string]json.RawMessage
		Mode     Mode
	}
	if json.Unmarshal(data, &said) != nil || said.After == nil || said.Datasets == nil {
		return wrong("does not come from this source")
	}
	schemas := make([]json.RawMessage, len(said.Datasets))
	for i, each := range said.Datasets {
		schemas[i] = each["schema"]
		delete(each, "schema")
	}
	if said.Mode != Changes || !sameJSON(marshalled(said.Datasets), marshalled(selected)) {
		return wrong("is of other columns, or of other datasets or another mode")
	}
	for i, request := range requests {
		if err := request.continueFrom(said.After, schemas[i]); err != nil {
			return err
		}
	}
	return nil
}

// savedField is a column in a state.
type savedField struct {
	Metadata map[string]string `json:"metadata"`
	Name     *string           `json:"name"`
	Nullable *bool             `json:"nullable"`
	Type     *string           `json:"type"`
}

func saved(schema Schema) []savedField {
	found := make([]savedField, len(schema.Fields))
	for i := range schema.Fields {
		field := &schema.Fields[i]
		found[i] = savedField{map[string]string{}, &field.Name, &field.Nullable, &field.Type}
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
