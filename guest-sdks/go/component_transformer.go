//go:build wasip1 && dataflare_transformer

package dataflare

import (
	wit "dataflare/internal/abi/types"
	"dataflare/internal/exports/transformer"
	"dataflare/internal/host"
	"dataflare/internal/wit/dataflare_data_batches"
	"dataflare/internal/wit/dataflare_data_schemas"
	"dataflare/internal/wit/dataflare_plugin_types"
	// What the host calls.
	_ "dataflare/internal/wit/exports_transformer"
)

func init() {
	transformer.OutputSchema = func(input dataflare_data_schemas.Schema) wit.Result[dataflare_data_schemas.Schema, dataflare_plugin_types.Error] {
		return answer(func() (dataflare_data_schemas.Schema, error) {
			plugin, err := used[Transformer]()
			if err != nil {
				return dataflare_data_schemas.Schema{}, err
			}
			schema, err := outputSchema(plugin, host.SchemaOf(input))
			return host.WitSchema(schema), err
		})
	}
	transformer.Transform = func(input *dataflare_data_batches.Batch) wit.Result[*dataflare_data_batches.Batch, dataflare_plugin_types.Error] {
		return answerBatch(input, func(batch *Batch) (*Batch, error) {
			plugin, err := used[Transformer]()
			if err != nil {
				return nil, err
			}
			return plugin.Transform(batch)
		})
	}
}
