//go:build !wasip1

package dataflare

import (
	"encoding/json"
	"testing"
)

func read(t *testing.T, text string) *Record {
	t.Helper()
	var record Record
	if err := json.Unmarshal([]byte(text), &record); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return &record
}

func written(t *testing.T, record *Record) string {
	t.Helper()
	text, err := record.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRecordsKeepTheirOrderAndEveryDigit(t *testing.T) {
	for _, text := range []string{
		`{}`,
		`{"b":1,"a":9007199254740993,"c":1e400,"d":-0.0}`,
		`{"é\"":"\u0001\\ <&>","x":[1,{"y":null}],"":""}`,
	} {
		if found := written(t, read(t, text)); found != text {
			t.Errorf("%s became %s", text, found)
		}
	}
	if found := written(t, read(t, " { \"a\" : [ 1 , \"} ,\\\"\" ] , \"b\":{ } , \"a\" : 2 } ")); found != `{"a":2,"b":{}}` {
		t.Error(found)
	}
}

func TestFieldsAreReadByTheirTypes(t *testing.T) {
	record := read(t, `{"text":"a\u00e9","whole":7,"real":1.5,"yes":true,"nothing":null,"list":[1,2]}`)
	if text, ok := record.Text("text"); text != "aé" || !ok {
		t.Error(text, ok)
	}
	if whole, ok := record.Int("whole"); whole != 7 || !ok {
		t.Error(whole, ok)
	}
	if real, ok := record.Float("real"); real != 1.5 || !ok {
		t.Error(real, ok)
	}
	if yes, ok := record.Bool("yes"); !yes || !ok {
		t.Error(yes, ok)
	}
	for _, name := range []string{"nothing", "missing", "text"} {
		if _, ok := record.Int(name); ok {
			t.Errorf("%s is no number", name)
		}
	}
	var list []int
	if !record.Get("list", &list) || len(list) != 2 {
		t.Error(list)
	}
	if !record.IsNull("nothing") || !record.IsNull("missing") || record.Has("missing") || record.JSON("real") != "1.5" {
		t.Error(record)
	}
}

func TestFieldsAreChangedInPlace(t *testing.T) {
	record := read(t, `{"a":1,"b":2,"c":3}`)
	record.Set("b", "<")
	record.Set("d", nil)
	record.Delete("a")
	record.Rename("c", "e")
	record.Rename("missing", "f")
	record.Rename("e", "b")
	if found := written(t, record); found != `{"b":3,"d":null}` {
		t.Error(found)
	}
}

func TestWhatIsNoObjectIsRefused(t *testing.T) {
	for _, text := range []string{`[]`, `1`, `{`, `{"a":01}`, `{"a":1}}`, ``} {
		if json.Unmarshal([]byte(text), new(Record)) == nil {
			t.Errorf("%q was read", text)
		}
	}
}
