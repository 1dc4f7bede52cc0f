//go:build !wasip1

package metrics

import "dataflare/internal/twin"

func add(name string, amount float64, _ []Label) { twin.Host.Figures[name] += amount }

func set(name string, value float64, _ []Label) { twin.Host.Figures[name] = value }

func record(name string, value float64, _ []Label) { twin.Host.Figures[name] = value }
