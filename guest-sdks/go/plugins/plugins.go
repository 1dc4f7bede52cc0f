// Package plugins calls other plugins of the pipeline: list `plugins` under `needs` in `plugin.yaml`.
package plugins

import "dataflare"

// Call has another plugin process or transform a batch. The batch is the host's from then on.
func Call(plugin string, batch *dataflare.Batch) (*dataflare.Batch, error) {
	return call(plugin, batch)
}
