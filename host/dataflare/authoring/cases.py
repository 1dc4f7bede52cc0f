"""A plugin's cases: configurations and rows, and what must come of them in the sandbox."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataflare.authoring.case_files import Case, Row
from dataflare.data.json_reader import decode_json_lines
from dataflare.data.json_writer import encode_json_lines
from dataflare.data.schemas import from_wit
from dataflare.data.shapes import DataFailure
from dataflare.documents.reader import Document
from dataflare.errors import ConfigError, DataflareError, PluginError, PluginFault
from dataflare.grants import DirectoryGrant, Grants, switched
from dataflare.interfaces import SWITCHES
from dataflare.runtime.datasets import Selection, Target
from dataflare.runtime.destination import Destination
from dataflare.runtime.host import Host
from dataflare.runtime.plugin import Plugin
from dataflare.runtime.processor import Processor
from dataflare.runtime.source import Source
from dataflare.runtime.transformer import Transformer
from dataflare.runtime.validator import Validator
from dataflare.toolchain.manifest_file import PluginFile
from dataflare.wit_types.schemas import Field as WitField
from dataflare.wit_types.schemas import Schema

__all__ = ["CaseResult", "CaseRun", "Load", "difference", "run_cases"]

_MAX_BYTES = 64 * 2**20
_SHOWN_LINES = 5

Load = Callable[..., AbstractContextManager[Plugin]]
"""Loads and starts a plugin, given `config`, `grants` and `limits`."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of a case: `problem` says where and why it failed, and is empty if it passed.

    `faulted` tells whether it failed since the plugin trapped, or exceeded a limit.
    """

    name: str
    problem: str = ""
    faulted: bool = False


def run_cases(
    cases: Iterable[tuple[Case, Document]], component: Path, file: PluginFile, host: Host
) -> Iterator[CaseResult]:
    """Run cases of a plugin in the sandbox, one after the other.

    Raises:
        ConfigError: A case is wrong: its rows do not have its types.
    """

    @contextmanager
    def load(**options: Any) -> Iterator[Plugin]:
        with host.load(component, name=file.name, **options) as plugin:
            plugin.start()
            yield plugin

    for case, document in cases:
        run = CaseRun(case, document, file, load)
        problem = run.problem()
        yield CaseResult(document.name, problem, bool(problem) and run.faulted)


class CaseRun:
    """One run of a case.

    Args:
        case: The case.
        document: Where it stands, for errors.
        file: The plugin's `plugin.yaml`.
        load: Loads and starts the plugin.
        rows: The input in place of the case's; `None` for that.
        max_rows: A source of which nothing is expected is read to this many rows; `None`: to its end.
    """

    def __init__(
        self,
        case: Case,
        document: Document,
        file: PluginFile,
        load: Load,
        *,
        rows: pa.RecordBatch | None = None,
        max_rows: int | None = None,
    ) -> None:
        self._case = case
        self._document = document
        self._file = file
        self._load = load
        self._rows = rows
        self._max_rows = None if case.output is not None else max_rows
        self.faulted = False
        """Whether the plugin failed in `problem`, so that its instance did not survive."""

    def problem(self) -> str:
        """Run it; returns why it failed, or an empty text."""
        with tempfile.TemporaryDirectory(prefix="dataflare-case-") as place:
            try:
                found = self.run(Path(place))
            except DataflareError as error:
                self.faulted = isinstance(error, PluginFault)
                return self.error_problem(error)
            return self.result_problem(found, Path(place))

    def input_rows(self) -> list[Row]:
        """The rows that the plugin is given; a source is given none."""
        return [] if self._file.kind == "source" else _rows(self._input())

    def run(self, place: Path) -> list[Row]:
        """Give the plugin its input; returns the rows that it makes, violations, or rejected rows.

        Args:
            place: An empty folder, for the files that the plugin may write.

        Raises:
            DataflareError: The plugin failed, or the case is wrong.
        """
        case = self._case
        with self._load(config=dict(case.config), grants=self._grants(place), limits=case.limits.limits()) as plugin:
            return self._use(plugin)

    def result_problem(self, found: list[Row], place: Path) -> str:
        """Why what came is not what the case expects; empty if it is."""
        case = self._case
        if case.error is not None:
            return self._say(("error",), f"no error came, but {_shown(found)}")
        if case.output is not None and (
            text := difference(case.output, found, in_part=self._file.kind == "destination")
        ):
            return self._say(("output",), text)
        if case.violations is not None:
            wanted = [each.model_dump(exclude_unset=True) for each in case.violations]
            if text := difference(wanted, found, in_part=True):
                return self._say(("violations",), text)
        for name, text in (case.files or {}).items():
            path = place / name
            there = path.read_text(encoding="utf-8", errors="backslashreplace") if path.is_file() else None
            if there != text:
                what = "is not there" if there is None else f"holds {_shown(there)}"
                return self._say(("files", name), f"{name} {what}, not {_shown(text)}")
        return ""

    def error_problem(self, error: DataflareError) -> str:
        """Why an error is not what the case expects; empty if it is."""
        wanted = self._case.error
        kind = "fault" if isinstance(error, PluginFault) else type(error).__name__
        if isinstance(error, PluginError):
            kind = str(getattr(error.error, "case", kind))
        if wanted is None:
            lines = [f"{kind}: {error.message}"]
            if isinstance(error, PluginFault):
                lines += [f"log: {line}" for line in error.log_lines[-_SHOWN_LINES:]]
                lines += [f"at: {frame}" for frame in error.backtrace[:_SHOWN_LINES]]
            return self._say((), "\n".join(lines))
        if kind != wanted.kind:
            return self._say(("error",), f"the error is {kind}, not {wanted.kind}: {error.message}")
        if wanted.says not in error.message:
            return self._say(("error",), f"the error says {error.message!r}, not {wanted.says!r}")
        return ""

    def _say(self, path: tuple[str, ...], text: str) -> str:
        return f"{self._document.where(path)}: {text}"

    def _grants(self, place: Path) -> Grants:
        directories = {}
        for name, files in self._case.folders.items():
            (place / name).mkdir()
            for file, text in files.items():
                path = place / name / file
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text, encoding="utf-8")
                except OSError as error:
                    what = f"{file!r} cannot be written: {error.strerror}"
                    raise ConfigError(what, where=self._document.where(("folders", name))) from error
            directories[name] = DirectoryGrant(path=place / name, access="write")
        return Grants(files=directories, **switched(set(self._file.interfaces()).intersection(SWITCHES)))

    def _use(self, plugin: Plugin) -> list[Row]:
        case = self._case
        match plugin:
            case Source():
                selection = None
                if case.dataset is not None:
                    mode: Any = case.mode or "full"
                    selection = Selection(case.dataset, mode=mode)
                read = (row for batch in plugin.batches(selection) for row in _rows(batch))
                return list(islice(read, self._max_rows))
            case Processor():
                given = not case.types and self._rows is None
                one_by_one = [plugin.process(json.dumps(row)) for row in case.input] if given else None
                rows = _rows(plugin.process_batch(self._input()))
                single = None if one_by_one is None else [json.loads(each) for each in one_by_one if each is not None]
                if single is not None and (text := difference(single, rows)):
                    raise ConfigError(f"process and process_batch give different rows: {text}")
                return rows
            case Transformer():
                return _rows(plugin.transform(self._input()))
            case Validator():
                found = plugin.validate(self._input()).violations
                return [{"rule": each.rule, "row": each.row, "column": each.column} for each in found]
            case Destination():
                batch = self._input()
                way: Any = case.mode or "append"
                plugin.open(Target(case.dataset or "rows", batch.schema, key=case.key, mode=way))
                rejected = plugin.write(batch)
                plugin.finish()
                return [{"row": each.row, "column": each.column, "reason": each.reason} for each in rejected]
        raise ConfigError(f"a {plugin.kind} has no cases")

    def _input(self) -> pa.RecordBatch:
        if self._rows is not None:
            return self._rows
        lines = "".join(f"{json.dumps(row)}\n" for row in self._case.input).encode()
        try:
            batch = decode_json_lines(lines, None, _MAX_BYTES)
            if not self._case.types:
                return batch
            kinds = {name: str(kind) for name, kind in zip(batch.schema.names, batch.schema.types, strict=True)}
            kinds |= self._case.types
            schema = from_wit(Schema(tuple(WitField(name, kind, True, ()) for name, kind in kinds.items()), ()))
            return decode_json_lines(lines, schema, _MAX_BYTES)
        except (DataFailure, DataflareError) as error:
            text = error.message if isinstance(error, DataflareError) else str(error)
            raise ConfigError(
                f"the rows cannot be made into a batch: {text}", where=self._document.where(("input",))
            ) from error


def _rows(batch: pa.RecordBatch) -> list[Row]:
    return [json.loads(line) for line in bytes(encode_json_lines(batch, _MAX_BYTES)).splitlines()]


def difference(wanted: list[Row], found: list[Row], *, in_part: bool = False) -> str:
    """The first row that differs, in words; empty if none does. With `in_part`, only keys of the wanted row count."""
    for row, (want, have) in enumerate(zip(wanted, found, strict=False)):
        known = {key: value for key, value in have.items() if key in want} if in_part else have
        if not _equal(want, known):
            return f"row {row} is {_shown(have)}, not {_shown(want)}"
    if len(wanted) != len(found):
        return f"{len(found)} rows came, not {len(wanted)}"
    return ""


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 300 else f"{text[:300]}..."
