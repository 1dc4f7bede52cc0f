"""Bindings: typed Python for any WIT world, written by `dataflare bindgen`."""
