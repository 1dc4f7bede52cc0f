"""Checkpoints of a run: points in a source's rows that are kept once every destination has all rows before them safe.

A barrier goes with the rows from the source to every node that writes. Each of them stores all rows before it, and the
last one to do so makes the checkpoint. The next run continues from there. (Chandy and Lamport's snapshots, here for
one source; see `joint_checkpoints` for sources whose rows meet.)

A destination that keeps the host's token in the same transaction as the rows may be ahead of the state file, by the
barriers that were under way when a run died. Those are kept before the destination is asked, so that the next run knows
them again: it drops rows for that destination until it comes to the barrier that the token names.

A barrier is due after half of the rows of an interval, and the source waits while a whole interval is on its way. So it
reads one half while the destinations make the other one safe, and a run that dies repeats at most one interval.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from dataflare.json_values import parse_json
from dataflare.pipeline.channel import Stopped
from dataflare.pipeline.pipeline_state import Checkpoint, NodeState, PipelineState
from dataflare.pipeline.run_errors import StateError

__all__ = ["NO_POSITION", "NO_STATE", "Checkpoints", "Position", "check_reading", "dataset_is_gone", "position_of"]

_FULL_REFRESH: Final = "start again with --full-refresh"
NO_POSITION: Final = "the source gives no position: a run that stops is repeated from the start"
NO_STATE: Final = "the run keeps no state: one that stops is repeated from the start"


@dataclass(slots=True)
class _UnderWay:
    """A barrier on its way, and who has not reached it yet."""

    checkpoint: Checkpoint
    rows: int
    waiting: set[str]
    durable: bool = True


@dataclass(slots=True)
class Position:
    """Where a destination stands when its run begins.

    Args:
        drop_until: The barrier up to which it has the rows already; `None` where all rows are new to it.
    """

    drop_until: Checkpoint | None = None

    def passes(self, checkpoint: Checkpoint) -> bool:
        """Whether rows after this barrier are new to the destination; remembers it."""
        until = self.drop_until
        if until is not None and (checkpoint.last if until.state is None else checkpoint.state == until.state):
            self.drop_until = None
        return self.drop_until is None


@dataclass(slots=True)
class _Read:
    kept: NodeState
    resumed: bool
    next_sequence: int
    known: dict[bytes, Checkpoint]
    """By their states, the barriers that a destination may have reached before the last run died."""


class Checkpoints:
    """The checkpoints of one source; any thread may call it.

    Args:
        node: The source's node.
        writers: The nodes that write its rows.
        destinations: Those of them that can have rows of an earlier run already.
        file: Where they are kept.
        every_rows: How many rows a run that dies repeats at most, where the source says often enough where it is.
        every_s: A barrier is due after this many seconds, or after half of the rows.
        obstacle: Why no checkpoints can be made during the run, such as a writer that makes rows safe at the end alone;
            empty if they can.
        fresh: Whether the read starts from the beginning, even if a position is saved.
        replaced: Whether a writer puts the rows in place of what it has: a full read that stopped then starts over.

    Attributes:
        reached: How many checkpoints this run made.
        obstacle: Why it makes none before its end; empty for no reason.
    """

    def __init__(
        self,
        node: str,
        writers: frozenset[str],
        destinations: frozenset[str],
        file: PipelineState,
        *,
        every_rows: int,
        every_s: float,
        obstacle: str = "",
        fresh: bool,
        replaced: bool = False,
    ) -> None:
        self._replaced = replaced
        self.node = node
        self._every_rows = every_rows
        self.step_rows = max(1, every_rows // 2)
        """A barrier is due after this many rows."""
        self.reached = 0
        self._writers = writers
        self._file = file
        self._every_s = every_s
        self.obstacle = obstacle
        self._fresh = fresh
        self._lock = threading.Condition()
        self._stopped = False
        self._read: _Read | None = None
        self._rows = 0
        self._total = 0
        self._last_s = 0.0
        self._behind = set(destinations)
        """Destinations that have not begun yet, or that drop rows which they have already."""
        self._under_way: deque[_UnderWay] = deque()
        self._safe: deque[bytes] = deque()
        self._ended: Checkpoint | None = None
        self._is_full = False
        self._complete = True

    @property
    def resumed(self) -> bool:
        """Whether the read continues from a checkpoint."""
        return self._read is not None and self._read.resumed

    @property
    def goes_on_after_rows(self) -> bool:
        """Whether the read continues, and there were rows before, which destinations have to have."""
        return self.resumed and self._read is not None and self._read.kept.rows > 0

    @property
    def start(self) -> tuple[str, int]:
        """The series of checkpoints, and the number of the one that the read goes on from; after `begin`."""
        assert self._read is not None
        return self._read.kept.lineage, self._read.kept.checkpoint.sequence

    def begin(self, reading: str, mode: Literal["full", "incremental", "changes"]) -> bytes | None:
        """Begin the read.

        Args:
            reading: What is read, as JSON; a state belongs to it alone.
            mode: How it is read. After a full read that came to its end, the next one starts from the beginning.

        Returns:
            The state to continue from; `None` is the beginning.

        Raises:
            StateError: The saved state belongs to something else, or the file cannot be used.
        """
        kept = self._file.node(self.node)
        if self._fresh or kept is None or (kept.checkpoint.last and mode == "full"):
            kept, resumed = self._file.begin(self.node, reading), False
        else:
            check_reading(kept, reading)
            resumed = kept.checkpoint.state is not None
        # Where a run ended by a limit, the source goes on.
        known = {each.state: replace(each, last=False) for each in kept.pending if each.state is not None}
        self._total = kept.rows
        self._is_full = mode == "full"
        self._read = _Read(kept, resumed, kept.last_sequence + 1, known)
        self._last_s = time.monotonic()
        return kept.checkpoint.state

    @property
    def rows_to_known(self) -> int | None:
        """After how many rows a barrier is expected that a run before has made; `None` where none is.

        However the runs were limited, a read of so many rows ends there.
        """
        assert self._read is not None
        ahead = [each.rows - self._total for each in self._read.known.values() if each.rows > self._total]
        return min(ahead, default=None)

    @property
    def known(self) -> list[bytes]:
        """The states at which a run before made barriers, and died before it knew who had reached them; in order."""
        assert self._read is not None
        states = sorted(self._read.known.values(), key=lambda each: each.sequence)
        return [each.state for each in states if each.state is not None]

    def wait_for_room(self) -> int:
        """Wait until a checkpoint is reached, if a whole interval of rows is on its way.

        Returns:
            How many rows the source may give next at most.

        Raises:
            Stopped: `stop` was called.
        """
        with self._lock:
            while self._under_way and not self.obstacle and self._room <= 0 and not self._stopped:
                self._lock.wait()
            if self._stopped:
                raise Stopped
            left = self.step_rows - self._rows
            return min(each for each in (left, self._room, self.step_rows, self.rows_to_known) if each and each > 0)

    @property
    def _room(self) -> int:
        return self._every_rows - self._rows - sum(each.rows for each in self._under_way)

    def stop(self) -> None:
        """End the wait of the source."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def barrier(self, rows: int, state: bytes | None) -> Checkpoint | None:
        """Count rows that the source gave, and make a barrier where one is due.

        Args:
            rows: How many rows.
            state: Where to continue after them; `None` within a transaction.
        """
        assert self._read is not None
        with self._lock:
            self._rows += rows
            self._total += rows
            if state is None:
                return None
            if (known := self._read.known.get(state)) is not None:
                self._forget_known(known.sequence)
                return self._start(known)
            if self.obstacle or (self._read.known and self._behind):
                return None  # barriers come in the order of their numbers
            return self._start(self._next(state, last=False)) if self._is_due else None

    @property
    def _is_due(self) -> bool:
        return self._rows >= self.step_rows or time.monotonic() - self._last_s >= self._every_s

    def first_barriers(self) -> tuple[Checkpoint, ...]:
        """Make the barriers that are due before the first row."""
        return ()

    def barriers(self, rows: int, state: bytes | None) -> tuple[Checkpoint, ...]:
        """Make the barriers that are due; otherwise as `barrier`."""
        made = self.barrier(rows, state)
        return () if made is None else (made,)

    def last_barriers(self, state: bytes | None, *, complete: bool = True) -> Iterator[Checkpoint]:
        """Make the barriers that are left at the end of the rows; otherwise as `end`."""
        yield self.end(state, complete=complete)

    def end(self, state: bytes | None, *, complete: bool = True) -> Checkpoint:
        """Make the barrier at the end of the rows.

        Args:
            state: The last one; `None` where there was none.
            complete: Whether the source came to its end; else the next run goes on from the state.
        """
        with self._lock:
            if state is None and not self.obstacle:
                self.obstacle = NO_POSITION
            self._complete = complete
            self._ended = self._next(state, last=True)
            return self._ended

    def next_safe(self) -> bytes | None:
        """The next state up to which all rows are safe, for the source to be told; `None` where there is no new one."""
        return self._safe.popleft() if self._safe else None

    def token(self, checkpoint: Checkpoint) -> bytes:
        """Return the token that a destination keeps with the rows before a barrier."""
        assert self._read is not None
        return json.dumps({"lineage": self._read.kept.lineage, "sequence": checkpoint.sequence}).encode()

    def position(
        self, writer: str, token: bytes | None, *, mode: str, keeps_token: bool, created: str = ""
    ) -> Position:
        """Find where a destination stands.

        Args:
            writer: Its node.
            token: The token that it kept last.
            mode: How it writes.
            keeps_token: Whether it keeps tokens at all.
            created: The table that it had to make; empty for none.

        Raises:
            StateError: It has other rows than the state file says.
        """
        assert self._read is not None
        known = keeps_token and not self._fresh
        position = position_of(self._read.kept, writer, token, mode=mode, resumed=self.resumed) if known else Position()
        if created and mode != "replace" and (self.goes_on_after_rows or position.drop_until is not None):
            raise dataset_is_gone(self.node, self.start[1], writer, created)
        if position.drop_until is None:
            self.caught_up(writer)
        return position

    def caught_up(self, writer: str) -> None:
        """Take note that all further rows are new to a destination."""
        with self._lock:
            self._behind.discard(writer)

    def prepare(self, checkpoint: Checkpoint) -> None:
        """Keep a barrier before a destination keeps its token; idempotent.

        Raises:
            StateError: The file cannot be written.
        """
        self._file.prepare(self.node, checkpoint)

    def reach(self, writer: str, checkpoint: Checkpoint, *, durable: bool) -> None:
        """Take note that a writer came to a barrier; the last one of all makes the checkpoint.

        Args:
            writer: Its node.
            checkpoint: The barrier.
            durable: Whether all rows before it survive a crash.

        Raises:
            StateError: The file cannot be written.
        """
        with self._lock:
            for each in self._under_way:
                if each.checkpoint.sequence == checkpoint.sequence:
                    each.waiting.discard(writer)
                    each.durable &= durable
                    if not durable and not self.obstacle:
                        self.obstacle = f"node {writer!r} makes rows safe at the end of the run alone"
            while self._under_way and not self._under_way[0].waiting:
                done = self._under_way.popleft()
                if not done.durable:
                    # Its rows count with the next one; where all is made safe at the end, more barriers help nobody.
                    self._rows += done.rows
                    continue
                self._file.commit([(self.node, done.checkpoint, done.rows)])
                self.reached += 1
                if done.checkpoint.state is not None:
                    self._safe.append(done.checkpoint.state)
            self._lock.notify_all()

    def finish(self, *, stopped: bool) -> tuple[str, Checkpoint, int] | None:
        """Take the last checkpoint, for `PipelineState.commit`, once all is safe; `None` where the read did not end.

        A full read that was stopped and that replaces its target saves no position: the rest of the rows would replace
        the first part.

        Args:
            stopped: Whether a source of the run stopped before its end. The next run goes on with all of them: a full
                read that came to its end does not begin again.
        """
        replaces = self._is_full and self._replaced
        if self._ended is None or (not self._complete and replaces):
            return None
        self.reached += 1
        goes_on = stopped and not replaces and self._ended.state is not None
        return (
            self.node,
            replace(self._ended, last=self._complete and not goes_on),
            self._rows + sum(each.rows for each in self._under_way),
        )

    def _next(self, state: bytes | None, *, last: bool) -> Checkpoint:
        assert self._read is not None
        checkpoint = Checkpoint(self._read.next_sequence, state, last, self._total)
        self._forget_known(checkpoint.sequence)
        self._read.next_sequence += 1
        return checkpoint

    def _forget_known(self, sequence: int) -> None:
        """Forget the earlier barriers of runs before: numbers rise with the rows, since dead letters go by them."""
        assert self._read is not None
        self._read.known = {state: each for state, each in self._read.known.items() if each.sequence > sequence}

    def _start(self, checkpoint: Checkpoint) -> Checkpoint:
        self._under_way.append(_UnderWay(checkpoint, self._rows, set(self._writers)))
        self._rows, self._last_s = 0, time.monotonic()
        return checkpoint


