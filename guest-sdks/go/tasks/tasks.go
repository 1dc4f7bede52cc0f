// Package tasks is for long work within a call: list `tasks` under `needs` in `plugin.yaml`.
package tasks

// IsCancelled says whether the operator wants the call to end: return dataflare.Cancelled() soon.
func IsCancelled() bool { return isCancelled() }

// ReportProgress says how far the work is, in a unit of the plugin's own; a total of 0 is not known.
func ReportProgress(done, total int, message string) { report(done, total, message) }
