"""The grades in a certificate, from A to D, each with its reasons."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Final, Literal, TypeAlias

from dataflare.conformance.cases import Profile
from dataflare.conformance.runner import Outcome, SuiteResult

__all__ = ["Letter", "performance_class", "quality_grade", "results_digest", "security_grade"]

Letter: TypeAlias = Literal["A", "B", "C", "D"]

_CLASSES: Final[tuple[tuple[float, Letter], ...]] = ((1_000_000, "A"), (100_000, "B"), (10_000, "C"))
_OF_ITS_OWN: Final = frozenset({"clock", "metrics", "random", "tasks", "state"})
_HOLDS: Final = frozenset({"files", "secrets", "shared"})
_MOST_REASONS: Final = 20


def results_digest(result: SuiteResult, *, kind: str, profile: Profile) -> str:
    """Return the digest of the outcomes. Equal outcomes give the same digest, whenever and wherever the suite ran."""
    outcomes = sorted((each.case.name, each.outcome.value) for each in result.results)
    text = json.dumps([kind, profile, outcomes], separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def performance_class(rows_per_s: float) -> Letter:
    """Return the class of a throughput: A from a million rows per second, B from 100,000, C from 10,000, D below."""
    return next((letter for least, letter in _CLASSES if rows_per_s >= least), "D")


def quality_grade(result: SuiteResult, *, profile: Profile) -> tuple[Letter, list[str]]:
    """Grade how much of the suite a plugin passed.

    A: every case, and not `core` alone; B: at most a fifth did not apply; C: more did not, or only `core` was run; D: a
    case failed.
    """
    failed = [each for each in result.results if each.outcome not in (Outcome.PASS, Outcome.SKIP)]
    if failed:
        return "D", [f"{each.case.name}: {each.outcome.value}"[:300] for each in failed[:_MOST_REASONS]]
    skipped = [each for each in result.results if each.outcome is Outcome.SKIP]
    reasons = ["only the profile `core` was run"] if profile == "core" else []
    reasons += [f"{each.case.name} did not apply: {each.message}"[:300] for each in skipped]
    if not reasons:
        return "A", []
    few = profile != "core" and 5 * len(skipped) <= len(result.results)
    return ("B" if few else "C"), reasons[:_MOST_REASONS]


def security_grade(capabilities: Collection[str], wasi: Collection[str]) -> tuple[Letter, list[str]]:
    """Grade what a plugin asks for.

    A: nothing that an operator must grant; B: only what has no way out; C: it reaches outside; D: it reaches the
    network and something that it could send there, or imports WASI, which is empty but no part of the standard.
    """
    asked = set(capabilities)
    reasons = [f"it asks for {each}" for each in sorted(asked)]
    if wasi:
        reasons.append(f"it imports {len(wasi)} interfaces of WASI, which are empty")
    if "http" in asked and asked & _HOLDS:
        return "D", [*reasons, f"it could send out what it gets from {', '.join(sorted(asked & _HOLDS))}"]
    if wasi:
        return "D", reasons
    if not asked:
        return "A", []
    return ("B" if asked <= _OF_ITS_OWN else "C"), reasons
