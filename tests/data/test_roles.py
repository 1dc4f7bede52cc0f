from __future__ import annotations

import pyarrow as pa
import pytest

from dataflare.data.batches import Batch
from dataflare.data.ipc import decode_stream, encode_stream
from dataflare.data.roles import Roles, roles_of, with_roles
from dataflare.data.schemas import SchemaError, from_wit, to_wit
from dataflare.values import Ok

SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.string()), ("op", pa.int8())], metadata={"k": "v"})
CHANGES = with_roles(SCHEMA, key=["b", "a"], cursor="a", operation="op")
ROLES = Roles(("b", "a"), "a", "op")


def test_roles_are_read_as_they_were_written():
    assert roles_of(SCHEMA) == Roles()
    assert roles_of(CHANGES) == ROLES
    assert CHANGES.metadata == {b"k": b"v"}
    assert roles_of(with_roles(CHANGES, key=["a"])) == Roles(("a",))


def test_other_metadata_of_a_column_stays():
    schema = pa.schema([pa.field("a", pa.int64(), metadata={"unit": "m"})])
    assert with_roles(with_roles(schema, key=["a"])).equals(schema, check_metadata=True)
    assert with_roles(with_roles(schema, key=["a"]), key=[]).equals(schema, check_metadata=True)


@pytest.mark.parametrize(
    ("roles", "why"),
    [
        ({"key": ["c"]}, "there is no column 'c'"),
        ({"cursor": "c"}, "there is no column 'c'"),
        ({"key": ["a", "a"]}, "twice in the key"),
        ({"operation": "a"}, "column 'a': an operation column is int8, not int64"),
    ],
)
def test_roles_that_cannot_be_given_are_refused(roles, why):
    with pytest.raises(SchemaError, match=why):
        with_roles(SCHEMA, **roles)


@pytest.mark.parametrize(
    "metadata",
    [
        [{"dataflare.key": "1"}, {}],
        [{"dataflare.key": "0"}, {"dataflare.key": "0"}],
        [{"dataflare.key": "-1"}, {}],
        [{"dataflare.key": "x"}, {}],
        [{"dataflare.key": "9" * 5000}, {}],
        [{"dataflare.role": "boss"}, {}],
        [{"dataflare.role": "cursor"}, {"dataflare.role": "cursor"}],
        [{"dataflare.role": "operation"}, {}],
    ],
)
def test_roles_that_are_not_valid_name_the_column(metadata):
    fields = [pa.field(name, pa.int64(), metadata=each) for name, each in zip("ab", metadata, strict=True)]
    with pytest.raises(SchemaError, match=r"column '[ab]'|the positions of the key's columns"):
        roles_of(pa.schema(fields))


def test_roles_survive_the_wit_and_arrow_streams():
    assert roles_of(from_wit(to_wit(CHANGES))) == ROLES
    rows = pa.RecordBatch.from_pydict({"a": [1], "b": ["x"], "op": [0]}, CHANGES)
    assert roles_of(decode_stream(pa.py_buffer(encode_stream(rows)), 2**20).schema) == ROLES


def test_roles_survive_operations_on_batches():
    batch = Batch(pa.RecordBatch.from_pydict({"a": [1, 2], "b": ["x", "y"], "op": [0, 1]}, CHANGES))
    for changed in (batch.slice(0, 1), batch.filter([1]), batch.with_int64_column("a", [3, 4], None)):
        made = changed.value if isinstance(changed, Ok) else changed
        assert roles_of(made.arrow.schema) == ROLES
