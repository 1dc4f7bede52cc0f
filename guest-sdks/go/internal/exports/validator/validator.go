//go:build wasip1

// Package validator is what generated code calls when the host calls the plugin: the SDK gives the functions.
package validator

import (
	wit "dataflare/internal/abi/types"
	batches "dataflare/internal/wit/dataflare_data_batches"
	types "dataflare/internal/wit/dataflare_plugin_types"
	validator "dataflare/internal/wit/dataflare_plugin_validator"
)

// The functions of the interface.
var (
	Rules    func() wit.Result[[]validator.Rule, types.Error]
	Validate func(input *batches.Batch) wit.Result[validator.Report, types.Error]
)
