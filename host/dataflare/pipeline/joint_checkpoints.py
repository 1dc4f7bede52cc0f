"""Checkpoints of several sources whose rows meet in a node: they are made together, or not at all.

A barrier has one number in all sources of a group, and names a position in each. Whichever source comes to the point
where one is due asks for it, and every other one makes it at its next position. Where rows meet, barriers wait for one
another (`fan_in`), so the rows before a barrier are those up to these positions, however the rows of the sources are
mixed. The state of all is saved in one step, and a token names the position of each source. A source that has ended
goes on making the barriers that others ask for, until all have ended.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from dataflare.json_values import parse_json
from dataflare.pipeline.channel import Stopped
from dataflare.pipeline.checkpoints import NO_POSITION, Checkpoints, Position, dataset_is_gone, position_of
from dataflare.pipeline.pipeline_state import Checkpoint, NodeState, PipelineState
from dataflare.pipeline.run_errors import StateError

__all__ = ["GroupedCheckpoints", "JointCheckpoints", "SourceGroup", "positions_of"]


@dataclass(slots=True)
class _Asked:
    """A barrier that every source of a group makes.

    Args:
        number: Its number.
        known_as: The number that the run before gave it; 0 for a new one.
        expected: By source, the position at which the run before made it.
        last: Whether it is the end of the rows.
        waiting: The writers that have not come to it.
        made: By source, its position.
        durable: Whether all rows before it survive a crash.
    """

    number: int
    waiting: set[str]
    known_as: int = 0
    expected: Mapping[str, bytes | None] = field(default_factory=dict)
    last: bool = False
    made: dict[str, Checkpoint] = field(default_factory=dict)
    durable: bool = True


class SourceGroup:
    """Sources whose rows meet; any thread may call it.

    Args:
        writers: The nodes that write their rows.
        destinations: Those of them that can have rows of an earlier run already.
        file: Where checkpoints are kept.
    """

    def __init__(self, writers: frozenset[str], destinations: frozenset[str], file: PipelineState) -> None:
        self.lock = threading.Condition()
        self.writers = writers
        self.behind = set(destinations)
        self.members: list[GroupedCheckpoints] = []
        self._file = file
        self._asked: list[_Asked] = []
        self._done = 0
        """How many of those are made and safe, or never will be."""
        self._last = 0

    def begin(self) -> None:
        """Find the barriers of a run before, once all sources have begun; `lock` is held."""
        if not all(each.has_begun for each in self.members):
            return
        self._last = max(each.kept.checkpoint.sequence for each in self.members)
        pending = [each for member in self.members for each in member.kept.pending]
        for number in sorted({each.sequence for each in pending if each.state is not None}):
            expected = {
                member.node: each.state
                for member in self.members
                for each in member.kept.pending
                if each.sequence == number and each.state is not None
            }
            self._ask(max(number, self._last + 1), known_as=number, expected=expected)
        self._last = max(self._last, *(each.kept.last_sequence for each in self.members))
        self.lock.notify_all()

    def next_for(self, member: GroupedCheckpoints) -> _Asked | None:
        """Find the barrier that a source has to make where it is; `None`: none. `lock` is held."""
        if member.place < len(self._asked):
            asked = self._asked[member.place]
            other = asked.expected.get(member.node, member.state) != member.state
            return None if other and self.behind and not member.has_ended else asked
        up_to_date = all(each.place == len(self._asked) for each in self.members)
        if member.has_ended:
            if up_to_date and all(each.has_ended for each in self.members):
                return self._ask(self._last + 1, last=True)
            return None
        can = up_to_date and not member.obstacle and all(each.state is not None for each in self.members)
        return self._ask(self._last + 1) if can and member.is_due else None

    def take(self, member: GroupedCheckpoints, asked: _Asked, checkpoint: Checkpoint, *, durable: bool) -> None:
        """Take note that a source has made a barrier; `lock` is held."""
        asked.made[member.node] = checkpoint
        if not durable:
            asked.durable = False
            self.note_obstacle(NO_POSITION)
        self._settle()

    def note_obstacle(self, obstacle: str) -> None:
        """Take note of why no further barriers are made before the end; `lock` is held."""
        for each in self.members:
            each.obstacle = each.obstacle or obstacle
        self.lock.notify_all()

    def made(self, number: int) -> Mapping[str, Checkpoint]:
        """The positions of the sources at a barrier that came to a writer."""
        with self.lock:
            return next(each.made for each in reversed(self._asked) if each.number == number)

    def prepare(self, sources: Sequence[str], number: int) -> None:
        """Keep a barrier before a destination keeps its token; idempotent.

        Raises:
            StateError: The file cannot be written.
        """
        made = self.made(number)
        for name in sources:
            self._file.prepare(name, made[name])

    def reach(self, writer: str, number: int, *, durable: bool) -> None:
        """Take note that a writer came to a barrier; the last one of all makes the checkpoint.

        Raises:
            StateError: The file cannot be written.
        """
        with self.lock:
            asked = next(each for each in reversed(self._asked) if each.number == number)
            asked.waiting.discard(writer)
            asked.durable &= durable
            if not durable:
                self.note_obstacle(f"node {writer!r} makes rows safe at the end of the run alone")
            self._settle()

    def _ask(
        self,
        number: int,
        *,
        known_as: int = 0,
        expected: Mapping[str, bytes | None] | None = None,
        last: bool = False,
    ) -> _Asked:
        asked = _Asked(number, set(self.writers), known_as, expected or {}, last)
        self._asked.append(asked)
        self._last = number
        self.lock.notify_all()
        return asked

    def _settle(self) -> None:
        while self._done < len(self._asked):
            asked = self._asked[self._done]
            # What is left at the end is saved when the run has ended.
            if asked.last or asked.waiting or len(asked.made) < len(self.members):
                break
            self._done += 1
            if asked.durable:
                self._file.commit([(each.node, asked.made[each.node], each.rows_under_way) for each in self.members])
            asked.made = {}
            for each in self.members:
                each.settle(durable=asked.durable)
        self.lock.notify_all()


class GroupedCheckpoints(Checkpoints):
    """The checkpoints of one source of a group; any thread may call it.

    Args:
        node: The source's node.
        group: The sources whose rows meet.
        file: Where checkpoints are kept.
        every_rows: As in `Checkpoints`.
        every_s: As in `Checkpoints`.
        obstacle: As in `Checkpoints`.
        fresh: As in `Checkpoints`.
        replaced: As in `Checkpoints`.
    """

    def __init__(
        self,
        node: str,
        group: SourceGroup,
        file: PipelineState,
        *,
        every_rows: int,
        every_s: float,
        obstacle: str = "",
        fresh: bool,
        replaced: bool = False,
    ) -> None:
        super().__init__(
            node,
            group.writers,
            frozenset(),
            file,
            every_rows=every_rows,
            every_s=every_s,
            obstacle=obstacle,
            fresh=fresh,
            replaced=replaced,
        )
        self._group = group
        self._lock, self._behind = group.lock, group.behind
        group.members.append(self)
        self.place = 0
        """How many of the group's barriers it has made."""
        self.state: bytes | None = None
        """Its last position; `None` where it has none yet."""
        self.has_begun = self.has_ended = False
        self._gave_rows_since = False
        self._is_fresh = fresh

    @property
    def kept(self) -> NodeState:
        """What the run goes on from; after `begin`."""
        assert self._read is not None
        return self._read.kept

    @property
    def is_fresh(self) -> bool:
        """Whether what destinations have of earlier runs does not count."""
        return self._is_fresh

    @property
    def is_due(self) -> bool:
        """Whether it is time for a barrier."""
        return self._is_due

    @property
    def rows_under_way(self) -> int:
        """The rows before its oldest barrier that is not settled, since the one before."""
        return self._under_way[0].rows

    def begin(self, reading: str, mode: Literal["full", "incremental", "changes"]) -> bytes | None:
        """Begin the read, and wait until all sources of the group have begun; otherwise as `Checkpoints.begin`."""
        self.state = super().begin(reading, mode)
        with self._lock:
            self.has_begun = True
            self._group.begin()
            self._lock.wait_for(lambda: self._stopped or all(each.has_begun for each in self._group.members))
            if self._stopped:
                raise Stopped
        return self.state

    def first_barriers(self) -> tuple[Checkpoint, ...]:
        """Make the barriers that a run before made where this one begins."""
        with self._lock:
            return () if self.state is None else tuple(self._made())

    def barriers(self, rows: int, state: bytes | None) -> tuple[Checkpoint, ...]:
        """Count rows that the source gave, and make the barriers that are due; otherwise as `Checkpoints.barrier`."""
        with self._lock:
            self._rows += rows
            self._total += rows
            self._gave_rows_since = state is None and (self._gave_rows_since or rows > 0)
            if state is None:
                return ()
            self.state = state
            return tuple(self._made())

    def last_barriers(self, state: bytes | None, *, complete: bool = True) -> Iterator[Checkpoint]:
        """Make barriers for the others until all sources have ended, and the last one then.

        Raises:
            Stopped: `stop` was called.
        """
        with self._lock:
            self.state, self.has_ended, self._complete = state, True, complete
            if state is None:
                self._group.note_obstacle(NO_POSITION)
            self._lock.notify_all()
        while self._ended is None:
            with self._lock:
                made = self._lock.wait_for(lambda: self._stopped or self._group.next_for(self))
                if self._stopped:
                    raise Stopped
                assert isinstance(made, _Asked)
                checkpoint = self._make(made)
                self._ended = checkpoint if made.last else None
            yield checkpoint

    def reach(self, writer: str, checkpoint: Checkpoint, *, durable: bool) -> None:
        """Take note that a writer came to a barrier; otherwise as `Checkpoints.reach`."""
        self._group.reach(writer, checkpoint.sequence, durable=durable)

    def settle(self, *, durable: bool) -> None:
        """Take note that the oldest barrier is saved, or that its rows count with the next one; the lock is held."""
        done = self._under_way.popleft()
        if not durable:
            self._rows += done.rows
            return
        self.reached += 1
        if done.checkpoint.state is not None:
            self._safe.append(done.checkpoint.state)

    def _made(self) -> Iterator[Checkpoint]:
        while (asked := self._group.next_for(self)) is not None:
            yield self._make(asked)

    def _make(self, asked: _Asked) -> Checkpoint:
        checkpoint = Checkpoint(asked.number, self.state, asked.last, self._total)
        self._forget_known(asked.known_as)
        self.place += 1
        self._start(checkpoint)
        self._group.take(self, asked, checkpoint, durable=self.state is not None and not self._gave_rows_since)
        return checkpoint


