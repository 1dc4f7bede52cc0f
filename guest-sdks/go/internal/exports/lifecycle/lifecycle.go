//go:build wasip1

// Package lifecycle is what generated code calls when the host calls the plugin: the SDK gives the functions.
package lifecycle

import (
	wit "dataflare/internal/abi/types"
	types "dataflare/internal/wit/dataflare_plugin_types"
)

// The functions of the interface.
var (
	GetMetadata func() types.Metadata
	Configure   func(config string) wit.Result[wit.Unit, types.Error]
	Initialize  func() wit.Result[wit.Unit, types.Error]
	Shutdown    func() wit.Result[wit.Unit, types.Error]
	HealthCheck func() types.Health
)
