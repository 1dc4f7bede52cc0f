"""The built-in plugin `jq`: scripts from the configuration, types, exact numbers, errors that name their place."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dataflare.built_in_plugins import built_in_plugins
from dataflare.errors import CallTimeout, ConfigError, MemoryLimitExceeded, PluginError, PluginFault
from dataflare.limits import Limits
from dataflare.pipeline.specification import load_specification
from dataflare.runtime.host import Host
from dataflare.runtime.processor import Processor

JQ = "builtin:jq"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host() as made:
        yield made


def plugin(host: Host, script: str, *, limits: Limits | None = None, **variables: Any) -> Processor:
    config = {"script": script, **({"variables": variables} if variables else {})}
    return host.load(JQ, kind="processor", config=config, limits=limits).start()


def mapped(host: Host, script: str, batch: pa.RecordBatch, **variables: Any) -> pa.RecordBatch:
    with plugin(host, script, **variables) as loaded:
        return loaded.process_batch(batch)


def refused(host: Host, script: str, batch: pa.RecordBatch) -> str:
    with pytest.raises(PluginError) as caught:
        mapped(host, script, batch)
    return caught.value.message


EVERY = pa.RecordBatch.from_pydict(
    {
        "decimal": pa.array([Decimal("12.50"), Decimal("99999999999999.99"), None], pa.decimal128(18, 2)),
        "whole": pa.array([1, 2**62 + 1, None]),
        "unsigned": pa.array([2**64 - 1, 0, 1], pa.uint64()),
        "real": pa.array([float("inf"), -0.0, None]),
        "text": ["a", "é\u2028", None],
        "moment": pa.array([datetime.datetime(2026, 1, 1), None, None], pa.timestamp("us")),
        "day": pa.array([datetime.date(2026, 1, 1), None, None]),
        "bytes": pa.array([b"\0\xff", None, b""]),
        "list": pa.array([[1, 2], None, []], pa.list_(pa.int32())),
        "struct": pa.array([{"a": 1}, None, {"a": None}], pa.struct([("a", pa.int64())])),
        "small": pa.array([1, 2, 3], pa.int8()),
        "flag": [True, None, False],
        "word": pa.array(["x", "y", None]).dictionary_encode(),
        "nothing": pa.nulls(3),
    }
)


def test_component_asks_for_nothing_and_is_flattened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATAFLARE_FLATTEN", raising=False)
    with Host() as host:
        found = host.inspect(JQ, reached=True)
    assert (found.kind, found.capabilities, found.wasi, found.why_bridges) == ("processor", (), (), "")
    assert built_in_plugins() == ("jq",)


def test_records_are_changed_and_dropped(host: Host) -> None:
    script = "select(.amount <= $most) | .name |= ascii_upcase | .total = .amount * .quantity"
    with plugin(host, script, most=100) as loaded:
        assert loaded.process('{"name":"ada","amount":12.5,"quantity":4}') == (
            '{"name":"ADA","amount":12.5,"quantity":4,"total":50.0}'
        )
        assert loaded.process('{"name":"bo","amount":500,"quantity":1}') is None


def test_columns_that_a_script_leaves_keep_types_values_and_metadata(host: Host) -> None:
    batch = EVERY.replace_schema_metadata({"k": "v"})
    found = mapped(host, ".", batch)
    assert found.equals(batch) and found.schema.equals(batch.schema, check_metadata=True)


def test_decimals_of_every_width_stay_what_they_are(host: Host) -> None:
    kinds = [pa.decimal32(9, 2), pa.decimal64(18, 2), pa.decimal128(38, 2), pa.decimal256(60, 2)]
    batch = pa.RecordBatch.from_pydict({str(kind): pa.array([Decimal("1234567.89"), None], kind) for kind in kinds})
    assert mapped(host, ".", batch).equals(batch)
    assert mapped(host, "select([.[] | . != null and . > 1000000] | all)", batch).equals(batch.slice(0, 1))


def test_columns_with_new_names_keep_every_digit(host: Host) -> None:
    values = {
        "whole": pa.array([2**64 - 1], pa.uint64()),
        "decimal": pa.array([Decimal("1234567890123456.78")]),
        "long": pa.array([Decimal("1" * 70)], pa.decimal256(76, 0)),
    }
    found = mapped(host, 'with_entries(.key |= . + "2") | .nested = {whole2}', pa.RecordBatch.from_pydict(values))
    expected = {f"{name}2": column.to_pylist()[0] for name, column in values.items()}
    assert found.to_pylist() == [expected | {"nested": {"whole2": 2**64 - 1}}]


def test_order_new_columns_and_changed_kinds(host: Host) -> None:
    found = mapped(host, "{new: 1, decimal, whole: (.whole | tostring), small: (.small / 2), real}", EVERY)
    assert found.schema.names == ["new", "decimal", "whole", "small", "real"]
    assert [str(field.type) for field in found.schema] == ["int64", "decimal128(18, 2)", "string", "double", "double"]
    assert found["whole"].to_pylist() == ["1", str(2**62 + 1), "null"] and found["small"].to_pylist() == [0.5, 1, 1.5]


def test_no_record_that_is_kept_gives_the_columns_of_the_batch(host: Host) -> None:
    found = mapped(host, "empty", EVERY)
    assert found.num_rows == 0 and found.schema.equals(EVERY.schema)


def test_not_a_number_stays_in_its_column_and_nowhere_else(host: Host) -> None:
    batch = pa.RecordBatch.from_pydict({"x": [float("nan"), 1.0]})
    assert str(mapped(host, ".", batch)["x"].to_pylist()) == "[nan, 1.0]"
    assert "row 0: y: NaN is no number of JSON" in refused(host, ".y = .x", batch)


def test_whole_numbers_are_exact_at_any_length(host: Host) -> None:
    with plugin(host, ".b = .a + 1 | .c = .a * 3 | .d = (.a == 9007199254740992)") as loaded:
        assert loaded.process('{"a":9007199254740993}') == (
            '{"a":9007199254740993,"b":9007199254740994,"c":27021597764222979,"d":false}'
        )
    with plugin(host, ".") as loaded:
        same = '{"a":123456789012345678901234567890,"b":0.10000000000000000001,"c":1E300}'
        assert loaded.process(same) == same
        with pytest.raises(PluginError, match="number out of range"):
            loaded.process('{"a":1E400}')


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (".small = 300", "int8"),
        (".unsigned += 1", "18446744073709551616"),
        (".decimal = 0.001", "requires scale 3"),
        ('.day = "nope"', "'nope'"),
        (".small | length", "row 0: the script gives a number, not an object"),
        ("., .", "row 0: the script gives more than one value"),
        ('if .whole == 1 then error("no one") else . end', "row 0: no one"),
        (".x = now", "row 0: there is no clock"),
        (".text + 1", 'row 0: cannot calculate "a" + 1'),
    ],
)
def test_what_cannot_be_is_an_error_with_its_row_or_value(host: Host, script: str, says: str) -> None:
    assert says in refused(host, script, EVERY)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"script": ".a |\n  nope(1)"}, "script:2:3: there is no function nope/1"),
        ({"script": ".a | (.b"}, 'script:1:6: "(" is not closed'),
        ({"script": "input"}, "script:1:1: there is no function input/0"),
        ({}, "script"),
        ({"script": ".", "scripts": "."}, "scripts"),
    ],
)
def test_wrong_configuration_names_its_place(host: Host, config: dict[str, Any], says: str) -> None:
    with host.load(JQ, config=config) as loaded, pytest.raises(PluginError) as caught:
        loaded.start()
    assert caught.value.error.case == "invalid-config" and says in caught.value.message


@pytest.mark.parametrize(
    ("script", "limits", "error"),
    [
        ("def f: if . then f else . end; f", Limits(call_timeout_s=0.5), CallTimeout),
        ("[range(1000000000)]", Limits(memory_bytes=32 * 2**20), MemoryLimitExceeded),
        ("def f: [f]; f", Limits(call_timeout_s=20), PluginFault),
    ],
)
def test_script_that_runs_away_ends_by_the_limits(
    host: Host, script: str, limits: Limits, error: type[Exception]
) -> None:
    with plugin(host, script, limits=limits) as loaded, pytest.raises(error):
        loaded.process("{}")


def test_name_that_is_not_built_in_is_told_with_those_that_are(host: Host, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="builtin:yq: there is no built-in plugin") as caught:
        host.load("builtin:yq")
    assert caught.value.hint == "there are builtin:jq"
    for name in ("builtin:", "builtin:../plugins/jq", "builtin:jq.wasm", "builtin:/etc/passwd"):
        with pytest.raises(ConfigError, match="there is no built-in plugin"):
            host.load(name)
    (tmp_path / "p.yaml").write_text(
        "name: p\nnodes:\n  r: { connector: jsonl, read: a.jsonl }\n  m: { plugin: 'builtin:yq', input: r }\n"
        "  w: { connector: jsonl, input: m, write: b.jsonl }\n"
    )
    with pytest.raises(ConfigError, match=r"p\.yaml:4: builtin:yq: there is no built-in plugin"):
        load_specification(tmp_path / "p.yaml")
