//go:build wasip1 && dataflare_source

package dataflare

import (
	wit "dataflare/internal/abi/types"
	"dataflare/internal/exports/source"
	"dataflare/internal/host"
	"dataflare/internal/wit/dataflare_data_schemas"
	"dataflare/internal/wit/dataflare_plugin_datasets"
	"dataflare/internal/wit/dataflare_plugin_source"
	"dataflare/internal/wit/dataflare_plugin_types"
	// What the host calls.
	_ "dataflare/internal/wit/exports_source"
)

// asked makes a call of the configured source.
func asked[T any](call func(plugin reading) (T, error)) wit.Result[T, dataflare_plugin_types.Error] {
	return answer(func() (T, error) {
		plugin, err := used[reading]()
		if err != nil {
			var nothing T
			return nothing, err
		}
		return call(plugin)
	})
}

func init() {
	source.Discover = func() wit.Result[[]dataflare_plugin_datasets.Dataset, dataflare_plugin_types.Error] {
		return asked(func(plugin reading) ([]dataflare_plugin_datasets.Dataset, error) {
			datasets, err := plugin.datasets()
			found := make([]dataflare_plugin_datasets.Dataset, len(datasets))
			for i := range datasets {
				found[i] = described(&datasets[i])
			}
			return found, err
		})
	}
	source.Split = func(selections []dataflare_plugin_source.Selection, state wit.Option[[]uint8], atMost uint32) wit.Result[dataflare_plugin_source.Division, dataflare_plugin_types.Error] {
		return asked(func(plugin reading) (dataflare_plugin_source.Division, error) {
			parts, err := plugin.split(selectionsOf(selections), host.OrNil(state), int(atMost))
			return dataflare_plugin_source.Division{Parts: parts}, err
		})
	}
	source.Estimate = func(selections []dataflare_plugin_source.Selection, part, state wit.Option[[]uint8]) wit.Result[wit.Option[dataflare_plugin_source.EstimatedRows], dataflare_plugin_types.Error] {
		return asked(func(plugin reading) (wit.Option[dataflare_plugin_source.EstimatedRows], error) {
			rows, err := plugin.estimate(selectionsOf(selections), host.OrNil(part), host.OrNil(state))
			if err != nil || rows < 0 {
				return wit.None[dataflare_plugin_source.EstimatedRows](), err
			}
			return wit.Some(dataflare_plugin_source.EstimatedRows{Rows: uint64(rows), Exact: true}), nil
		})
	}
	source.Open = func(selections []dataflare_plugin_source.Selection, part, state wit.Option[[]uint8]) wit.Result[[]dataflare_data_schemas.Schema, dataflare_plugin_types.Error] {
		return asked(func(plugin reading) ([]dataflare_data_schemas.Schema, error) {
			schemas, err := plugin.open(selectionsOf(selections), host.OrNil(part), host.OrNil(state))
			found := make([]dataflare_data_schemas.Schema, len(schemas))
			for i, each := range schemas {
				found[i] = host.WitSchema(each)
			}
			return found, err
		})
	}
	source.Read = func(maxRows uint32) wit.Result[dataflare_plugin_source.Progress, dataflare_plugin_types.Error] {
		return asked(func(plugin reading) (dataflare_plugin_source.Progress, error) {
			next, err := plugin.read(int(maxRows))
			switch {
			case err != nil:
			case next.schema != nil:
				change := dataflare_plugin_source.SchemaChange{Selection: uint32(next.selection), Schema: host.WitSchema(*next.schema)}
				return dataflare_plugin_source.MakeProgressNewSchema(change), nil
			case next.idle != nil:
				pause := dataflare_plugin_source.Pause{State: host.Optional(next.state), RetryAfterMs: next.idle.milliseconds()}
				return dataflare_plugin_source.MakeProgressIdle(pause), nil
			case next.rows != nil:
				chunk := dataflare_plugin_source.Chunk{Selection: uint32(next.selection), Rows: host.HandleOf(next.rows.take()), State: host.Optional(next.state)}
				return dataflare_plugin_source.MakeProgressRows(chunk), nil
			}
			return dataflare_plugin_source.MakeProgressEnded(), err
		})
	}
	source.Acknowledge = func(state []uint8) wit.Result[wit.Unit, dataflare_plugin_types.Error] {
		return asked(func(plugin reading) (wit.Unit, error) { return wit.Unit{}, plugin.acknowledge(state) })
	}
	source.Close = func() wit.Result[wit.Unit, dataflare_plugin_types.Error] {
		return asked(func(plugin reading) (wit.Unit, error) {
			plugin.close()
			return wit.Unit{}, nil
		})
	}
}

func described(dataset *Dataset) dataflare_plugin_datasets.Dataset {
	found := dataflare_plugin_datasets.Dataset{
		Name:        dataflare_plugin_datasets.DatasetName{Name: dataset.Name},
		Description: dataset.Description,
		Schema:      host.WitSchema(dataset.Schema()),
		Key:         dataset.Key,
	}
	if dataset.hasMode(Full) {
		found.Modes |= dataflare_plugin_datasets.ReadingModesFull
	}
	if dataset.hasMode(Incremental) {
		found.Cursors = []string{dataset.Cursor}
		found.Modes |= dataflare_plugin_datasets.ReadingModesIncremental
	}
	if dataset.hasMode(Changes) {
		found.Modes |= dataflare_plugin_datasets.ReadingModesChanges | dataflare_plugin_datasets.ReadingModesUnbounded
	}
	if dataset.Splittable {
		found.Modes |= dataflare_plugin_datasets.ReadingModesSplittable
	}
	return found
}

func selectionsOf(selections []dataflare_plugin_source.Selection) []host.Selection {
	found := make([]host.Selection, len(selections))
	for i, each := range selections {
		found[i] = host.Selection{Namespace: each.Dataset.Namespace, Name: each.Dataset.Name, Columns: each.Columns}
		switch each.Mode.Tag() {
		case dataflare_plugin_datasets.ReadingModeFull:
			found[i].Mode = "full"
		case dataflare_plugin_datasets.ReadingModeIncremental:
			found[i].Mode, found[i].Cursor = "incremental", each.Mode.Incremental()
		case dataflare_plugin_datasets.ReadingModeChanges:
			found[i].Mode = "changes"
		}
	}
	return found
}
