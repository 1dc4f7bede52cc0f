module plugins/sample-plugin

go 1.24

require dataflare v0.0.0

// The SDK: `dataflare build` and `dataflare test` write it.
replace dataflare => ./dataflare
