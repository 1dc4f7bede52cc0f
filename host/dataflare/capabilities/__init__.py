"""What plugins may ask of the host: one module for each interface of `dataflare:host`."""
