"""Plugins in Python, natively: each kind does what it does in a component."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dataflare.authoring.templates import kinds_of, new_plugin
from dataflare.errors import PluginError, ValueTypeError
from dataflare.testing import native
from dataflare_plugin import Batch, InvalidInput, Processor, RateLimited, Transformer, col, lit, log, option
from dataflare_plugin.component import find_plugin


def sample(kind: str, tmp_path: Path) -> type[Any]:
    """The class that `dataflare new` writes."""
    new_plugin(tmp_path / "a-sample", kind=kind, language="python")
    spec = importlib.util.spec_from_file_location(f"sample_{kind}", tmp_path / "a-sample" / "plugin.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return find_plugin(module, kind)


def rows(**columns: list[Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def test_transformer_of_new_computes_a_ratio(tmp_path: Path) -> None:
    with native(sample("transformer", tmp_path), config={"of": "a", "to": "b"}) as plugin:
        assert plugin.transform(rows(a=[3, None], b=[2, 2])).to_pydict()["ratio"] == [1.5, None]


def test_processor_of_new_trims(tmp_path: Path) -> None:
    with native(sample("processor", tmp_path)) as plugin:
        assert plugin.process('{"name":" Ada "}') == '{"name":"Ada"}'
        assert plugin.process('{"name":""}') is None
        assert plugin.process_batch(rows(name=[" Ada", " "])).to_pydict() == {"name": ["Ada"]}


def test_processor_that_returns_no_record_is_told_what_to_return() -> None:
    class Wrong(Processor):
        def process(self, record: dict[str, Any]) -> Any:
            return 5

    with native(Wrong) as plugin:
        for call in (lambda: plugin.process("{}"), lambda: plugin.process_batch(rows(a=[1]))):
            with pytest.raises(PluginError, match=r"process returned 5: return the record as a dict, or None to drop"):
                call()


def test_processor_gets_whole_records_whatever_characters_they_hold(tmp_path: Path) -> None:
    names = ["a\u2028b", "c\x85d", "e\x0bf\x1cg", "h\r\ni"]
    with native(sample("processor", tmp_path)) as plugin:
        assert plugin.process_batch(rows(name=names)).to_pydict() == {"name": names}


def test_source_of_new_continues_from_a_state(tmp_path: Path) -> None:
    with native(sample("source", tmp_path), config={"rows": 5}) as plugin:
        plugin.open()
        first = plugin.read(2)
        assert first.rows.to_pydict() == {"id": [0, 1], "square": [0, 1]}
        plugin.stop()
        plugin.open(state=first.state)
        assert plugin.read(10).rows.to_pydict()["id"] == [2, 3, 4]


def test_validator_of_new_finds_rows_out_of_bounds(tmp_path: Path) -> None:
    with native(sample("validator", tmp_path), config={"column": "age"}) as plugin:
        report = plugin.validate(rows(age=[36, -1, None, 130]))
        assert [each.row for each in report.violations] == [1, 3]
        assert report.violation_count == 2


def test_destination_of_new_sends_rows_without_a_key_back(tmp_path: Path) -> None:
    from dataflare.runtime.datasets import Target

    batch = rows(id=[1, None], name=["Ada", "Bo"])
    with native(sample("destination", tmp_path), needs=("state",)) as plugin:
        plugin.open(Target("people", batch.schema))
        assert [(each.row, each.reason) for each in plugin.write(batch)] == [(1, "id is null")]
        plugin.finish()


def test_every_kind_of_new_is_tested_here() -> None:
    assert kinds_of("python") == ("destination", "processor", "source", "transformer", "validator")


@dataclass(frozen=True)
class Settings:
    column: str = option(default="v")


class Broken(Processor):
    def process(self, record: dict[str, Any]) -> dict[str, Any]:
        if record.get("wait"):
            raise RateLimited(500)
        if record.get("odd"):
            raise InvalidInput("odd")
        return {"ratio": 1 / record["a"]}


def test_exception_reaches_the_operator_with_message_file_and_line_and_the_plugin_lives() -> None:
    with native(Broken) as plugin:
        with pytest.raises(PluginError) as caught:
            plugin.process('{"a":0}')
        assert caught.value.error.case == "internal"
        assert "ZeroDivisionError: division by zero" in caught.value.message
        assert "test_native.py:" in caught.value.message and "in process" in caught.value.message
        assert plugin.process('{"a":2}') == '{"ratio":0.5}'


@pytest.mark.parametrize("plugin", [Path("plugin.py"), "plugin.Broken", Broken(), int, None])
def test_what_is_not_a_class_of_a_plugin_is_refused(plugin: Any) -> None:
    with pytest.raises(ValueTypeError, match="is not a class of a plugin") as caught, native(plugin):
        pass
    assert "import the class" in caught.value.hint


def test_errors_keep_their_kind() -> None:
    with native(Broken) as plugin:
        with pytest.raises(PluginError) as caught:
            plugin.process('{"wait":true}')
        assert (caught.value.error.case, caught.value.retry_after_ms) == ("rate-limited", 500)
        with pytest.raises(PluginError, match="row 1: odd"):
            plugin.process_batch(rows(a=[1, 2], odd=[False, True]))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, -3], pa.int64()),
        ([1.5, None, float("inf")], pa.float64()),
        ([1, 2.5, None], pa.float64()),
        ([True, None, False], pa.bool_()),
        (["é", None, ""], pa.string()),
        ([b"\0", None, b""], pa.binary()),
    ],
)
def test_column_gives_back_what_was_put_into_it(values: list[Any], kind: pa.DataType) -> None:
    seen: list[Any] = []

    class Puts(Transformer):
        def transform(self, batch: Batch) -> Batch:
            made = batch.with_column("v", values[: len(batch)])
            seen.append(made.column("v"))
            return made

    with native(Puts) as plugin:
        column = plugin.transform(rows(n=[0, 0, 0]))["v"]
    assert seen[-1] == values
    assert column.to_pylist() == values
    assert len(seen) >= 1 and (column.type == kind)


def test_batch_operations() -> None:
    class Uses(Transformer):
        config: Settings

        def transform(self, batch: Batch) -> Batch:
            log.info("%d rows", len(batch))
            kept = batch.filter((col("v") >= 2) & col("v").is_valid()).sort("v", descending=True)
            named = kept.with_columns(w=col("v") * 2 + lit(1), text=col("v").call("cast", type="string"))
            return named.rename("v", "x").select("x", "w", "text").cast("w", "int32")

    with native(Uses) as plugin:
        found = plugin.transform(rows(v=[1, 2, None, 3]))
    assert found.to_pydict() == {"x": [3, 2], "w": [7, 5], "text": ["3", "2"]}
    assert found.schema.field("w").type == pa.int32()


def test_configuration_is_checked_with_the_key() -> None:
    class Configured(Processor):
        config: Settings

    with pytest.raises(PluginError, match="column: give a text"), native(Configured, config={"column": 1}):
        pass


def test_an_interface_that_is_not_needed_cannot_be_called() -> None:
    class Keeps(Processor):
        def process(self, record: dict[str, Any]) -> dict[str, Any]:
            from dataflare_plugin import state

            state.set("a", b"1")
            return record

    with native(Keeps) as plugin, pytest.raises(PluginError, match="needs"):
        plugin.process("{}")
    with native(Keeps, needs=("state",)) as plugin:
        assert plugin.process("{}") == "{}"
