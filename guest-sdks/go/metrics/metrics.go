// Package metrics has numbers for the operator: list `metrics` under `needs` in `plugin.yaml`.
package metrics

import "dataflare/internal/host"

// Label is a name with a value.
type Label = host.Pair

// Add adds to a counter.
func Add(name string, amount float64, labels ...Label) { add(name, amount, labels) }

// Set sets a gauge.
func Set(name string, value float64, labels ...Label) { set(name, value, labels) }

// Record adds one of many values, in the unit that the name ends in.
func Record(name string, value float64, labels ...Label) { record(name, value, labels) }
