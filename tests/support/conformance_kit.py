"""The conformance suite over plugins that other tests have built."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from dataflare import Grants
from dataflare.conformance import Case, Outcome, Subject, load_cases, run_suite
from dataflare.conformance.cases import select

__all__ = ["CASES", "SAMPLE", "faults_of_template"]

SAMPLE: Final = pa.table({"id": range(9), "name": [f"name {n}" for n in range(9)], "amount": [n / 2 for n in range(9)]})
CASES: Final[list[Case]] = [
    # A thousand batches take up to ten seconds; a handle that is lost with each batch shows in forty.
    each.model_copy(update={"steps": [{"memory-flat": {"batches": 40, "handles": 30}}]})
    if each.name == "every/memory"
    else each
    for each in load_cases()
]
_CONFIGS: Final[dict[str, dict[str, Any]]] = {
    "source": {"rows": 9},
    "destination": {"key": "id"},
    "processor": {"field": "name"},
    "transformer": {"of": "id", "to": "amount"},
    "validator": {"column": "amount"},
}


def faults_of_template(component: Path, kind: str) -> list[str]:
    """Run the profile `full` over what `dataflare new` made of a kind; returns what failed.

    Args:
        component: The plugin.
        kind: Its kind.
    """
    grants = Grants(state=kind == "destination")
    subject = Subject(component, kind, _CONFIGS[kind], sample=None if kind == "source" else SAMPLE, grants=grants)
    cases = select(CASES, kind=kind, profile="full")
    result = run_suite(subject, cases)
    assert result.counts["PASS"] >= 15, result.counts
    good = (Outcome.PASS, Outcome.SKIP)
    return [f"{each.case.name}: {each.message}" for each in result.results if each.outcome not in good]
