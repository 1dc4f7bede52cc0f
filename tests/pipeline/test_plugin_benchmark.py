"""Measuring a plugin: the numbers fit together, and what cannot be measured is refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet
import pytest

from dataflare import ConfigError, DirectoryGrant, Grants, Host, PluginError
from dataflare.pipeline.benchmark import measure, read_rows, synthetic_batch
from dataflare.pipeline.run_errors import DataError

COMPONENTS = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components"
DOUBLE = {"columns": [{"name": "twice", "op": "multiply", "left": "value", "right": 2}]}


def test_synthetic_rows_are_the_same_each_time():
    assert synthetic_batch(1000).equals(synthetic_batch(1000))
    assert synthetic_batch(1000)["value"].null_count > 0


def test_transformer_is_measured_over_several_sizes():
    done: list[float] = []
    with Host() as host:
        plugin = host.load(COMPONENTS / "derive-columns.wasm", config=DOUBLE)
        result = measure(plugin, synthetic_batch(5000), seconds=1.0, progress=done.append)
    assert [sample.rows for sample in result.samples] == [1, 100, 1000, 5000]
    assert all(sample.calls >= 3 for sample in result.samples)
    assert all(sample.best_s <= sample.median_s <= sample.worst_s for sample in result.samples)
    assert result.rows == sum(sample.rows * sample.calls for sample in result.samples)
    assert result.guest_share + result.marshal_share + result.host_share == pytest.approx(1)
    # The schema and the expression are copied, in each call; columns are not.
    assert 0 < result.copied_bytes_per_row < 1
    assert result.memory_peak_bytes >= 65_536
    assert done[-1] == 1.0
    assert result.to_json()["samples"][0]["rows"] == 1


def test_source_is_read_again_and_again(tmp_path: Path):
    arrow_csv.write_csv(pa.table({"a": range(100)}), tmp_path / "rows.csv")
    with Host() as host:
        grants = Grants(files={"in": DirectoryGrant(path=tmp_path)})
        plugin = host.load(COMPONENTS / "csv-source.wasm", config={"path": "in/rows.csv"}, grants=grants)
        result = measure(plugin, None, seconds=0.05)
    assert result.kind == "source"
    assert result.rows % 100 == 0
    assert result.rows >= 100


def test_measuring_a_destination_leaves_no_file(tmp_path: Path):
    with Host() as host:
        grants = Grants(files={"out": DirectoryGrant(path=tmp_path, access="write")})
        plugin = host.load(COMPONENTS / "jsonl-destination.wasm", config={"path": "out/rows.jsonl"}, grants=grants)
        result = measure(plugin, synthetic_batch(200), seconds=0.05)
    assert result.kind == "destination"
    assert list(tmp_path.iterdir()) == []


def test_plugin_that_refuses_the_data_says_so():
    with Host() as host, pytest.raises(PluginError, match="value"):
        measure(host.load(COMPONENTS / "derive-columns.wasm", config=DOUBLE), pa.record_batch({"other": [1]}))


def test_no_rows_cannot_be_measured():
    with Host() as host, pytest.raises(ConfigError, match="no rows"):
        measure(host.load(COMPONENTS / "derive-columns.wasm", config=DOUBLE), synthetic_batch(0))


def test_first_rows_of_a_file_are_read_as_one_batch(tmp_path: Path):
    table = pa.table({"n": range(200_000)})
    parquet.write_table(table, tmp_path / "rows.parquet")
    batch = read_rows(tmp_path / "rows.parquet", 150_000)
    assert batch["n"].to_pylist() == list(range(150_000))


def test_empty_file_gives_no_rows(tmp_path: Path):
    parquet.write_table(pa.table({"n": pa.array([], pa.int64())}), tmp_path / "rows.parquet")
    assert read_rows(tmp_path / "rows.parquet", 10).num_rows == 0


def test_file_of_another_kind_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"ends in none of csv, jsonl"):
        read_rows(tmp_path / "rows.xlsx", 10)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError):
        read_rows(tmp_path / "rows.parquet", 10)
