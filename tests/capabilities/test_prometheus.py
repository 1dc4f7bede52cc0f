"""Numbers in Prometheus' text format: each line can be read, and no text of a plugin is more than a label's value."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.capabilities.metrics import MemoryMetrics, PluginMetrics
from dataflare.capabilities.prometheus import to_prometheus

_VALUE = r'"(?:[^"\\\n]|\\["\\n])*"'
_LABELS = rf"\{{[a-zA-Z_][a-zA-Z0-9_]*={_VALUE}(?:,[a-zA-Z_][a-zA-Z0-9_]*={_VALUE})*\}}"
_SAMPLE = re.compile(rf"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?P<labels>{_LABELS})? (?P<value>[0-9.e+-]+|[+-]Inf|NaN)")
_TYPE = re.compile(r"# TYPE ([a-zA-Z_][a-zA-Z0-9_]*) (gauge|summary)")


def samples(text: str) -> dict[str, float]:
    """The samples of a page by name and labels; fails if the format is broken."""
    found: dict[str, float] = {}
    families: list[str] = []
    for line in text.split("\n")[:-1]:
        if (kind := _TYPE.fullmatch(line)) is not None:
            assert kind[1] not in families
            families.append(kind[1])
            continue
        sample = _SAMPLE.fullmatch(line)
        assert sample is not None, line
        assert (
            sample["name"].removesuffix("_sum").removesuffix("_count").startswith(families[-1].removesuffix("_count"))
        )
        names = re.findall(rf"([a-zA-Z0-9_]+)={_VALUE}", sample["labels"] or "")
        assert len(names) == len(set(names)) and not any(name.startswith("__") for name in names)
        key = sample["name"] + (sample["labels"] or "")
        assert key not in found
        found[key] = float(sample["value"])
    return found


def test_numbers_of_plugins_and_of_the_host() -> None:
    metrics = MemoryMetrics()
    plugin = PluginMetrics(metrics, "tidy")
    plugin.add_to_counter("rows.bad", 3, [("why", 'a "b"\n\\c')])
    plugin.set_gauge("level", -1.5)
    plugin.record_observation("took", 2.0)
    plugin.record_observation("took", 4.0)
    metrics.set_gauge("", "dataflare:run_seconds", 1.5, (("pipeline", "p"),))
    assert samples(to_prometheus(metrics)) == {
        'dataflare_plugin_rows_bad{plugin="tidy",why="a \\"b\\"\\n\\\\c"}': 3.0,
        'dataflare_plugin_level{plugin="tidy"}': -1.5,
        'dataflare_run_seconds{pipeline="p"}': 1.5,
        'dataflare_plugin_took_sum{plugin="tidy"}': 6.0,
        'dataflare_plugin_took_count{plugin="tidy"}': 2.0,
        'dataflare_plugin_took_minimum{plugin="tidy"}': 2.0,
        'dataflare_plugin_took_maximum{plugin="tidy"}': 4.0,
    }


def test_names_that_become_one_stay_apart() -> None:
    metrics = MemoryMetrics()
    for name in ("a.b", "a_b", "a__b"):
        metrics.add_to_counter("p", name, 1, ())
    metrics.set_gauge("q", "a_b", 2, ())
    found = samples(to_prometheus(metrics))
    assert sorted(found.values()) == [1, 1, 1, 2] and len(found) == 4


def test_plugin_cannot_say_that_it_is_another() -> None:
    metrics = MemoryMetrics()
    labels = [("plugin", "other"), ("__name__", "dataflare_run_seconds"), ("a.b", "1"), ("a_b", "2")]
    PluginMetrics(metrics, "p").set_gauge("x", 1.0, labels)
    (key,) = samples(to_prometheus(metrics))
    assert key.startswith('dataflare_plugin_x{plugin="p",')
    assert 'label_plugin="other"' in key and 'label___name__="dataflare_run_seconds"' in key


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add_to_counter", "set_gauge", "record_observation"]),
            st.from_regex(r"[a-z][a-z0-9_.]{0,8}", fullmatch=True),
            st.floats(0, allow_infinity=False),
            st.dictionaries(st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_.]{0,8}", fullmatch=True), st.text(), max_size=3),
        )
    ),
    st.text(),
)
def test_whatever_plugins_say_can_be_read(numbers: list[tuple[str, str, float, dict[str, str]]], name: str) -> None:
    metrics = MemoryMetrics()
    plugins = [PluginMetrics(metrics, each) for each in ("p", name)]
    for place, (function, number, value, labels) in enumerate(numbers):
        getattr(plugins[place % 2], function)(number, value, list(labels.items()))
    samples(to_prometheus(metrics))


def test_sums_that_no_number_holds_are_spelled_as_prometheus_does() -> None:
    metrics = MemoryMetrics()
    for value in (1e308, 1e308):
        metrics.add_to_counter("p", "much", value, ())
        metrics.record_observation("p", "few", -value, ())
    text = to_prometheus(metrics)
    assert 'much{plugin="p"} +Inf\n' in text and 'few_sum{plugin="p"} -Inf\n' in text


def test_nothing_is_an_empty_page() -> None:
    assert to_prometheus(MemoryMetrics()) == ""


@pytest.mark.parametrize("value", [1e300, 5e-324, 0.1, 123456789.0])
def test_values_are_exact(value: float) -> None:
    metrics = MemoryMetrics()
    metrics.set_gauge("p", "x", value, ())
    assert list(samples(to_prometheus(metrics)).values()) == [value]
