# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:host/logging@1.0.0`.

Log events, which the host passes to the operator's logging.

Calls never fail. The host limits their rate and their size: events above the limit
are dropped and counted, and long texts are cut. A call that goes on after very many
events were dropped may be stopped, as at its time limit.

Since version 1.0.0.
"""

from __future__ import annotations

import typing as _t

__all__ = ["Level"]


Level: _t.TypeAlias = _t.Literal["trace", "debug", "info", "warn", "error"]
"""The severity of an event, lowest first.

Since version 1.0.0.

- `trace`: Every step, to find a fault.
- `debug`: Details that help to understand a fault.
- `info`: Information for the operator.
- `warn`: Something that the operator should look at; work continues.
- `error`: A failure.
"""
