# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:host/secrets@1.0.0`.

Secrets that the operator granted by name.

Prefer `http`, which can add a secret to a request so that the plugin never holds it.

Since version 1.0.0.
"""

from __future__ import annotations

import typing as _t

from dataflare import values as _df

__all__ = ["SecretError"]


SecretError: _t.TypeAlias = _df.Variant
"""Why a call failed.

Since version 1.0.0.

- `not-granted` with a `string`: The operator did not grant a secret of this name, or
  it does not exist: the error does not say which.
- `unavailable` with a `string`: The store cannot be reached now; a retry can help.
- `other` with a `string`: Anything else. The text is for logs: do not match it.
"""
