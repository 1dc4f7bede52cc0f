// Package shared has batches that the plugins of a pipeline share by name: list `shared` under `needs` in `plugin.yaml`.
package shared

import "dataflare"

// Get gives the batch of a name; nil if there is none yet.
func Get(name string) (*dataflare.Batch, error) { return get(name) }

// Put shares a batch under a name; it replaces a batch of that name. The batch is the host's from then on.
func Put(name string, batch *dataflare.Batch) error { return put(name, batch) }
