//go:build wasip1

// Package destination is what generated code calls when the host calls the plugin: the SDK gives the functions.
package destination

import (
	wit "dataflare/internal/abi/types"
	batches "dataflare/internal/wit/dataflare_data_batches"
	schemas "dataflare/internal/wit/dataflare_data_schemas"
	destination "dataflare/internal/wit/dataflare_plugin_destination"
	types "dataflare/internal/wit/dataflare_plugin_types"
)

// The functions of the interface.
var (
	Abilities    func() wit.Result[destination.Ability, types.Error]
	Plan         func(targets []destination.Target) wit.Result[[]destination.PlannedChange, types.Error]
	Open         func(run destination.RunName, targets []destination.Target) wit.Result[wit.Option[[]uint8], types.Error]
	Write        func(target uint32, rows *batches.Batch) wit.Result[[]destination.RejectedRow, types.Error]
	ChangeSchema func(target uint32, schema schemas.Schema) wit.Result[wit.Unit, types.Error]
	Flush        func(token []uint8) wit.Result[bool, types.Error]
	Finish       func(token []uint8) wit.Result[wit.Unit, types.Error]
	Abort        func() wit.Result[wit.Unit, types.Error]
)
