//go:build !wasip1

package dataflare

import (
	"reflect"
	"strings"
	"testing"
)

type flight struct {
	ID    int32    `json:"id"`
	Miles float64  `json:"miles"`
	From  string   `json:"from"`
	Late  *int64   `json:"late"`
	Note  *string  `json:"note"`
	Speed *float64 `json:"speed"`
	Far   bool     `json:"far"`
}

// dated is the same, but has a field that JSON alone can fill.
type dated struct {
	flight
	Tags []string `json:"tags,omitempty"`
}

// judges drops flights without an origin, and changes others.
type judges struct{}

func (judges) Process(record *flight) (*flight, error) {
	switch record.From {
	case "":
		return nil, nil
	case "?":
		return nil, InvalidInput("no origin")
	}
	record.Far = record.Miles > 100
	if record.Late != nil {
		speed := record.Miles / float64(*record.Late)
		record.Speed = &speed
	}
	return record, nil
}

func (judges) byJSON() *processorOf[dated, dated] { return &processorOf[dated, dated]{judgesDated{}} }

type judgesDated struct{}

func (judgesDated) Process(record *dated) (*dated, error) {
	changed, err := judges{}.Process(&record.flight)
	if changed == nil {
		return nil, err
	}
	return record, err
}

const flights = `{"id":1,"miles":250,"from":"SFO","late":5,"note":"a","more":1}
{"id":2,"miles":50.5,"from":"é","late":null,"note":null,"more":2}
{"id":3,"miles":1,"from":null,"late":1,"note":"","more":3}
{"id":4,"miles":2,"from":"LAX","late":-2,"note":"","more":null}`

func TestTypedRecordsAreWhatJSONGives(t *testing.T) {
	if _, isTyped := readTyped[flight](rows(t, flights)); !isTyped {
		t.Fatal("the record is typed")
	}
	if _, isTyped := readTyped[dated](rows(t, flights)); isTyped {
		t.Fatal("the record is not typed")
	}
	typed, err := (&processorOf[flight, flight]{judges{}}).processBatch(rows(t, flights))
	found := lines(t, typed, err)
	other, err := judges{}.byJSON().processBatch(rows(t, flights))
	if wanted := lines(t, other, err); found != wanted || strings.Count(found, "\n") != 3 {
		t.Errorf("%s\nnot\n%s", found, wanted)
	}
	if kind := typed.Schema().Fields[0]; kind.Name != "id" || kind.Type != "int64" {
		t.Error(kind)
	}
}

func TestWholeNumbersThatAreReadAsFloatsStayWhole(t *testing.T) {
	given := rows(t, `{"id":1,"miles":250,"from":"SFO"}`)
	typed, err := (&processorOf[flight, flight]{judges{}}).processBatch(given)
	if err != nil {
		t.Fatal(err)
	}
	schema := typed.Schema()
	if kind := schema.Column("miles").Type; kind != "int64" {
		t.Error(kind)
	}
}

func TestErrorsOfTypedRecordsNameTheRow(t *testing.T) {
	plugin := &processorOf[flight, flight]{judges{}}
	for text, wanted := range map[string]string{
		`{"from":"a"}` + "\n" + `{"from":"?"}`:             "row 1: no origin",
		`{"id":1,"from":"a"}` + "\n" + `{"id":4294967296}`: "row 1: the record: id: it is a number 4294967296, not int32",
		`{"from":1}`:             "row 0: the record: from: it is a number, not string",
		`{"miles":"far"}`:        "row 0: the record: miles: it is a string, not float64",
		`{"far":[1],"from":"a"}`: "row 0: the record: far: it is a array, not bool",
	} {
		if _, err := plugin.processBatch(rows(t, text)); err == nil || err.Error() != wanted {
			t.Errorf("%v, not %s", err, wanted)
		}
	}
}

func TestTypedRecordsAreReadFromAnyRows(t *testing.T) {
	for text, wanted := range map[string][]flight{
		"":                                 {},
		`{"miles":7,"other":1}`:            {{Miles: 7}},
		`{"from":"a","late":9}`:            {{From: "a", Late: new(int64)}},
		`{"FROM":"a"}`:                     {{From: "a"}},
		`{"far":true}` + "\n" + `{"id":2}`: {{Far: true}, {ID: 2}},
	} {
		for i := range wanted {
			if wanted[i].Late != nil {
				*wanted[i].Late = 9
			}
		}
		if found, err := Records[flight](rows(t, text)); err != nil || !reflect.DeepEqual(found, wanted) {
			t.Errorf("%+v %v, not %+v", found, err, wanted)
		}
	}
}
