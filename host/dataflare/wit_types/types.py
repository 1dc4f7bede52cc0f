# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:plugin/types@1.0.0`.

Types that all kinds of plugins use.

Since version 1.0.0.
"""

from __future__ import annotations

import dataclasses as _dataclasses
import typing as _t

from dataflare import values as _df

__all__ = ["Error", "Health", "HealthStatus", "Kind", "Metadata"]


Kind: _t.TypeAlias = _t.Literal[
    "source",
    "destination",
    "processor",
    "transformer",
    "validator",
]
"""What a plugin does in a pipeline.

Since version 1.0.0.

- `source`: Brings rows into the pipeline.
- `destination`: Takes rows out of the pipeline.
- `processor`: Maps records one by one.
- `transformer`: Maps batches to batches, whose columns may differ.
- `validator`: Checks batches and changes nothing.
"""


@_dataclasses.dataclass(frozen=True, slots=True)
class Metadata:
    """The description of a plugin. It does not depend on the configuration.

    Since version 1.0.0.
    """

    name: str
    """The plugin's name, `[a-z][a-z0-9-]{0,63}`."""
    version: str
    """The plugin's version by Semantic Versioning 2.0."""
    kind: Kind
    """What it does."""
    description: str
    """One line that says what it is for."""
    config_schema: str
    """A JSON Schema of the configuration; empty if there is nothing to configure."""


HealthStatus: _t.TypeAlias = _t.Literal["healthy", "degraded", "unhealthy"]
"""The health of a plugin.

Since version 1.0.0.

- `healthy`: It works.
- `degraded`: It works, but slowly or in part.
- `unhealthy`: It does not work.
"""


@_dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """The health of a plugin, and why.

    Since version 1.0.0.
    """

    status: HealthStatus
    """The status."""
    message: str
    """Why, for people; may be empty."""


Error: _t.TypeAlias = _df.Variant
"""Why a call failed, by what the caller can do about it.

Since version 1.0.0.

- `invalid-config` with a `string`: The configuration is wrong. No retry helps: the
  operator must change it. The text names the key.
- `invalid-input` with a `string`: This record or batch is wrong, or what a source
  reads is not well formed. No retry helps; others may be right: skip it or keep it
  for later. The text says which row it is.
- `invalid-state` with a `string`: The plugin cannot continue from this state, part
  or token: it belongs to another plugin, another version or other data, or the rows
  after it are gone. No retry helps: begin without it.
- `data` with a `data-error`: An operation on a batch failed. No retry helps; other
  batches may be right.
- `denied` with a `string`: The host refused something that the plugin needs, or it
  is larger than the operator allows; or a service refused the plugin's credentials,
  as with the HTTP status 401 or 403. No retry helps: the operator must grant it.
- `unavailable` with a `string`: Something outside cannot be reached now. A retry can
  help.
- `rate-limited` with a `u32`: Something outside accepts no more requests for now. A
  retry after this many milliseconds can help. In HTTP, these are the statuses 429,
  and 503 with a header `Retry-After`. This header is a number of seconds, or a date:
  take the time from the response's own header `Date` to it.
- `superseded` with a `string`: A newer run has replaced this one. No retry helps:
  this run must end, and has changed nothing since then.
- `cancelled`: The operator cancelled the call.
- `unsupported` with a `string`: The plugin does not support this, such as a call
  that does not fit its configuration. No retry helps.
- `internal` with a `string`: A fault of the plugin. A retry usually does not help.
- `other` with a `string`: Anything else. The text is for logs: do not match it. A
  retry usually does not help.
"""
