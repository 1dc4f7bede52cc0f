"""Reads the parts of a divided read at the same time, each with an instance of its own, as one source.

The state of the whole has the state of each part. So the next run continues with each part where it was, in the same
division, however fast each part was.
"""

from __future__ import annotations

import base64
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, ClassVar, Final, TypeAlias

import orjson
import pyarrow as pa

from dataflare.data.columns import no_rows
from dataflare.pipeline.channel import Channel, Stopped
from dataflare.pipeline.retries import OutOfTime, Retries
from dataflare.pipeline.run_errors import StateError
from dataflare.runtime.datasets import (
    Chunk,
    Dataset,
    DatasetName,
    Ended,
    Estimate,
    Idle,
    NewSchema,
    ReadProgress,
    Selection,
)
from dataflare.runtime.results import PluginStats
from dataflare.runtime.source import MAX_ROWS, Source

__all__ = ["MOST_PARTS", "DividedSource", "is_divided"]

MOST_PARTS: Final = 64
"""Each part has an instance of the source."""
_MARK: Final = b"dataflare:divided:1\n"
_WAITING: Final = 2
"""How many chunks of a part wait to be taken."""
_FEWEST: Final = 16
"""A part asks for this share of its rows at least, though others have taken most: few rows a call cost too much."""
_Selected: TypeAlias = Selection | DatasetName | None


@dataclass(slots=True)
class _Position:
    """How far a part was read."""

    state: bytes | None = None
    rows: int = 0
    ended: bool = False


@dataclass(slots=True)
class _Division:
    """A divided read, and the position of each part."""

    parts: list[bytes | None]
    """`None` is all of a dataset that is not divided."""
    rest: bytes | None
    at: list[_Position]

    def to_state(self) -> bytes:
        value = {
            "parts": [_text(each) for each in self.parts],
            "rest": _text(self.rest),
            "at": [[_text(each.state), each.rows, each.ended] for each in self.at],
        }
        return _MARK + orjson.dumps(value)


def is_divided(state: bytes | None) -> bool:
    """Whether a state is that of a divided read."""
    return state is not None and state.startswith(_MARK)


