package main

import (
	"testing"

	"dataflare/dataflaretest"
)

func TestRatioIsAdded(t *testing.T) {
	plugin := dataflaretest.Make(t, New, `{"of":"amount","to":"quantity"}`)
	changed, err := plugin.Transform(dataflaretest.Rows(t, `{"amount":3,"quantity":2}`))
	if err != nil {
		t.Fatal(err)
	}
	dataflaretest.Same(t, changed, `{"amount":3,"quantity":2,"ratio":1.5}`)
}
