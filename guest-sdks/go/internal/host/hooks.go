package host

// How the SDK's packages get at the batches of plugins: the package dataflare says it.
var (
	// TakeBatch hands a batch over.
	TakeBatch func(batch any) Batch
	// GiveBatch makes one of the current call.
	GiveBatch func(raw Batch) any
)
