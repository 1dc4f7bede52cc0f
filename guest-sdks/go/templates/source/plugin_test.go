package main

import (
	"testing"

	"dataflare/dataflaretest"
)

func TestAllRowsAreReadInChunksOfAnySize(t *testing.T) {
	for _, most := range []int{1, 2, 100} {
		plugin := dataflaretest.Make(t, New, `{"rows":2}`)
		rows := dataflaretest.ReadAll(t, plugin, "numbers", most)
		dataflaretest.Same(t, rows, `{"id":0,"square":0}`, `{"id":1,"square":1}`)
	}
}
