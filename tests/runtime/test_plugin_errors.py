from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from dataflare.runtime.plugin_errors import RETRYABLE, plugin_error
from dataflare.values import Variant
from dataflare.wit import model as wit
from runtime_fakes import catalog


def cases() -> list[wit.Case]:
    types = catalog().interface("dataflare:plugin/types@1.0.0").types
    return list(next(each for each in types if isinstance(each, wit.Variant) and each.name == "error").cases)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_retry_helps_where_the_wit_says_so(case: wit.Case):
    assert ("can help" in case.docs) == (case.name in RETRYABLE)
    error = plugin_error(Variant(case.name, 250 if case.name == "rate-limited" else "why"), plugin="p", export="e")
    assert error.retryable == ("can help" in case.docs)


def test_every_case_says_whether_a_retry_helps():
    known = re.compile(r"retry .*help|No retry helps|Nothing is to be done|operator cancelled the call")
    assert [case.name for case in cases() if known.search(case.docs) is None] == []


def test_rate_limit_says_when_to_come_back():
    error = plugin_error(Variant("rate-limited", 250), plugin="p", export="e")
    assert error.retry_after_ms == 250
    assert "after 250 ms" in error.message


def test_other_cases_have_no_time():
    assert plugin_error(Variant("unavailable", "no"), plugin="p", export="e").retry_after_ms is None


def test_case_without_a_payload_is_its_own_message():
    assert plugin_error(Variant("cancelled"), plugin="p", export="i#f").message == "plugin 'p', i#f: cancelled"


def test_error_on_data_names_the_column_and_its_type():
    mismatch = SimpleNamespace(column="n", expected="int64", actual="string", function_name=None)
    error = plugin_error(Variant("data", Variant("wrong-type", mismatch)), plugin="p", export="i#f")
    assert "data: wrong-type: column 'n' is string, not int64" in error.message
    assert error.error.value.value is mismatch


@pytest.mark.parametrize(
    ("case", "text", "says"),
    [
        (
            "invalid-config",
            "rows: give at least 0",
            "at `rows`: `config` in a pipeline, `--config` on the command line",
        ),
        ("invalid-config", "columns.0.op: no such operation", "at `columns.0.op`: "),
        ("invalid-config", "dataset 'a': no such mode", "the plugin's configuration: `config` in a pipeline"),
        ("unsupported", "it cannot be split", "the plugin cannot do this at all"),
        ("denied", "status 403", "look at its grants and credentials"),
        ("internal", "MemoryError\n  at plugin.py:3, in read", "raise `limits.memory`"),
        ("internal", "InternalError: out of memory", "raise `limits.memory`"),
        ("internal", "ValueError: MemoryError", ""),
    ],
)
def test_hint_says_what_to_do_and_where(case: str, text: str, says: str):
    hint = plugin_error(Variant(case, text), plugin="p", export="e").hint
    assert says in hint and bool(says) == bool(hint)
