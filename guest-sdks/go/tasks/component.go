//go:build wasip1

package tasks

import "dataflare/internal/wit/dataflare_host_tasks"

func isCancelled() bool { return dataflare_host_tasks.IsCancelled() }

func report(done, total int, message string) {
	dataflare_host_tasks.ReportProgress(uint32(done), uint32(total), message)
}
