"""What a record costs grows with its fields, and no faster: work is counted in fuel, which no machine disturbs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dataflare import Host, Limits, PluginError
from dataflare.errors import PluginFault

ROOT = Path(__file__).parents[2]
COMPONENT = ROOT / "guest-sdks/rust/components/json-mapper.wasm"
JAVASCRIPT = ROOT / "build/guests/normalize-records.wasm"
FIELDS = 500
TIMES = 8


def suffices(host: Host, config: dict[str, Any], fields: int, fuel: int) -> bool:
    record = json.dumps({f"field_{n}": n for n in range(fields)})
    with host.load(COMPONENT, kind="processor", config=config, limits=Limits(fuel=fuel)) as plugin:
        try:
            return plugin.process(record) is not None
        except PluginFault:
            return False


def least_fuel(host: Host, config: dict[str, Any], fields: int) -> int:
    low, high = 10_000, 2**30
    while high > low * 1.1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(host, config, fields, middle) else (middle, high)
    return high


@pytest.mark.parametrize("key", ["none", "drop", "lowercase", "rename", "set"])
def test_work_grows_with_the_fields_of_a_record(key: str) -> None:
    def config(fields: int) -> dict[str, Any]:
        names = [f"field_{n}" for n in range(0, fields, 2)]
        each: dict[str, Any] = {
            "none": {},
            "drop": {"drop": names},
            "lowercase": {"lowercase": names},
            "rename": {"rename": {name: f"new_{name}" for name in names}},
            "set": {"set": {f"new_{name}": 1 for name in names}},
        }
        return each[key]

    with Host() as host:
        # The configuration is read within the limit too, by `configure`: it grows as the record does.
        fuel = least_fuel(host, config(FIELDS), FIELDS)
        assert suffices(host, config(FIELDS * TIMES), FIELDS * TIMES, fuel * TIMES * 2)


@pytest.mark.parametrize("value", [2**63 - 1, 2**64 - 1, 0.1, 1e300, -(2**63)])
def test_a_number_of_64_bits_is_set_with_every_digit(value: float) -> None:
    with Host() as host, host.load(COMPONENT, kind="processor", config={"set": {"n": value}}) as plugin:
        assert json.loads(plugin.process("{}") or "") == {"n": value}
        rows = plugin.process_batch(pa.record_batch({"a": [1]}))
        assert isinstance(rows, pa.RecordBatch)
        assert rows["n"].to_pylist() == [value]


@pytest.mark.parametrize("value", [2**64, 2**70, -(2**63) - 1])
def test_a_number_beyond_64_bits_is_refused(value: int) -> None:
    with Host() as host, pytest.raises(PluginError, match=rf"set.n: {value} has more digits than 64 bits keep"):
        host.load(COMPONENT, kind="processor", config={"set": {"n": value}}).start()


@pytest.mark.guests
@pytest.mark.parametrize("text", ["x y ", "\\n", '\\"', "\\\\"])
def test_a_javascript_processor_takes_a_long_text(text: str) -> None:
    if not JAVASCRIPT.is_file():
        pytest.skip("normalize-records is not built: make guests")
    record = f'{{"a":"{text * 500_000}","b":1.50}}'
    with Host() as host, host.load(JAVASCRIPT, kind="processor") as plugin:
        mapped = plugin.process(record) or ""
    expected = " ".join(json.loads(record)["a"].split())
    assert mapped == f'{{"a":{json.dumps(expected)},"b":1.50}}'
