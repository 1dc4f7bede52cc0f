"""The example guests of all three languages on the real host. `make guests` builds those that are not committed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from dataflare import (
    CallTimeout,
    DirectoryGrant,
    Grants,
    Host,
    HttpGrant,
    Limits,
    PluginError,
    Processor,
    Source,
    Transformer,
    Validator,
)
from dataflare.data.roles import Roles, roles_of
from dataflare.runtime.options import Isolation
from guest_kit import PROJECT, component

KINDS = {
    "change-source": "source",
    "csv-source": "source",
    "derive-columns": "transformer",
    "filter-rows": "transformer",
    "folder-source": "source",
    "jq": "processor",
    "json-mapper": "processor",
    "jsonl-destination": "destination",
    "normalize-records": "processor",
    "page-source": "source",
    "range-validator": "validator",
    "sequence-source": "source",
    "table-destination": "destination",
}

pytestmark = pytest.mark.guests

both = pytest.mark.parametrize("isolation", ["none", "process"])


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host() as made:
        yield made


def test_every_kind_has_a_guest_and_all_three_languages_are_there():
    assert set(KINDS) == {
        name for name in PROJECT.guests if not name.endswith("-probe")
    }  # those are of the conformance suite
    assert set(KINDS.values()) == {"source", "destination", "processor", "transformer", "validator"}
    assert {guest.language for guest in PROJECT.guests.values()} == {"rust", "python", "javascript"}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_guest_is_what_it_says(host: Host, name: str):
    inspection = host.inspect(component(name))
    metadata = host.metadata(component(name))
    assert (inspection.kind, inspection.problems) == (KINDS[name], ())
    assert (metadata.name, metadata.kind) == (name, KINDS[name])
    assert json.loads(metadata.config_schema)["type"] == "object"


@pytest.mark.parametrize("name", sorted(KINDS))
def test_wrong_configuration_is_an_error_that_no_retry_mends(host: Host, name: str, tmp_path: Path):
    grants = GRANTS.get(name, Grants())
    if name in FILES:
        grants = Grants(files={"d": DirectoryGrant(path=tmp_path, access="write")})
    with host.load(component(name), config={"no such key": 1}, grants=grants) as plugin:
        with pytest.raises(PluginError) as caught:
            plugin.start()
        assert caught.value.error.case == "invalid-config"
        assert not caught.value.retryable


FILES = {"change-source", "csv-source", "folder-source", "jsonl-destination"}
GRANTS = {"page-source": Grants(http={"https://api.example": HttpGrant()}), "table-destination": Grants(state=True)}


@both
def test_python_source_goes_on_from_its_state(host: Host, isolation: Isolation):
    config = {"rows": 10, "batch_rows": 4, "column": "id", "start": 5}
    with host.load(component("sequence-source"), config=config, isolation=isolation) as source:
        assert isinstance(source, Source)
        (dataset,) = source.discover()
        assert dataset.schema == pa.schema([("id", pa.int64())])
        assert roles_of(dataset.schema) == Roles(key=("id",))
        chunks = list(source.chunks())
        assert [chunk.rows["id"].to_pylist() for chunk in chunks] == [[5, 6, 7, 8], [9, 10, 11, 12], [13, 14]]
    with host.load(component("sequence-source"), config=config, isolation=isolation) as again:
        assert isinstance(again, Source)
        assert [chunk.rows["id"].to_pylist() for chunk in again.chunks(state=chunks[0].state)] == [
            [9, 10, 11, 12],
            [13, 14],
        ]
        with pytest.raises(PluginError) as caught:
            again.open(state=b"no state of mine")
        assert caught.value.error.case == "invalid-state"


@both
def test_javascript_transformer_keeps_rows_by_a_comparison(host: Host, isolation: Isolation):
    rows = pa.record_batch({"n": pa.array([1, None, 3, 4], pa.int64()), "s": ["a", "b", "c", "d"]})
    with host.load(
        component("filter-rows"), config={"column": "n", "op": ">=", "value": 3}, isolation=isolation
    ) as plugin:
        assert isinstance(plugin, Transformer)
        assert plugin.output_schema(rows.schema) == rows.schema
        assert plugin.transform(rows).to_pydict() == {"n": [3, 4], "s": ["c", "d"]}
        assert plugin.transform(rows.slice(0, 0)).num_rows == 0
        with pytest.raises(PluginError, match="n"):
            plugin.transform(pa.record_batch({"other": [1]}))
        assert plugin.transform(rows).num_rows == 2


@both
def test_javascript_processor_maps_records_and_batches_alike(host: Host, isolation: Isolation):
    with host.load(component("normalize-records"), isolation=isolation) as plugin:
        assert isinstance(plugin, Processor)
        one = plugin.process('{"Name": "  Ada   Lovelace ", "n": 1.50}')
        assert one is not None
        assert json.loads(one) == {"name": "Ada Lovelace", "n": 1.5}
        batch = plugin.process_batch(pa.record_batch({"Name": ["  a  b ", None], "N": [1, 2]}))
        assert batch.to_pydict() == {"name": ["a b", None], "n": [1, 2]}
        with pytest.raises(PluginError) as caught:
            plugin.process("no JSON")
        assert caught.value.error.case == "invalid-input"


@both
def test_python_validator_names_rows_and_counts_all(host: Host, isolation: Isolation):
    rules = [
        {"name": "positive", "column": "n", "min": 0, "not_null": True, "max_violations": 1},
        {"name": "known", "column": "s", "one_of": ["a", "b"], "severity": "warning"},
    ]
    rows = pa.record_batch({"n": pa.array([1, -1, None, -2], pa.int64()), "s": ["a", "c", "b", None]})
    with host.load(component("range-validator"), config={"rules": rules}, isolation=isolation) as plugin:
        assert isinstance(plugin, Validator)
        assert [(rule.name, rule.severity) for rule in plugin.rules()] == [("positive", "error"), ("known", "warning")]
        report = plugin.validate(rows)
    assert report.rows_checked == 4
    assert {count.rule: count.violations for count in report.counts} == {"positive": 3, "known": 1}
    assert [(v.row, v.column, v.rule) for v in report.violations] == [(1, "n", "positive"), (1, "s", "known")]


@pytest.mark.parametrize("name", ["sequence-source", "normalize-records"])
def test_time_limit_ends_an_interpreter_too(host: Host, name: str):
    # The limit leaves a busy machine time to start the plugin; what is asked for then takes many times as long.
    config = {"rows": 2**50, "batch_rows": 1_048_576} if name == "sequence-source" else {}
    with host.load(component(name), config=config, limits=Limits(call_timeout_s=0.1)) as plugin:
        with pytest.raises(CallTimeout) as caught:
            if isinstance(plugin, Source):
                plugin.open()
                plugin.read(1_000_000)
            else:
                assert isinstance(plugin, Processor)
                plugin.process(json.dumps({f"key {i}": " a " * 200 for i in range(20_000)}))
        assert caught.value.plugin == name
        assert plugin.metadata.name == name  # another instance answers
