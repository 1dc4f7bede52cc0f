"""What a connector of files is: a format, with what reads it, what writes it, and their options."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import pyarrow as pa
from pydantic import create_model

from dataflare.documents.models import StrictModel
from dataflare.pipeline.nodes import ReadNode, WriteNode
from dataflare.pipeline.outputs import Output
from dataflare.pipeline.sinks import Sink

__all__ = ["Connector", "Reader"]

Reader: TypeAlias = Callable[..., Iterator[Any]]
"""`read(source, opener, options, found, *, sample_only=False)`, a generator.

It reads `source`, an `InputFile`, with the node's `options`. First it gives the `FileSchema` (that of the first file,
`found`, where there is one), then, unless `sample_only`, the batches. Other files are opened with `opener` alone, which
asks the policy.
"""


@dataclass(frozen=True, kw_only=True)
class Connector:
    """A format of files. Any thread may use it.

    Args:
        name: Its name in pipelines, `connector: NAME`.
        summary: One line about the format.
        endings: Endings of file names that say it, without the dot.
        read: Reads a file; `None`: files are only written.
        read_options: The keys of `options` where it reads, each with a default; they include `batch_rows`.
        make_sink: Makes what writes into a file, given the output, the schema and the options; `None`: files are only
            read.
        write_options: The keys of `options` where it writes, each with a default.
        extension: The ending of files that are written below a partitioned folder.
        appendable: Whether rows can be added to a file that is complete.
    """

    name: str
    summary: str
    endings: tuple[str, ...]
    read: Reader | None = None
    read_options: type[StrictModel] = StrictModel
    make_sink: Callable[[Output, pa.Schema, Any], Sink] | None = None
    write_options: type[StrictModel] = StrictModel
    extension: str = ""
    appendable: bool = False

    @cached_property
    def read_node(self) -> type[ReadNode]:
        """The model of a node that reads."""
        return create_model(f"{self.name.title()}Read", __base__=ReadNode, **self._fields(self.read_options))

    @cached_property
    def write_node(self) -> type[WriteNode]:
        """The model of a node that writes."""
        made = create_model(f"{self.name.title()}Write", __base__=WriteNode, **self._fields(self.write_options))
        made.extension, made.appendable = self.extension or self.name, self.appendable
        made.endings = self.endings
        return made

    def _fields(self, options: type[StrictModel]) -> dict[str, Any]:
        return {"connector": (Literal[self.name], ...), "options": (options, options())}
