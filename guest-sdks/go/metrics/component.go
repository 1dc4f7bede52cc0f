//go:build wasip1

package metrics

import (
	"dataflare/internal/host"
	"dataflare/internal/wit/dataflare_host_metrics"
)

func add(name string, amount float64, labels []Label) {
	dataflare_host_metrics.AddToCounter(name, amount, host.Tuples(labels))
}

func set(name string, value float64, labels []Label) {
	dataflare_host_metrics.SetGauge(name, value, host.Tuples(labels))
}

func record(name string, value float64, labels []Label) {
	dataflare_host_metrics.RecordObservation(name, value, host.Tuples(labels))
}
