//go:build !wasip1

package tasks

import (
	"fmt"
	"os"

	"dataflare/internal/twin"
)

func isCancelled() bool { return twin.Host.Cancelled }

func report(done, total int, message string) {
	fmt.Fprintf(os.Stderr, "%d of %d: %s\n", done, total, message)
}
