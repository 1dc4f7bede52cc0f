# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:host/shared@1.0.0`.

Batches that the plugins of one pipeline share by name, such as lookup tables. They
live until the pipeline ends.

Since version 1.0.0.
"""

from __future__ import annotations

import typing as _t

from dataflare import values as _df

__all__ = ["SharedError"]


SharedError: _t.TypeAlias = _df.Variant
"""Why a call failed.

Since version 1.0.0.

- `denied` with a `string`: The operator did not grant reading or writing this name.
- `quota-exceeded` with a `u32`: The shared batches would take more than this many
  bytes, the operator's limit. Nothing was shared: a batch of that name stays.
- `other` with a `string`: Anything else. The text is for logs: do not match it.
"""
