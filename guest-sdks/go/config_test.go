//go:build !wasip1

package dataflare

import (
	"strings"
	"testing"
)

type inner struct {
	Port uint16 `json:"port" default:"80"`
}

type settings struct {
	Name   string            `json:"name" doc:"The name."`
	Prefix string            `json:"prefix" default:""`
	Rows   int64             `json:"rows" default:"10"`
	Ratio  float64           `json:"ratio" default:"0.5"`
	Mode   string            `json:"mode" default:"fast" enum:"fast,exact"`
	Most   *int              `json:"most"`
	Tags   []string          `json:"tags" default:"[]"`
	Names  map[string]string `json:"names" default:"{}"`
	Inner  inner             `json:"inner" default:"{}"`
	Strict bool              `json:"strict" default:"false"`
}

func TestConfigurationIsReadWithDefaults(t *testing.T) {
	found, err := ParseConfig[settings](`{"name":"a","most":3,"tags":["x"],"inner":{"port":1},"names":{"k":"v"}}`)
	if err != nil {
		t.Fatal(err)
	}
	if found.Name != "a" || found.Prefix != "" || found.Rows != 10 || found.Ratio != 0.5 || found.Mode != "fast" || *found.Most != 3 ||
		found.Tags[0] != "x" || found.Inner.Port != 1 || found.Names["k"] != "v" || found.Strict {
		t.Errorf("%+v", found)
	}
	if found, err := ParseConfig[settings](`{"name":"a"}`); err != nil || found.Most != nil || found.Inner.Port != 80 {
		t.Errorf("%+v %v", found, err)
	}
}

func TestWrongConfigurationsAreRefusedWithTheKey(t *testing.T) {
	for text, wanted := range map[string]string{
		`{}`:                               "name: it is missing",
		`{"name":""}`:                      "name: give a text that is not empty",
		`{"name":1}`:                       "name: give a text that is not empty",
		`{"name":null}`:                    "name: give a text that is not empty",
		`{"name":"a","rows":1.5}`:          "rows: give a whole number",
		`{"name":"a","rows":"1"}`:          "rows: give a whole number",
		`{"name":"a","ratio":true}`:        "ratio: give a number",
		`{"name":"a","ratio":1e999}`:       "ratio: give a number",
		`{"name":"a","mode":"slow"}`:       "mode: give one of fast, exact",
		`{"name":"a","tags":["x",2]}`:      "tags[1]: give a text that is not empty",
		`{"name":"a","names":[]}`:          "names: give an object",
		`{"name":"a","names":{"k":1}}`:     "names.k: give a text that is not empty",
		`{"name":"a","inner":{"port":-1}}`: "inner.port: give a whole number that is at least 0",
		`{"name":"a","inner":{"pot":1}}`:   "inner.pot: there is no such option, there are port",
		`{"name":"a","strict":"yes"}`:      "strict: give true or false",
		`{"name":"a","row":1}`:             "row: there is no such option, there are name, prefix",
		`[]`:                               "the configuration: give an object",
		`{`:                                "the configuration: unexpected EOF",
	} {
		if _, err := ParseConfig[settings](text); err == nil || !strings.HasPrefix(err.Error(), wanted) {
			t.Errorf("%s: %v, not %s", text, err, wanted)
		}
	}
	if _, err := ParseConfig[NoConfig](`{"a":1}`); err == nil || err.Error() != "a: there is no such option, there are none" {
		t.Error(err)
	}
}

func TestSchemaDescribesTheConfiguration(t *testing.T) {
	type small struct {
		Name string  `json:"name" doc:"The <name>."`
		Rows uint    `json:"rows" default:"10"`
		Mode *string `json:"mode" enum:"a,b"`
	}
	wanted := `{"additionalProperties":false,"properties":{"mode":{"enum":["a","b"],"type":"string"},` +
		`"name":{"description":"The <name>.","minLength":1,"type":"string"},` +
		`"rows":{"default":10,"minimum":0,"type":"integer"}},"required":["name"],"type":"object"}`
	if found := schemaOf[small](); found != wanted {
		t.Error(found)
	}
}