class DividedSource:
    """A source that reads the parts of one dataset at the same time, in as many threads.

    Rows of one part keep their order; those of different parts come as they are read. All parts together read ahead no
    more rows than the last `read` allowed, so that a run that dies has not read more than it would of one part. One
    thread at a time, but for `interrupt` and `halt`.

    Args:
        first: The source; it divides the read, and reads the first part.
        another: Loads the source again, for another part.
        parts: How many parts there are at most.
        retries: Those of the node.
        expected: The states of barriers that an earlier run made before it died, in their order. This read comes to
            each of them again.
        most_rows: How many rows are asked for at most.
        may_be_whole: Whether a dataset that cannot be divided is read as one part; else that is an error.
    """

    kind: ClassVar[str] = "source"

    def __init__(
        self,
        first: Source,
        another: Callable[[], Source],
        parts: int,
        retries: Retries,
        *,
        expected: Callable[[], Sequence[bytes]] = list,
        most_rows: int = MAX_ROWS,
        may_be_whole: bool = False,
    ) -> None:
        self.name = first.name
        self._plugins: list[Source] = [first]
        self._another = another
        self._most_parts = parts
        self._retries = retries
        self._expected = expected
        self._most_rows = most_rows
        self._may_be_whole = may_be_whole
        self._reading: dict[int, Source] = {}
        self._name = DatasetName("")
        self._schema = pa.schema([])
        self._division = _Division([], None, [])
        self._open_transactions: set[int] = set()
        self._idle: set[int] = set()
        self._moved = threading.Condition()
        self._until: deque[_Division] = deque()
        self._taken = self._claimed = self._allowed = 0
        """Rows of all parts: what `read` has returned, what is read or being read, and what may be."""
        self._halted = threading.Event()
        self._threads: list[threading.Thread] = []
        self._items: Channel[tuple[int, ReadProgress | BaseException]] = Channel(_WAITING)
        self._told_end = False

    @property
    def stats(self) -> PluginStats:
        """The totals of all instances."""
        found = [each.stats for each in self._plugins]
        return PluginStats(**{each.name: sum(getattr(one, each.name) for one in found) for each in fields(PluginStats)})

    def start(self) -> DividedSource:
        """Start the first instance, so that a wrong configuration is found."""
        self._plugins[0].start()
        return self

    def dataset(self, selection: _Selected = None) -> Dataset:
        """Return the dataset that a selection names."""
        return self._retries.call(self._plugins[0].dataset, selection)

    def estimate(self, selection: _Selected = None) -> Estimate | None:
        """Ask how many rows there are."""
        return self._retries.call(self._plugins[0].estimate, selection)

    def open(self, selection: _Selected = None, *, state: bytes | None = None) -> list[pa.Schema]:
        """Divide the read, or continue with the parts of a state, and begin to read them.

        Raises:
            ConfigError: The dataset cannot be divided.
            PluginError: The plugin answered with an error.
            PluginFault: It trapped.
            StateError: The state is damaged.
        """
        first, dataset = self._plugins[0], self.dataset(selection)
        self._name = dataset.name
        self._division = division = self._divided(first, selection, dataset, state)
        self._until = deque(
            each for each in map(_parsed, filter(is_divided, self._expected())) if each.parts == division.parts
        )
        self._let_go_on()
        left = [number for number, at in enumerate(division.at) if not at.ended]
        self._items = Channel(_WAITING * len(left))
        (self._schema,) = self._opened(first, selection, left[0])
        for _ in left[1:]:
            self._plugins.append(self._another())
        self._reading = dict(zip(left, self._plugins, strict=True))
        for number, plugin in self._reading.items():
            body = partial(self._read_part, plugin, selection, number, is_open=plugin is first)
            name = f"{threading.current_thread().name}-{number}"
            # What is logged there belongs to the run and the node of this thread.
            thread = threading.Thread(target=copy_context().run, args=(body,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return [self._schema]

    def _divided(self, first: Source, selection: _Selected, dataset: Dataset, state: bytes | None) -> _Division:
        if is_divided(state):
            kept = _parsed(state)
            if not all(each.ended for each in kept.at):
                return kept
            state = None
        if self._may_be_whole and "splittable" not in dataset.modes:
            return _Division([None], None, [_Position(state)])
        found = self._retries.call(partial(first.split, selection, at_most=self._most_parts, state=state))
        return _Division(list(found.parts), found.rest, [_Position() for _ in found.parts])

    def read(self, max_rows: int = MAX_ROWS, seconds: float | None = None) -> ReadProgress:
        """Take what a part gave next; each chunk has the state of all parts, or none within a transaction.

        Args:
            max_rows: How many rows all parts together may read ahead.
            seconds: How long to wait for it; `None` for any time.

        Raises:
            OutOfTime: Nothing came in time.
            PluginError: The plugin answered with an error, for any part.
            PluginFault: It trapped.
            Stopped: `halt` was called.
        """
        at = self._division.at
        if not all(each.ended for each in at):
            with self._moved:
                self._allowed = self._taken + max_rows
                self._moved.notify_all()
            try:
                number, found = self._items.get(seconds)
            except TimeoutError:
                raise OutOfTime from None
            if isinstance(found, BaseException):
                raise found
            match found:
                case Chunk():
                    at[number].rows += found.rows.num_rows
                    self._taken += found.rows.num_rows
                    self._take_state(number, found.state)
                    return Chunk(found.dataset, found.rows, self._state())
                case NewSchema():
                    return found
                case Idle():
                    self._take_state(number, found.state)
                    self._idle.add(number)
                    if all(each.ended or part in self._idle for part, each in enumerate(at)):
                        return Idle(self._state(), 0.0)
                case Ended():
                    at[number].ended = True
                    self._let_go_on()
            if not all(each.ended for each in at):
                return self._no_rows(self._state())  # at which a barrier may be expected
        if not self._told_end:
            self._told_end = True
            return self._no_rows(self._division.rest or self._division.to_state())
        return Ended()

    def acknowledge(self, state: bytes) -> None:
        """Tell the instance of each part that its rows before a state are safe."""
        division = _parsed(state) if is_divided(state) else self._division
        for number, plugin in self._reading.items():
            if (reached := division.at[number].state) is not None:
                plugin.acknowledge(reached)

    def interrupt(self) -> None:
        """End the calls that other threads are in."""
        for each in self._plugins:
            each.interrupt()

    def halt(self) -> None:
        """End the waits of all threads."""
        self._halted.set()
        self._retries.stop()
        self._items.stop()
        with self._moved:
            self._moved.notify_all()

    def close(self) -> None:
        """End the read, and close all instances; idempotent."""
        self.halt()
        for thread in self._threads:
            thread.join()
        for each in self._plugins:
            each.close()

    def _opened(self, plugin: Source, selection: _Selected, number: int) -> list[pa.Schema]:
        part, at = self._division.parts[number], self._division.at[number]
        return self._retries.call(partial(plugin.open, selection, part=part, state=at.state))

    def _take_state(self, number: int, state: bytes | None) -> None:
        self._idle.discard(number)
        if state is None:
            self._open_transactions.add(number)
            return
        self._open_transactions.discard(number)
        self._division.at[number].state = state
        self._let_go_on()

    def _no_rows(self, state: bytes | None) -> Chunk:
        return Chunk(self._name, no_rows(self._schema), state)

    def _state(self) -> bytes | None:
        return None if self._open_transactions else self._division.to_state()

    def _let_go_on(self) -> None:
        """Let the parts read beyond a barrier that is expected, once all of them are there."""
        here = self._division.at
        with self._moved:
            while self._until:
                there = self._until[0].at
                # Then the source does not give the same rows again, which the run finds out.
                missed = any(
                    not due.ended and (at.ended or at.rows > due.rows) for at, due in zip(here, there, strict=True)
                )
                if here != there and not missed:
                    return
                self._until.popleft()
                self._moved.notify_all()

    def _read_part(self, plugin: Source, selection: _Selected, number: int, *, is_open: bool) -> None:
        """Read a part to its end; the body of a thread."""
        kept = self._division.at[number]
        read = _Position(kept.state, kept.rows)
        try:
            if not is_open:
                (schema,) = self._opened(plugin, selection, number)
                if not schema.equals(self._schema):
                    self._items.put((number, NewSchema(self._name, schema)))
            while not read.ended:
                claimed = self._wait_for_turn(number, read)
                progress = self._retries.call(plugin.read, claimed)
                rows = progress.rows.num_rows if isinstance(progress, Chunk) else 0
                read.rows += rows
                self._give_back(claimed - rows)
                if isinstance(progress, Chunk | Idle):
                    read.state = progress.state or read.state
                read.ended = isinstance(progress, Ended)
                self._items.put((number, progress))
                if isinstance(progress, Idle) and self._halted.wait(progress.retry_after_s):
                    return
        except Stopped:
            pass
        except BaseException as error:
            self._fail(number, error)

    def _fail(self, number: int, error: BaseException) -> None:
        with suppress(Stopped):
            self._items.put((number, error))

    def _wait_for_turn(self, number: int, read: _Position) -> int:
        """Wait at an expected barrier for the other parts, and for rows that may be read. Returns how many to read.

        Raises:
            Stopped: `halt` was called.
        """
        with self._moved:
            while not self._halted.is_set():
                until = self._until[0].at[number] if self._until else None
                if until is None or until.ended:
                    most = self._most_rows
                elif read.state != until.state:
                    most = max(1, until.rows - read.rows)
                else:
                    most = 0
                if claimed := min(most, self._share()):
                    self._claimed += claimed
                    return claimed
                self._moved.wait()
        raise Stopped

    def _share(self) -> int:
        """How many of the rows that may be read are for a part that asks now: the others need some too."""
        left, parts = self._allowed - self._claimed, len(self._reading)
        return max(0, min(self._most_rows, left, max(left // parts, self._most_rows // (_FEWEST * parts), 1)))

    def _give_back(self, rows: int) -> None:
        """Let other parts read rows that a part was allowed to, and did not have."""
        with self._moved:
            self._claimed -= rows
            self._moved.notify_all()


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)


def _parsed(state: bytes | None) -> _Division:
    try:
        value: Any = orjson.loads((state or b"").removeprefix(_MARK))
        parts = [_bytes(each) for each in value["parts"]]
        at = [_Position(_bytes(kept), int(rows), bool(ended)) for kept, rows, ended in value["at"]]
        if not 0 < len(parts) == len(at) <= MOST_PARTS:
            raise ValueError("there are no parts, or too many, or others than positions")
        return _Division(parts, _bytes(value["rest"]), at)
    except (ValueError, TypeError, KeyError) as error:
        raise StateError("the state of a divided read is damaged", hint="start again with --full-refresh") from error
