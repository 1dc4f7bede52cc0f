# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:plugin/destination@1.0.0`.

A plugin that takes rows out of the pipeline.

A run is `open`, any number of `write`, `change-schema` and `flush`, then `finish` or
`abort`. An instance has one run at a time: `open` comes only if none is under way.
After `finish`, only `flush`, `finish` and `abort` may come again, and change
nothing; after `abort`, only `abort`; then another `open`. After an error of `open`
no run is under way: `open` may come again, and `abort` does nothing. `abilities` and
`plan` may come at any time after `initialize` and change nothing.

- Rows need not be safe before `flush` or `finish` says that they are.
- Tokens are the host's: any bytes, also an empty list. The destination returns them
  as they were given.
- Rows are written in the order of the calls.
- A flush is for all targets of the run, and never divides a transaction of the
  source: the host flushes only where the source gave a state.
- A host that starts again after a failure writes the rows after the last token
  again. In `merge` this changes nothing. In `append` rows are doubled, unless the
  destination keeps the token in the same transaction as the rows.
- A target in the mode `replace` begins empty with every `open`: the host reads its
  rows from the beginning, whatever the token says. Such rows become safe with
  `finish` only, and the dataset then has the columns of the target, whatever it had.
- A destination with the ability `shut-out` answers `superseded` to `flush` and
  `finish` of a run that was shut out, and makes nothing safe. Other calls of that
  run may answer it too, but not `abort`, which takes back what the run wrote. `open`
  is what shuts older runs out: they stay shut out if the newer run is aborted.

In the modes `append` and `merge` a dataset that exists keeps its columns, and those
of the target, or of `change-schema`, are compared with them:
- A column that the dataset lacks is added, and a type that is wider than the
  dataset's widens it, if the abilities say so. An added column is null in the rows
  that exist.
- A type that is narrower than the dataset's changes nothing: the values are widened.
- A column that the schema lacks stays, and new rows have null in it.
- Whether a column of the schema is nullable changes nothing about the dataset's. A
  row that has a null where the dataset takes none is rejected.
- Any other difference is `unsupported`.

Since version 1.0.0.
"""

from __future__ import annotations

import collections.abc as _abc
import dataclasses as _dataclasses
import typing as _t

from . import datasets as _datasets
from . import schemas as _schemas

__all__ = ["Ability", "ChangeKind", "PlannedChange", "RejectedRow", "RunName", "Target"]


Ability: _t.TypeAlias = frozenset[
    _t.Literal[
        "append",
        "replace",
        "merge",
        "delete",
        "add-columns",
        "widen-columns",
        "keep-token",
        "shut-out",
    ],
]
"""What the destination can do.

Since version 1.0.0.

- `append`: Write in the mode `append`.
- `replace`: Write in the mode `replace`.
- `merge`: Write in the mode `merge`.
- `delete`: Remove rows in the mode `merge`.
- `add-columns`: Accept a schema with more columns, in `open` or `change-schema`.
- `widen-columns`: Accept a schema with columns of wider types, such as `int64` after
  `int32`.
- `keep-token`: Keep the host's token in the same transaction as the rows.
- `shut-out`: Shut out older runs of the same pipeline.
"""


@_dataclasses.dataclass(frozen=True, slots=True)
class RunName:
    """The run that writes.

    Since version 1.0.0.
    """

    pipeline: str
    """Who writes: the host gives every destination of every pipeline its own name, and
    every part of a divided read too. The destination keeps one token and one
    generation for each name; not empty.
    """
    run: str
    """The name of this run. The host uses it again if it opens the same run anew, such
    as after a trap.
    """
    generation: int
    """Rises with every run of the pipeline."""


@_dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A dataset to write, and how.

    Since version 1.0.0.
    """

    dataset: _datasets.DatasetName
    """Its name. No two targets of a run have the same one."""
    schema: _schemas.Schema
    """The columns of its rows, with their roles."""
    key: _abc.Sequence[str]
    """The columns that identify a row, in order, whatever roles the schema has; not
    empty in the mode `merge`.
    """
    mode: _datasets.WritingMode
    """How its rows are written."""


ChangeKind: _t.TypeAlias = _t.Literal[
    "create",
    "replace-rows",
    "add-column",
    "widen-column",
    "other",
]
"""What kind of change `open` would make.

Since version 1.0.0.

- `create`: The dataset is created.
- `replace-rows`: All rows of the dataset are replaced.
- `add-column`: A column is added.
- `widen-column`: A column gets a wider type.
- `other`: Something else, which `detail` describes.
"""


@_dataclasses.dataclass(frozen=True, slots=True)
class PlannedChange:
    """Something that `open` and the run would change, apart from the rows that are
    written.

    Since version 1.0.0.
    """

    target: int
    """The target: its position in the list that `plan` was given, from 0."""
    kind: ChangeKind
    """What kind of change."""
    detail: str
    """What is changed, for people, such as the name and type of a column."""


@_dataclasses.dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that the destination will never accept as it is.

    Since version 1.0.0.
    """

    row: int
    """The row within the batch, from 0."""
    column: str | None
    """The column that is the cause; `none` if it is not a single column."""
    reason: str
    """Why, for people."""
