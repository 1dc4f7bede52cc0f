//go:build wasip1

// Package runtime is what generated bindings call: handles, and memory that the host writes to.
package runtime

import (
	"fmt"
	"runtime"
	"unsafe"
)

// Handle is a resource of the host; 0 once it is given away.
type Handle struct{ number int32 }

// MakeHandle wraps a number that the host gave.
func MakeHandle(number int32) *Handle { return &Handle{number} }

// Use gives the number.
func (h *Handle) Use() int32 {
	if h.number == 0 {
		panic("a batch or a file is used after it was dropped or given away")
	}
	return h.number
}

// Take gives the number away.
func (h *Handle) Take() int32 {
	number := h.Use()
	h.number = 0
	return number
}

// TakeOrNil gives the number away; 0 if that was done before.
func (h *Handle) TakeOrNil() int32 {
	number := h.number
	h.number = 0
	return number
}

// Set gives a handle without a number one.
func (h *Handle) Set(number int32) { h.number = number }

// Allocate gives memory that stays until the pinner lets it go.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	if size == 0 {
		return nil
	}
	var memory unsafe.Pointer
	switch align {
	case 1:
		memory = unsafe.Pointer(unsafe.SliceData(make([]uint8, size)))
	case 2:
		memory = unsafe.Pointer(unsafe.SliceData(make([]uint16, (size+1)/2)))
	case 4:
		memory = unsafe.Pointer(unsafe.SliceData(make([]uint32, (size+3)/4)))
	case 8:
		memory = unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
	default:
		panic(fmt.Sprintf("nothing is aligned to %d bytes", align))
	}
	pinner.Pin(memory)
	return memory
}

// pinner holds what the host has allocated since the call began: the collector does not see who refers to it.
var pinner runtime.Pinner

// Unpin lets go what the host has allocated: from now on it stays only where a value of Go refers to it.
func Unpin() { pinner.Unpin() }

// The name is that of the usual adapter: while it is paused, nothing of the host's is called.
//
//go:wasmimport wasi_snapshot_preview1 adapter_monotonic_clock_set_paused
func pause(isPaused bool)

//go:wasmexport cabi_realloc
func allocate(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	pause(true)
	memory := Allocate(&pinner, size, align)
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(memory), size), unsafe.Slice((*byte)(old), oldSize))
	}
	pause(false)
	return memory
}