@dataclass(slots=True)
class _JointPosition(Position):
    """Where a destination stands that has rows of several sources."""

    until: Mapping[str, Checkpoint] = field(default_factory=dict)
    made: Callable[[int], Mapping[str, Checkpoint]] = lambda _: {}

    def passes(self, checkpoint: Checkpoint) -> bool:
        made = self.made(checkpoint.sequence)
        if all(Position(each).passes(made[name]) for name, each in self.until.items()):
            self.drop_until = None
        return self.drop_until is None


class JointCheckpoints:
    """What a node below a group of sources knows of the checkpoints of those whose rows it takes.

    Args:
        group: The group.
        sources: The sources whose rows it takes, each once.
    """

    def __init__(self, group: SourceGroup, sources: Sequence[GroupedCheckpoints]) -> None:
        self._group = group
        self._sources = sources

    @property
    def _going_on(self) -> GroupedCheckpoints:
        """The first source that continues from a checkpoint after rows, for errors; else the first."""
        return next((each for each in self._sources if each.goes_on_after_rows), self._sources[0])

    @property
    def node(self) -> str:
        """As `Checkpoints.node`."""
        return self._going_on.node

    @property
    def resumed(self) -> bool:
        """Whether a read continues from a checkpoint."""
        return any(each.resumed for each in self._sources)

    @property
    def goes_on_after_rows(self) -> bool:
        """Whether a read continues, and there were rows before, which destinations have to have."""
        return self._going_on.goes_on_after_rows

    @property
    def start(self) -> tuple[str, int]:
        """The series of checkpoints of these sources, and the number of the one that the run goes on from."""
        starts = [each.start for each in self._sources]
        if len(starts) == 1:
            return starts[0]
        names = json.dumps([[each.node, lineage] for each, (lineage, _) in zip(self._sources, starts, strict=True)])
        return sha256(names.encode()).hexdigest()[:16], max(number for _, number in starts)

    def stop(self) -> None:
        """Nothing waits here."""

    def token(self, checkpoint: Checkpoint) -> bytes:
        """Return the token that a destination keeps with the rows before a barrier."""
        if len(self._sources) == 1:
            return self._sources[0].token(checkpoint)
        named = {each.node: {"lineage": each.kept.lineage, "sequence": checkpoint.sequence} for each in self._sources}
        return json.dumps({"sources": named}).encode()

    def position(
        self, writer: str, token: bytes | None, *, mode: str, keeps_token: bool, created: str = ""
    ) -> Position:
        """Find where a destination stands; as `Checkpoints.position`.

        Raises:
            StateError: It has other rows than the state file says.
        """
        until: Mapping[str, Checkpoint] = {}
        if keeps_token and not any(each.is_fresh for each in self._sources):
            kept = [(each.kept, each.resumed) for each in self._sources]
            until = positions_of(kept, writer, token, mode=mode)
        if created and mode != "replace" and (self.goes_on_after_rows or until):
            raise dataset_is_gone(self.node, self._going_on.start[1], writer, created)
        if not until:
            self.caught_up(writer)
            return Position()
        return _JointPosition(next(iter(until.values())), until, self._group.made)

    def caught_up(self, writer: str) -> None:
        """Take note that all further rows are new to a destination."""
        with self._group.lock:
            self._group.behind.discard(writer)

    def prepare(self, checkpoint: Checkpoint) -> None:
        """Keep a barrier before a destination keeps its token; as `Checkpoints.prepare`."""
        self._group.prepare([each.node for each in self._sources], checkpoint.sequence)

    def reach(self, writer: str, checkpoint: Checkpoint, *, durable: bool) -> None:
        """Take note that a writer came to a barrier; as `Checkpoints.reach`."""
        self._group.reach(writer, checkpoint.sequence, durable=durable)


