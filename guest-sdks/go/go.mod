module dataflare

go 1.24
