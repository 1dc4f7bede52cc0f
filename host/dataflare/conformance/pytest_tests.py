"""The suite among a plugin's own tests, run by pytest."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from dataflare.conformance.cases import Case, Profile, load_cases, select
from dataflare.conformance.runner import Outcome, run_case
from dataflare.conformance.subject import Subject

__all__ = ["conformance_test"]


def conformance_test(
    make: Callable[[], Subject], *, kind: str, profile: Profile = "full", only: Collection[str] = ()
) -> Callable[..., None]:
    """Make a test of pytest with each case of the suite as a parameter.

    A case that does not apply is skipped; in the profile `certified` it fails, and so does an essential case: without
    it, nothing is seen of the plugin's work.

    Args:
        make: Makes what is tested, once for each case, when the case runs.
        kind: The plugin's kind.
        profile: `core`, `full` or `certified`.
        only: Names of cases, groups of them, or numbers of duties; empty is all.

    Raises:
        ImportError: pytest is not installed.
        ValueError: No case is chosen.
    """
    import pytest

    cases = select(load_cases(), kind=kind, profile=profile, only=only)
    if not cases:
        raise ValueError(f"no case is chosen: {', '.join(only)}")

    @pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
    def test_conformance(case: Case) -> None:
        found = run_case(make(), case)
        if found.outcome is Outcome.SKIP and profile != "certified" and not case.essential:
            pytest.skip(found.message)
        if found.outcome is not Outcome.PASS:
            given = f"\ngiven: {found.given}" if found.given else ""
            pytest.fail(f"{', '.join(case.duties)}: {found.outcome.value}: {found.message}{given}", pytrace=False)

    made: Any = test_conformance
    return made  # type: ignore[no-any-return]