def positions_of(
    sources: Sequence[tuple[NodeState, bool]], writer: str, token: bytes | None, *, mode: str
) -> dict[str, Checkpoint]:
    """Find up to where a destination has the rows of several sources already, by the token that it kept last.

    Args:
        sources: The positions of the sources, and whether the read of each continues from there.
        writer: The destination's node.
        token: The token; `None` for none.
        mode: How it writes.

    Returns:
        The barrier of each source up to which the rows are there; empty where all rows are new.

    Raises:
        StateError: It has other rows than the state says.
    """
    only = _source_of(token, [kept for kept, _ in sources])
    until: dict[str, Checkpoint] = {}
    for kept, resumed in sources:
        own = token if only in ("", kept.node) else None
        found = position_of(kept, writer, own, mode=mode, resumed=resumed).drop_until
        if found is not None:
            until[kept.node] = found
    numbers = {each.sequence for each in until.values()}
    for kept, _ in sources:
        alike = [each.sequence for each in kept.pending if each.state == kept.checkpoint.state]
        if until and kept.node not in until and not numbers.issubset(alike):
            raise StateError(
                f"destination {writer!r} has rows of a run that died, and the rows of node {kept.node!r} were not "
                "among them",
                hint="run the pipeline as it was before once more, or start again with --full-refresh",
            )
    if len(numbers) > 1:
        raise StateError(
            f"destination {writer!r} has rows of its sources up to different checkpoints",
            hint="start again with --full-refresh",
        )
    return until


def _source_of(token: bytes | None, sources: Sequence[NodeState]) -> str:
    """The one of several sources that a token of one source is of; empty where it is of none, or of several."""
    if not token or len(sources) < 2:
        return ""
    try:
        value = parse_json(token)
    except ValueError:
        return ""  # which is told where it is read
    lineage = value.get("lineage") if isinstance(value, dict) else None
    return next((each.node for each in sources if each.lineage == lineage), "")
