package main

import (
	"testing"

	"dataflare"
	"dataflare/dataflaretest"
	"dataflare/state"
)

func TestRowsAreVisibleWhenTheRunIsFinished(t *testing.T) {
	plugin := dataflaretest.Make(t, New, `{}`)
	target := &dataflare.Target{Name: "people", Mode: dataflare.Append}
	if _, err := plugin.Write(target, dataflaretest.Rows(t, `{"id":1,"name":"Ada"}`)); err != nil {
		t.Fatal(err)
	}
	var kept map[string]any
	if found, err := state.Load("people/1", &kept); found || err != nil {
		t.Error(found, err)
	}
	if err := plugin.Finish(nil); err != nil {
		t.Fatal(err)
	}
	if found, err := state.Load("people/1", &kept); !found || err != nil || kept["name"] != "Ada" {
		t.Error(kept, err)
	}
}
