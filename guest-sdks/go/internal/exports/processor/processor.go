//go:build wasip1

// Package processor is what generated code calls when the host calls the plugin: the SDK gives the functions.
package processor

import (
	wit "dataflare/internal/abi/types"
	batches "dataflare/internal/wit/dataflare_data_batches"
	types "dataflare/internal/wit/dataflare_plugin_types"
)

// The functions of the interface.
var (
	Process      func(input string) wit.Result[wit.Option[string], types.Error]
	ProcessBatch func(input *batches.Batch) wit.Result[*batches.Batch, types.Error]
)
