"""The host's side of the interfaces of `dataflare:host`: one module for each."""
