"""Arrow data as plugins see it: the host's side of `dataflare:data`."""
