package main

import (
	"testing"

	"dataflare/dataflaretest"
)

func TestWhiteSpaceAtTheEndsGoes(t *testing.T) {
	plugin := dataflaretest.Make(t, New, `{}`)
	found := dataflaretest.Process(t, plugin, `{"id":1,"name":" Ada "}`)
	if found != `{"id":1,"name":"Ada"}` {
		t.Error(found)
	}
}

func TestRecordWithoutNameIsDropped(t *testing.T) {
	plugin := dataflaretest.Make(t, New, `{}`)
	if found := dataflaretest.Process(t, plugin, `{"id":2,"name":"  "}`); found != "" {
		t.Error(found)
	}
}
