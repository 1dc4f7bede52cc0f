# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:host/plugins@1.0.0`.

Other plugins of the pipeline, along the edges that the operator granted.

Since version 1.0.0.
"""

from __future__ import annotations

import typing as _t

from dataflare import values as _df

__all__ = ["CallError"]


CallError: _t.TypeAlias = _df.Variant
"""Why a call failed.

Since version 1.0.0.

- `denied` with a `string`: The operator did not grant calls to this plugin.
- `not-found` with a `string`: The pipeline does not have this plugin, or it is
  neither a processor nor a transformer.
- `too-deep` with a `string`: The call would close a cycle, or go deeper than the
  operator allows.
- `failed` with a `string`: The other plugin returned an error; the text is its
  message.
- `faulted` with a `string`: The other plugin trapped, or exceeded a limit; a retry
  can help.
- `other` with a `string`: Anything else. The text is for logs: do not match it.
"""
