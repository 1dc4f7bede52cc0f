"""Random graphs of nodes, whose runs die and stop anywhere: each row is written as often as ways lead to its writer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoint_kit import FIRST, Clock, Crash, Series, Table, numbers_pipeline
from dataflare.pipeline.runner import run
from dataflare.pipeline.state_file import StateFile
from dataflare.pipeline.stop_limits import StopLimits
from pipeline_fakes import FakeHost, FakeTransformer

READS = {"full": "mode: full", "incremental": "mode: incremental, cursor: x"}


@dataclass(frozen=True)
class Graph:
    """Nodes by name: what sources do, the inputs of the others, and which of these merge rows by their key."""

    sources: Mapping[str, Mapping[str, Any]]
    changes: Mapping[str, Sequence[str]]
    writers: Mapping[str, Sequence[str]]
    merging: frozenset[str]

    def text(self) -> str:
        lines = [
            f"  {name}: {{plugin: {name}.wasm, source: {{dataset: rows, {READS[options['modes']]}}}}}\n"
            for name, options in self.sources.items()
        ]
        for number, (name, inputs) in enumerate(self.changes.items(), 1):
            lines.append(f"  {name}: {{plugin: change.wasm, workers: {number}, input: [{', '.join(inputs)}]}}\n")
        for name, inputs in self.writers.items():
            how = "destination: {mode: merge, key: [x]}, " if name in self.merging else ""
            lines.append(f"  {name}: {{plugin: {name}.wasm, {how}input: [{', '.join(inputs)}]}}\n")
        return "".join(lines)

    def wanted(self, writer: str) -> Counter[int]:
        ways = {name: Counter([name]) for name in self.sources}
        for name, inputs in {**self.changes, **self.writers}.items():
            ways[name] = sum((ways[each] for each in inputs), Counter())
        found: Counter[int] = Counter()
        for name, often in ways[writer].items():
            for row in range(self.sources[name]["count"]):
                found[FIRST[name] + row] = 1 if writer in self.merging else often
        return found


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    sources = {}
    for name in "abc"[: draw(st.integers(1, 3))]:
        modes = draw(st.sampled_from(["full", "incremental"]))
        # A full read that stops before its first state begins again: it has one after each chunk here.
        transaction = 1 if modes == "full" else draw(st.integers(1, 9))
        count, chunk = draw(st.integers(0, 30)), draw(st.integers(1, 15))
        sources[name] = {"modes": modes, "count": count, "chunk": chunk, "transaction": transaction}
    giving = list(sources)

    def inputs() -> list[str]:
        return draw(st.lists(st.sampled_from(giving), min_size=1, max_size=3, unique=True))

    changes: dict[str, list[str]] = {}
    for number in range(draw(st.integers(0, 4))):
        changes[f"m{number}"] = inputs()
        giving.append(f"m{number}")
    writers = {f"w{number}": inputs() for number in range(draw(st.integers(1, 3)))}
    taken = {each for names in changes.values() for each in names}
    writers["w0"] = list(dict.fromkeys([*writers["w0"], *(each for each in giving if each not in taken)]))
    return Graph(sources, changes, writers, frozenset(name for name in writers if draw(st.booleans())))


@settings(max_examples=60, deadline=None)
@given(
    graph=graphs(),
    rows=st.integers(1, 20),
    runs=st.lists(
        st.builds(lambda kind, most: {kind: most}, st.sampled_from(["dies_at", "max_rows"]), st.integers(1, 60)),
        max_size=4,
    ),
)
def test_runs_that_die_or_stop_write_each_row_once_on_each_way(graph, rows, runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for name in (*graph.sources, *graph.writers):
        (folder / f"{name}.wasm").touch()
    made = numbers_pipeline(folder, graph.text(), rows=rows)
    tables = {name: Table(Clock(), keeps_token=True, key=name in graph.merging) for name in graph.writers}
    for how in [*runs, {}]:
        clock, limits = Clock(dies_at=how.get("dies_at")), StopLimits(how.get("max_rows"))
        for table in tables.values():
            table.clock, table.staged = clock, []
        sources = {name: Series(name, clock, **options) for name, options in graph.sources.items()}
        has_ended = False
        with StateFile(folder / "state", pipeline="test") as file:
            saving = file.commit

            def commit(*given: Any, saving: Any = saving, clock: Clock = clock, **named: Any) -> None:
                nonlocal has_ended
                clock.step()
                saving(*given, **named)
                has_ended = bool(named.get("ended"))
                clock.step()

            file.commit = commit  # type: ignore[method-assign]
            with suppress(Crash):
                run(made, host=FakeHost(**sources, **tables, change=FakeTransformer()), state=file, limits=limits)
        if has_ended and limits.reason is None:
            break
    else:
        raise AssertionError("the last run ends")
    for name, table in tables.items():
        assert Counter(table.kept) == graph.wanted(name), name
