"""The example plugins of all languages keep the standard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance_kit import CASES, SAMPLE
from dataflare import parse_grants
from dataflare.conformance import Outcome, Subject, run_suite
from dataflare.conformance.cases import select
from guest_kit import component

CHANGES = """{"log": "shop-1"}
{"schema": "orders", "columns": {"id": "int64", "note": "string"}, "key": ["id"]}
{"begin": 1}
{"insert": "orders", "row": {"id": 1, "note": "new"}}
{"insert": "orders", "row": {"id": 2, "note": "new"}}
{"commit": 1}
{"begin": 2}
{"delete": "orders", "row": {"id": 1}}
{"commit": 2}
{"schema": "orders", "columns": {"id": "int64", "note": "string", "more": "int64"}, "key": ["id"]}
{"begin": 3}
{"insert": "orders", "row": {"id": 3, "note": "new", "more": 1}}
{"insert": "orders", "row": {"id": 4, "note": "new", "more": null}}
{"commit": 3}
"""
COLUMNS = {"id": "int64", "amount": "double"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("examples")
    for name in ("in", "out", "lake/day=a", "lake/day=b"):
        (made / name).mkdir(parents=True)
    (made / "in" / "a.csv").write_text("id,name\n" + "".join(f"{n},name {n}\n" for n in range(9)))
    (made / "in" / "b.csv").write_text("id\n" + "".join(f"{n}\n" for n in range(9)))
    (made / "in" / "log.jsonl").write_text(CHANGES)
    (made / "lake" / "day=a" / "1.jsonl").write_text('{"id": 1, "amount": 1.5}\n{"id": 2, "amount": null}\n')
    (made / "lake" / "day=b" / "1.jsonl").write_text('{"id": 3, "amount": 2.5}\n')
    return made


@pytest.mark.guests
@pytest.mark.parametrize(
    ("name", "kind", "config", "grant", "skipped"),
    [
        ("json-mapper", "processor", {"set": {"seen": True}}, "", 0),
        ("derive-columns", "transformer", {"columns": [{"name": "t", "op": "add", "left": "id", "right": 1}]}, "", 2),
        ("csv-source", "source", {"path": "data"}, "files:data={}/in", 7),
        ("change-source", "source", {"log": "data/log.jsonl"}, "files:data={}/in", 12),
        ("jsonl-destination", "destination", {"path": "out/o.jsonl"}, "files:write:out={}/out", 23),
        ("range-validator", "validator", {"rules": [{"name": "id", "column": "id", "min": 2}]}, "", 2),
        ("sequence-source", "source", {"rows": 20}, "", 8),
        ("table-destination", "destination", {}, "state", 11),
        ("normalize-records", "processor", {"lowercase_keys": True}, "", 0),
        ("filter-rows", "transformer", {"column": "id", "op": ">=", "value": 3}, "", 3),
        (
            "folder-source",
            "source",
            {"path": "data/lake", "partition": "day", "key": "id", "columns": COLUMNS},
            "files:data={}",
            10,
        ),
    ],
)
def test_example_is_conformant(folder, name: str, kind: str, config: dict[str, Any], grant: str, skipped: int):
    subject = Subject(
        component(name),
        kind,
        config,
        sample=None if kind == "source" else SAMPLE,
        grants=parse_grants([grant.format(folder)] if grant else []),
    )
    result = run_suite(subject, select(CASES, kind=kind, profile="full"))
    bad = [each for each in result.results if each.outcome not in (Outcome.PASS, Outcome.SKIP)]
    assert not bad
    assert result.counts.get("SKIP", 0) <= skipped, [each for each in result.results if each.outcome is Outcome.SKIP]
    assert result.counts["PASS"] >= 15
    assert not list((folder / "out").iterdir())  # what is granted is copied
