//go:build wasip1

// Package source is what generated code calls when the host calls the plugin: the SDK gives the functions.
package source

import (
	wit "dataflare/internal/abi/types"
	schemas "dataflare/internal/wit/dataflare_data_schemas"
	datasets "dataflare/internal/wit/dataflare_plugin_datasets"
	source "dataflare/internal/wit/dataflare_plugin_source"
	types "dataflare/internal/wit/dataflare_plugin_types"
)

// The functions of the interface.
var (
	Discover    func() wit.Result[[]datasets.Dataset, types.Error]
	Split       func(selections []source.Selection, state wit.Option[[]uint8], atMost uint32) wit.Result[source.Division, types.Error]
	Estimate    func(selections []source.Selection, part, state wit.Option[[]uint8]) wit.Result[wit.Option[source.EstimatedRows], types.Error]
	Open        func(selections []source.Selection, part, state wit.Option[[]uint8]) wit.Result[[]schemas.Schema, types.Error]
	Read        func(maxRows uint32) wit.Result[source.Progress, types.Error]
	Acknowledge func(state []uint8) wit.Result[wit.Unit, types.Error]
	Close       func() wit.Result[wit.Unit, types.Error]
)
