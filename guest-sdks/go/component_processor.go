//go:build wasip1 && dataflare_processor

package dataflare

import (
	wit "dataflare/internal/abi/types"
	"dataflare/internal/exports/processor"
	"dataflare/internal/wit/dataflare_data_batches"
	"dataflare/internal/wit/dataflare_plugin_types"
	// What the host calls.
	_ "dataflare/internal/wit/exports_processor"
)

func init() {
	processor.Process = func(input string) wit.Result[wit.Option[string], dataflare_plugin_types.Error] {
		return answer(func() (wit.Option[string], error) {
			plugin, err := used[processing]()
			if err != nil {
				return wit.None[string](), err
			}
			changed, isKept, err := plugin.process(input)
			if err != nil || !isKept {
				return wit.None[string](), err
			}
			return wit.Some(changed), nil
		})
	}
	processor.ProcessBatch = func(input *dataflare_data_batches.Batch) wit.Result[*dataflare_data_batches.Batch, dataflare_plugin_types.Error] {
		return answerBatch(input, func(batch *Batch) (*Batch, error) {
			plugin, err := used[processing]()
			if err != nil {
				return nil, err
			}
			return plugin.processBatch(batch)
		})
	}
}
