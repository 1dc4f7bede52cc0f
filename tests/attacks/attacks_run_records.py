"""Attacks on whoever looks at the runs of a pipeline: by what its state says, and by where it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arena import Arena, Mutation, attack
from dataflare.cli.report_document import Latency, Node, ReportDocument, Timeline
from dataflare.cli.report_page import report_page
from dataflare.cli.state_files import open_state
from dataflare.errors import ConfigError
from dataflare.pipeline.run_errors import StateError
from dataflare.pipeline.specification import Specification, load_specification


@attack("files-in")
def moments_too_short_for_a_rate(arena: Arena) -> None:
    """Record a run with a duration near zero or a huge number of dropped rows, so that its page computes no rates."""
    least, most = 5e-324, 2**63
    node = {"name": "a", "kind": "source"}
    for nodes, timeline in (
        ([{**node, "latency": {"batches": 1, "p50": least, "max": 2.0**40}}], {}),
        ([{**node, "rows_in": most, "seconds": least}], {}),
        ([node], {"seconds": [0.0, least, 2 * least], "rows": {"a": [0, most, most]}}),
    ):
        report = {"pipeline": "p", "rows_in": most, "seconds": least, "nodes": nodes, "timeline": timeline}
        try:
            report_page(report)
        except (ArithmeticError, ValueError) as error:
            raise AssertionError("the page cannot be made") from error
    for dropped in (-(10**400), 10**5000):
        damaged = {"pipeline": "p", "nodes": [{**node, "dropped": dropped}]}
        arena.raises(StateError, lambda damaged=damaged: report_page(damaged), says="damaged")  # type: ignore[misc]


@attack("secrets")
def password_in_the_place_of_a_state(arena: Arena) -> None:
    """Write the place of a state as a URL that is taken for a path, so that the error about it shows the password."""
    file = arena.folder / "pipeline.yaml"
    file.write_text(
        "{name: p, nodes: {r: {connector: csv, read: in.csv}, w: {connector: csv, input: r, write: o.csv}}}"
    )
    specification = load_specification(file)
    for kind in ("postgresql://", "POSTGRESQL://", "Postgres://", "postgresql:", "mysql://", "postgresql+psycopg://"):
        for create in (False, True):
            place = f"{kind}me:hunter2@db/shop"
            error = arena.raises(
                ConfigError,
                lambda place=place, create=create: open_state(specification, place, create=create),  # type: ignore[misc]
            )
            assert "hunter2" not in str(error), error


def _unchecked(report: dict[str, Any]) -> ReportDocument:
    nodes = []
    for each in report["nodes"]:
        latency = Latency.model_construct(**each.get("latency", {}))
        nodes.append(Node.model_construct(**{**each, "latency": latency}))
    timeline = Timeline.model_construct(**report.get("timeline", {}))
    return ReportDocument.model_construct(**{**report, "nodes": nodes, "timeline": timeline})


def _any_place(_: Specification, place: str) -> Path:
    return Path(place)


MUTATIONS = [
    Mutation("dataflare.cli.report_page:_parsed", _unchecked, ("moments_too_short_for_a_rate",)),
    Mutation("dataflare.cli.state_files:_file", _any_place, ("password_in_the_place_of_a_state",)),
]
