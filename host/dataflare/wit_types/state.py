# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:host/state@1.0.0`.

Small values that outlive the plugin's instance: a key-value store for each plugin of
each pipeline.

Every call is atomic, also among several instances, which share the values. It is
durable when it returns, if the operator's store is durable. A call that fails
changes nothing. An empty value is a value.

Since version 1.0.0.
"""

from __future__ import annotations

import collections.abc as _abc
import dataclasses as _dataclasses
import typing as _t

from dataflare import values as _df

__all__ = ["KeyPage", "StateError"]


StateError: _t.TypeAlias = _df.Variant
"""Why a call failed.

Since version 1.0.0.

- `invalid-key` with a `string`: The key is empty, or longer than 1024 bytes.
- `value-too-large` with a `u32`: The value is longer than this many bytes, the
  operator's limit for one value.
- `quota-exceeded` with a `u32`: The store would hold more than this many bytes, the
  operator's limit, with keys and what the host counts for each entry.
- `unavailable` with a `string`: The store cannot be reached now; a retry can help.
- `other` with a `string`: Anything else. The text is for logs: do not match it.
"""


@_dataclasses.dataclass(frozen=True, slots=True)
class KeyPage:
    """One page of a list of keys.

    Since version 1.0.0.
    """

    keys: _abc.Sequence[str]
    """Keys in ascending order of their bytes."""
    more: bool
    """Whether more keys follow the last one."""
