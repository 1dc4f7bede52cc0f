//go:build wasip1

// Package stdio has what is printed logged, line by line. The adapter of the component collects the lines, in memory
// of the plugin's.
package stdio

import "unsafe"

var line [2048]byte

//go:wasmimport wasi_snapshot_preview1 dataflare_line
func setLine(line unsafe.Pointer, room uint32)

func init() { setLine(unsafe.Pointer(&line), uint32(len(line))) }