def check_reading(kept: NodeState, reading: str) -> None:
    """Refuse a position in something else than what is read now, as JSON.

    Raises:
        StateError: It is one.
    """
    if kept.reading != reading:
        raise StateError(
            f"the state that was kept for node {kept.node!r} is of something else: {kept.reading}; now it "
            f"reads {reading}",
            hint=f"{_FULL_REFRESH}, or read what was read before",
        )


def position_of(kept: NodeState, writer: str, token: bytes | None, *, mode: str, resumed: bool) -> Position:
    """Find where a destination stands by the token that it kept last.

    Args:
        kept: The position of the source whose rows it takes.
        writer: Its node.
        token: The token; `None` for none.
        mode: How it writes.
        resumed: Whether the read continues from that position.

    Raises:
        StateError: It has other rows than the state says.
    """
    found = _parse(token, kept.node)
    if mode == "replace" or (found is None and not resumed):
        return Position()
    here = kept.checkpoint.sequence
    if found is None:
        what = "has none of the rows that were read before"
    elif found[0] == kept.lineage and (found[1] == here or (found[1] < here and not resumed)):
        return Position()
    elif found[0] == kept.lineage and found[1] < here:
        what = f"is at checkpoint {found[1]}, and lacks the rows from there on"
    elif mode == "merge":
        return Position()  # to merge the same rows again changes nothing
    else:
        for each in kept.pending:
            if found == (kept.lineage, each.sequence):
                # At the end of a run, there may be no rows between the last two.
                return Position() if each.state == kept.checkpoint.state else Position(each)
        what = "has rows of runs that the state file does not know"
    raise StateError(
        f"node {kept.node!r} goes on from checkpoint {here}, and destination {writer!r} {what}",
        hint=f"{_FULL_REFRESH}, or put the state file back that belongs to the destination",
    )


def dataset_is_gone(node: str, sequence: int, writer: str, dataset: str) -> StateError:
    """The error of a source that goes on after rows which no dataset or table has any more."""
    return StateError(
        f"node {node!r} goes on from checkpoint {sequence}, and destination {writer!r} lacks the rows before it: the "
        f"dataset {dataset!r} was dropped or renamed",
        hint=f"{_FULL_REFRESH}, or put it back",
    )


def _parse(token: bytes | None, node: str = "") -> tuple[str, int] | None:
    """Read what a token says of a source: `None` if nothing."""
    if not token:
        return None
    try:
        value = parse_json(token)
        if "sources" in value:
            if node not in value["sources"]:
                return None
            value = value["sources"][node]
        lineage, sequence = value["lineage"], value["sequence"]
    except (ValueError, TypeError, KeyError) as error:
        raise StateError("a destination returned a token that this program did not write") from error
    if not isinstance(lineage, str) or not isinstance(sequence, int):
        raise StateError("a destination returned a token that this program did not write")
    return lineage, sequence
