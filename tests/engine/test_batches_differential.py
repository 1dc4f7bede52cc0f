"""Plugins of a real toolchain with random batches: the fast engine and the reference agree, down to what is logged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from arrow_strategies import arrays, batches
from dataflare.data import batches as batches_interface
from dataflare.data.batches import Batch
from dataflare.data.expressions import interface as expressions
from dataflare.data.schemas import to_wit
from dataflare.engine.engine import Engine
from dataflare.engine.reference.instance import instantiate_reference
from dataflare.limits import Limits
from dataflare.values import Ok
from wit_strategies import normal

COMPONENTS = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components"
LIFECYCLE = "dataflare:plugin/lifecycle@1.0.0"
PROCESSOR = "dataflare:plugin/processor@1.0.0"
TRANSFORMER = "dataflare:plugin/transformer@1.0.0"
RANDOM = settings(
    deadline=None,
    max_examples=60,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


class Pair:
    """The same plugin, once in the fast engine and once in the reference."""

    def __init__(self, engine: Engine, name: str, config: dict[str, Any]) -> None:
        binary = (COMPONENTS / f"{name}.wasm").read_bytes()
        self.shape = engine.shape(binary, name=name)
        self.logs: tuple[list[Any], list[Any]] = ([], [])
        self.fast = engine.load(binary, name=name).instantiate(self._host(self.logs[0]))
        self.reference = instantiate_reference(binary, self._host(self.logs[1]), limits=Limits(), name=name)
        assert self.call(LIFECYCLE, "configure", json.dumps(config)) == ("ok", None)
        assert self.call(LIFECYCLE, "initialize") == ("ok", None)

    def _host(self, log: list[Any]) -> dict[str, Any]:
        def write(level: Any, *rest: Any) -> None:
            log.append((level, repr(rest).replace("ReferenceRecord", "Record")))

        return {
            batches_interface.INTERFACE: batches_interface.imports(),
            expressions.INTERFACE: expressions.imports(),
            "dataflare:host/logging@1.0.0": {"log": write, "is-enabled": lambda level: True},
        }

    def call(self, interface: str, function: str, *args: Any) -> Any:
        """The result of both, in a plain form, after a check that it is one and the same."""
        results = []
        for instance in (self.fast, self.reference):
            given_ = [Batch(arg.arrow) if isinstance(arg, Batch) else arg for arg in args]
            result = instance.call(interface, function, *given_)
            if isinstance(result, Ok) and isinstance(result.value, Batch):
                arrow = result.value.arrow
                arrow.validate(full=True)
                results.append(("ok", arrow.schema.to_string(), repr(arrow.to_pylist())))
            else:
                ty = self.shape.exports[interface].funcs[function].result
                assert ty is not None
                results.append(normal(ty, result))
        assert results[0] == results[1]
        assert self.logs[0] == self.logs[1]
        assert self.fast.alive and self.reference.alive
        return results[0]

    def close(self) -> None:
        self.fast.close()
        self.reference.close()


@pytest.fixture(scope="module")
def derive(engine: Engine) -> Iterator[Pair]:
    columns = [
        {"name": "ratio", "op": "divide", "left": "a", "right": "b"},
        {"name": "total", "op": "add", "left": "a", "right": "b"},
        {"name": "twice", "op": "multiply", "left": "total", "right": 2},
    ]
    pair = Pair(engine, "derive-columns", {"columns": columns})
    yield pair
    pair.close()


@pytest.fixture(scope="module")
def mapper(engine: Engine) -> Iterator[Pair]:
    config = {"drop": ["c1"], "rename": {"c0": "first"}, "set": {"reviewed": True}}
    pair = Pair(engine, "json-mapper", config)
    yield pair
    pair.close()


@st.composite
def numbers(draw: st.DrawFn) -> pa.RecordBatch:
    """Two columns of numbers, and others beside."""
    rest = draw(batches(max_columns=2))
    kinds = st.sampled_from([pa.int64(), pa.float64(), pa.int32(), pa.uint8(), pa.float32(), pa.string(), pa.bool_()])
    batch = rest
    for name in ("a", "b"):
        batch = batch.append_column(name, draw(arrays(draw(kinds), rest.num_rows)))
    return batch


@RANDOM
@given(batch=numbers())
def test_derived_columns_agree(derive: Pair, batch: pa.RecordBatch) -> None:
    result = derive.call(TRANSFORMER, "transform", Batch(batch))
    if batch.schema.field("a").type == pa.int64() and batch.schema.field("b").type == pa.float64():
        assert result[0] == "ok" and "ratio: double" in result[1] and "twice: double" in result[1]


@RANDOM
@given(batch=batches())
def test_batches_without_the_columns_are_refused_alike(derive: Pair, batch: pa.RecordBatch) -> None:
    case, (kind, _) = derive.call(TRANSFORMER, "transform", Batch(batch))
    assert case == "err" and kind in ("invalid-input", "data", "invalid-config")


@RANDOM
@given(batch=numbers())
def test_output_schemas_agree(derive: Pair, batch: pa.RecordBatch) -> None:
    case, _ = derive.call(TRANSFORMER, "output-schema", to_wit(batch.schema))
    assert case in ("ok", "err")


@RANDOM
@given(batch=batches())
def test_mapped_batches_agree(mapper: Pair, batch: pa.RecordBatch) -> None:
    result = mapper.call(PROCESSOR, "process-batch", Batch(batch))
    if result[0] == "ok":
        assert "first" in result[1] and "reviewed" in result[1]


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)


@RANDOM
@given(record=st.dictionaries(st.sampled_from(["c0", "c1", "c2", "x"]), JSON, max_size=4))
def test_mapped_records_agree(mapper: Pair, record: dict[str, Any]) -> None:
    case, mapped = mapper.call(PROCESSOR, "process", json.dumps(record, ensure_ascii=False).encode(errors="replace"))
    if case == "ok" and "first" not in record:
        fields = json.loads(mapped)
        assert fields["reviewed"] is True and "c1" not in fields
        assert ("first" in fields) is ("c0" in record)


@RANDOM
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_texts_that_are_no_records_are_refused_alike(mapper: Pair, text: str) -> None:
    case, _ = mapper.call(PROCESSOR, "process", text)
    assert case in ("ok", "err")


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_a_batch_passes_whatever_its_length(derive: Pair, rows: int) -> None:
    batch = pa.RecordBatch.from_pydict(
        {
            "a": pa.array(range(rows), pa.int64()),
            "b": pa.array([2] * rows, pa.int64()),
            "kept": pa.array(["ä"] * rows, pa.string()),
        }
    )
    result = derive.call(TRANSFORMER, "transform", Batch(batch))
    assert result[0] == "ok" and "kept: string" in result[1]


def test_metadata_and_health_agree(derive: Pair, mapper: Pair) -> None:
    for pair, kind in ((derive, "transformer"), (mapper, "processor")):
        assert pair.call(LIFECYCLE, "get-metadata")["kind"] == kind
        assert pair.call(LIFECYCLE, "health-check")["status"] == "healthy"
