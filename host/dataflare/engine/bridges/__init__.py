"""The two small components that are generated around each plugin, as WebAssembly text."""
