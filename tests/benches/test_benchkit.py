"""The benches' own measuring: who runs when, what a ratio is, when a mark holds, and what is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchkit import report
from benchkit.guests import EXTISM_GUEST, GUESTS
from benchkit.jco import jco_calls
from benchkit.measure import Elsewhere, Operation, Spread, measure, ratios
from benchkit.results import Book, Contest, Row, format_number
from dataflare.toolchain.run_tool import ToolchainMissing
from dataflare.toolchain.store import digest_bytes


class Pedantic:
    """Stands for pytest-benchmark's fixture."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}

    def pedantic(
        self, target: Callable[[], object], *, setup: Callable[[], object], rounds: int, warmup_rounds: int
    ) -> None:
        for _ in range(warmup_rounds + rounds):
            setup()
            target()


def make_row(median: float, **mark: float) -> Row:
    return Row(name="r", figure=Spread(median, median, median), unit="x", clock="wall", **mark)  # type: ignore[arg-type]


def test_sides_take_turns() -> None:
    ran: list[str] = []
    sides = {name: lambda name=name: ran.append(name) for name in ("ours", "peer")}
    series = measure(Pedantic(), sides, rounds=3, repeats={}, warmups=1)
    assert ran == ["peer", "ours"] * 4
    assert [len(each.walls) for each in series.values()] == [3, 3]


def test_a_repeated_operation_is_timed_for_one() -> None:
    ran: list[int] = []
    series = measure(Pedantic(), {"ours": lambda: ran.append(1)}, rounds=2, repeats={"ours": 1000}, warmups=0)
    assert len(ran) == 2000
    assert series["ours"].wall.greatest < 0.001


def test_a_ratio_is_taken_round_by_round() -> None:
    assert ratios([2.0, 9.0, 40.0], [1.0, 3.0, 10.0]) == Spread(3.0, 2.0, 4.0)


def test_a_rate_is_least_where_the_time_is_greatest() -> None:
    assert Spread(2.0, 1.0, 4.0).inverse(8.0) == Spread(4.0, 2.0, 8.0)


@pytest.mark.parametrize(
    ("row", "holds"),
    [
        (make_row(3.0, at_least=3.0), True),
        (make_row(2.9, at_least=3.0), False),
        (make_row(1.2, at_most=1.2), True),
        (make_row(1.3, at_most=1.2), False),
        (make_row(1.0), None),
    ],
)
def test_a_mark_holds_by_the_median(row: Row, holds: bool | None) -> None:
    assert row.holds is holds


def test_a_missed_mark_says_what_limits_it() -> None:
    row = Row(name="r", figure=Spread(1.0, 1.0, 1.0), unit="x", clock="wall", at_least=2.0, limited_by="the loop")
    assert row.as_text().endswith("mark at least 2 x: MISSED. What limits it: the loop")


@pytest.mark.parametrize(
    ("value", "text"), [(1234567.0, "1,234,567"), (123.4, "123"), (12.34, "12.3"), (1.5, "1.5"), (0.01234, "0.0123")]
)
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    assert format_number(value) == text


def test_everything_that_was_measured_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(report, "_PAGE", tmp_path / "performance.md")
    monkeypatch.setattr(report, "_PACKAGES", ("dataflare",))
    book = Book()
    contest = Contest(Pedantic(), book, 1.0)
    contest.ask("Is it fast?", sizes="1 B")
    contest.run({"ours": lambda: None, "peer": lambda: sum(range(1000))}, rounds=3)
    contest.speedup("faster", "ours", over="peer", at_least=1e12, limited_by="nothing can be")
    results = report.write_results(book, {"cpu": {"brand_raw": "a processor"}, "node": "secret-name"}, share=1.0)
    page = report.write_page(results).read_text(encoding="utf-8")
    written = json.loads(results.read_text(encoding="utf-8"))
    assert len(written["questions"][0]["sides"]["ours"]["wall_s_by_round"]) == 3
    assert written["questions"][0]["rows"][0]["holds"] is False
    assert "secret-name" not in results.read_text(encoding="utf-8")
    assert "| MISSED |" in page
    assert "- faster: nothing can be." in page
    assert "### Is it fast?" in page


@pytest.mark.parametrize("guest", [guest for guest in GUESTS.values() if guest.committed], ids=lambda guest: guest.name)
def test_a_committed_guest_is_the_one_on_record(guest: Any) -> None:
    record = json.loads(guest.output.with_name("components.json").read_text(encoding="utf-8"))
    assert record[guest.name]["sha256"] == digest_bytes(guest.output.read_bytes())


def test_the_committed_extism_plugin_is_the_one_on_record() -> None:
    record = json.loads(EXTISM_GUEST.output.with_name("extism.json").read_text(encoding="utf-8"))
    assert record["sha256"] == digest_bytes(EXTISM_GUEST.output.read_bytes())


class _InAnotherProcess(Elsewhere):
    def __init__(self) -> None:
        self.counts: list[int] = []

    def repeat(self, count: int) -> float:
        self.counts.append(count)
        return 0.5 * count


def test_what_another_process_does_is_asked_once_a_round_and_counts_its_processor_time() -> None:
    elsewhere = _InAnotherProcess()
    sides: dict[str, Operation] = {"here": lambda: None, "there": elsewhere}
    series = measure(Pedantic(), sides, rounds=2, repeats={"there": 7}, warmups=1)
    assert elsewhere.counts == [7, 7, 7]
    assert len(series["there"].cpus) == 2 and min(series["there"].cpus) >= 0.5 > max(series["here"].cpus)


def test_without_node_a_bench_can_tell_why_jco_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainMissing, match="node"), jco_calls(b"", "add", "[]", "0", tmp_path):
        pass
