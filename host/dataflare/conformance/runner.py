"""Runs cases, each with a plugin of its own, and returns their outcomes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from dataflare import PluginError, PluginFault
from dataflare.conformance import (  # noqa: F401  # they register
    steps_changes,
    steps_columns,
    steps_common,
    steps_destination,
    steps_files,
    steps_killed,
    steps_reads,
    steps_refused_rows,
    steps_rows,
    steps_source,
    steps_stress,
)
from dataflare.conformance.cases import Case
from dataflare.conformance.steps import STEPS, Bench, NotConformant, NotTested
from dataflare.conformance.steps_host import HostBench
from dataflare.conformance.subject import HostSubject, Subject
from dataflare.conformance.values import TooLarge

__all__ = ["CaseResult", "Expectation", "Outcome", "SuiteResult", "run_case", "run_suite"]

_RESET_S: Final = 30.0


class Outcome(Enum):
    """The outcome of a case."""

    PASS = "PASS"
    FAIL = "FAIL"
    SKIP = "SKIP"
    XFAIL = "XFAIL"
    """It failed, and that is known."""
    XPASS = "XPASS"
    """It passed, though it is said to fail: the expectation is out of date."""
    ERROR = "ERROR"
    """The suite itself failed: nothing is known of the plugin."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Why a case is known to fail: a reason, and where the fault is tracked."""

    reason: str
    link: str


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The result of one case; `message` says what came and what was due, `given` is the input that shows it."""

    case: Case
    outcome: Outcome
    seconds: float
    message: str = ""
    given: str = ""


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """The results of all cases."""

    results: tuple[CaseResult, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many cases had each outcome, without outcomes that no case had."""
        found = [each.outcome for each in self.results]
        return {each.value: found.count(each) for each in Outcome if each in found}

    def passed(self, *, skips: bool = True) -> bool:
        """Whether the plugin is conformant; `skips` allows cases that did not apply, but for the essential ones."""
        good = {Outcome.PASS, Outcome.XFAIL, *([Outcome.SKIP] if skips else [])}
        return bool(self.results) and not self.unseen and all(each.outcome in good for each in self.results)

    @property
    def failed_itself(self) -> bool:
        """Whether the suite itself failed in a case."""
        return any(each.outcome is Outcome.ERROR for each in self.results)

    @property
    def unseen(self) -> tuple[CaseResult, ...]:
        """The essential cases that were skipped: what was given was not enough to see the plugin at work."""
        return tuple(each for each in self.results if each.case.essential and each.outcome is Outcome.SKIP)

    @property
    def failed(self) -> bool:
        """Whether a case showed a fault of the plugin, or an expectation that is out of date."""
        return any(each.outcome in (Outcome.FAIL, Outcome.XPASS) for each in self.results)


def run_suite(
    subject: Subject | HostSubject,
    cases: Sequence[Case],
    *,
    expected: Mapping[str, Expectation] | None = None,
    progress: Callable[[CaseResult], object] = lambda result: None,
) -> SuiteResult:
    """Run cases, one after the other.

    Args:
        subject: The plugin, or the host.
        cases: What is run.
        expected: Cases that are known to fail, by name.
        progress: Called with each result.
    """
    results = []
    for case in cases:
        result = run_case(subject, case, (expected or {}).get(case.name))
        progress(result)
        results.append(result)
    return SuiteResult(tuple(results))


def run_case(subject: Subject | HostSubject, case: Case, expected: Expectation | None = None) -> CaseResult:
    """Run one case."""
    start = time.perf_counter()
    outcome, message, given = _outcome(subject, case)
    if expected is not None and outcome is Outcome.FAIL:
        outcome, message = Outcome.XFAIL, f"{expected.reason} ({expected.link}): {message}"
    elif expected is not None and outcome is Outcome.PASS:
        outcome, message = Outcome.XPASS, f"it is said to fail: {expected.reason} ({expected.link})"
    return CaseResult(case, outcome, time.perf_counter() - start, message, given)


def _outcome(subject: Subject | HostSubject, case: Case) -> tuple[Outcome, str, str]:
    if "sample" in case.needs and isinstance(subject, Subject) and subject.sample is None:
        return Outcome.SKIP, "no sample of rows was given (`--sample`)", ""
    bench: Bench | HostBench | None = None
    try:
        with (
            tempfile.TemporaryDirectory(prefix="dataflare-conformance-") as folder,
            _bench(subject, Path(folder)) as bench,
        ):
            for step in case.steps:
                ((name, arguments),) = step.items()
                _do(bench, name, arguments)
        outcome, message, given = Outcome.PASS, "", ""
    except NotTested as reason:
        outcome, message, given = Outcome.SKIP, str(reason), ""
    except NotConformant as failure:
        outcome, message, given = Outcome.FAIL, str(failure), failure.given
    except (TooLarge, OverflowError) as error:
        outcome, message, given = Outcome.SKIP, f"the rows cannot be looked at one by one: {error}", ""
    except (PluginError, PluginFault) as error:
        where = f"{bench.about}: " if bench is not None and bench.about else ""
        outcome, message, given = Outcome.FAIL, f"{where}an error that was not due: {error.message}", ""
    except Exception as error:  # whatever a plugin made the suite stumble over: the other cases are still run
        return Outcome.ERROR, f"{type(error).__name__}: {error}", ""
    note = "" if bench is None else bench.note
    return outcome, f"{message} ({note})" if message and note else message or note, given


@contextmanager
def _bench(subject: Subject | HostSubject, folder: Path) -> Iterator[Any]:
    if isinstance(subject, HostSubject):
        subject.connection.ask({"do": "reset"}, within_s=_RESET_S)
        with closing(HostBench(subject.connection, folder)) as bench:
            yield bench
        return
    with subject.at_work(folder) as work:
        yield Bench(subject, work)


def _do(bench: Any, name: str, arguments: Any) -> None:
    if name not in STEPS:
        raise ValueError(f"there is no step {name!r}")
    STEPS[name](bench, arguments)
