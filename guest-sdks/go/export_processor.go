//go:build !wasip1 || dataflare_processor

package dataflare

import "dataflare/internal/host"

// ExportProcessor makes a plugin of a function that makes a processor of a configuration. Call it once, in an init function.
func ExportProcessor[C any, P Processor[In, Out], In, Out any](make func(C) (P, error)) {
	export(host.Processor, make, func(plugin P) processing { return &processorOf[In, Out]{plugin} })
}
