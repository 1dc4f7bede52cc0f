"""The conformance suite: proves that a plugin, or a host, keeps the standard.

It uses what `dataflare` exports, and its guards before JSON and Arrow, so that it can be taken to another host. Its
duties are numbered in `conformance/SPEC.md`. Its cases are data in `conformance/cases`, and `conformance/FORMAT.md`
says what their steps do.
"""

from dataflare.conformance.adapter import CommandHost, LocalHost
from dataflare.conformance.cases import Case, load_cases
from dataflare.conformance.host_service import HostService
from dataflare.conformance.pytest_tests import conformance_test
from dataflare.conformance.runner import CaseResult, Outcome, SuiteResult, run_suite
from dataflare.conformance.specification import Duty, load_duties
from dataflare.conformance.subject import HostSubject, Subject

__all__ = [
    "Case",
    "CaseResult",
    "CommandHost",
    "Duty",
    "HostService",
    "HostSubject",
    "LocalHost",
    "Outcome",
    "Subject",
    "SuiteResult",
    "conformance_test",
    "load_cases",
    "load_duties",
    "run_suite",
]
