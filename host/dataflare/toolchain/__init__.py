"""Builds guest plugins into components, with one driver a guest language.

No other package starts programs.
"""
