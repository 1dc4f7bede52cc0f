//go:build wasip1 && dataflare_destination

package dataflare

import (
	wit "dataflare/internal/abi/types"
	"dataflare/internal/exports/destination"
	"dataflare/internal/host"
	"dataflare/internal/wit/dataflare_data_batches"
	"dataflare/internal/wit/dataflare_data_schemas"
	"dataflare/internal/wit/dataflare_plugin_destination"
	"dataflare/internal/wit/dataflare_plugin_types"
	// What the host calls.
	_ "dataflare/internal/wit/exports_destination"
)

// tell makes a call of the configured destination.
func tell[T any](call func(plugin *writing) (T, error)) wit.Result[T, dataflare_plugin_types.Error] {
	return answer(func() (T, error) {
		plugin, err := used[*writing]()
		if err != nil {
			var nothing T
			return nothing, err
		}
		return call(plugin)
	})
}

func init() {
	destination.Abilities = func() wit.Result[dataflare_plugin_destination.Ability, dataflare_plugin_types.Error] {
		return tell(func(plugin *writing) (uint8, error) { return uint8(plugin.abilities()), nil })
	}
	destination.Plan = func(targets []dataflare_plugin_destination.Target) wit.Result[[]dataflare_plugin_destination.PlannedChange, dataflare_plugin_types.Error] {
		return tell(func(plugin *writing) ([]dataflare_plugin_destination.PlannedChange, error) {
			planned, err := plugin.plan(targetsOf(targets))
			found := make([]dataflare_plugin_destination.PlannedChange, len(planned))
			for i, each := range planned {
				found[i] = dataflare_plugin_destination.PlannedChange{
					Target: uint32(each.Target), Kind: uint8(each.Kind), Detail: each.Detail,
				}
			}
			return found, err
		})
	}
	destination.Open = func(run dataflare_plugin_destination.RunName, targets []dataflare_plugin_destination.Target) wit.Result[wit.Option[[]uint8], dataflare_plugin_types.Error] {
		return tell(func(plugin *writing) (wit.Option[[]uint8], error) {
			token, err := plugin.open(Run(run), targetsOf(targets))
			return host.Optional(token), err
		})
	}
	destination.Write = func(target uint32, rows *dataflare_data_batches.Batch) wit.Result[[]dataflare_plugin_destination.RejectedRow, dataflare_plugin_types.Error] {
		return tell(func(plugin *writing) ([]dataflare_plugin_destination.RejectedRow, error) {
			rejected, err := plugin.write(int(target), newBatch(host.WrapBatch(rows)))
			found := make([]dataflare_plugin_destination.RejectedRow, len(rejected))
			for i, each := range rejected {
				found[i] = dataflare_plugin_destination.RejectedRow{
					Row: uint32(each.Row), Column: host.OptionalText(each.Column), Reason: each.Reason,
				}
			}
			return found, err
		})
	}
	destination.ChangeSchema = func(target uint32, schema dataflare_data_schemas.Schema) wit.Result[wit.Unit, dataflare_plugin_types.Error] {
		return tell(func(plugin *writing) (wit.Unit, error) {
			return wit.Unit{}, plugin.changeSchema(int(target), host.SchemaOf(schema))
		})
	}
	destination.Flush = func(token []uint8) wit.Result[bool, dataflare_plugin_types.Error] {
		return tell(func(plugin *writing) (bool, error) { return plugin.flush(token) })
	}
	destination.Finish = func(token []uint8) wit.Result[wit.Unit, dataflare_plugin_types.Error] {
		return tell(func(plugin *writing) (wit.Unit, error) { return wit.Unit{}, plugin.plugin.Finish(token) })
	}
	destination.Abort = func() wit.Result[wit.Unit, dataflare_plugin_types.Error] {
		return tell(func(plugin *writing) (wit.Unit, error) { return wit.Unit{}, plugin.plugin.Abort() })
	}
}

func targetsOf(targets []dataflare_plugin_destination.Target) []Target {
	modes := map[uint8]WritingMode{0: Append, 1: Replace, 2: Merge}
	found := make([]Target, len(targets))
	for i, each := range targets {
		name := each.Dataset.Name
		if each.Dataset.Namespace != "" {
			name = each.Dataset.Namespace + "." + name
		}
		found[i] = Target{Name: name, Schema: host.SchemaOf(each.Schema), Key: each.Key, Mode: modes[each.Mode]}
	}
	return found
}
