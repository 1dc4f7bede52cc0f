//go:build wasip1

// Package transformer is what generated code calls when the host calls the plugin: the SDK gives the functions.
package transformer

import (
	wit "dataflare/internal/abi/types"
	batches "dataflare/internal/wit/dataflare_data_batches"
	schemas "dataflare/internal/wit/dataflare_data_schemas"
	types "dataflare/internal/wit/dataflare_plugin_types"
)

// The functions of the interface.
var (
	OutputSchema func(input schemas.Schema) wit.Result[schemas.Schema, types.Error]
	Transform    func(input *batches.Batch) wit.Result[*batches.Batch, types.Error]
)
