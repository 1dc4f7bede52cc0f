"""Builds guest plugins into components, with one driver a guest language.

Besides this package, only `runtime/isolation` and `conformance/adapter` start programs.
"""
