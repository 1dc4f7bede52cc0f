"""Sources and destinations held to the datasets and columns that are granted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from dataflare.data.batches import Batch
from dataflare.data.roles import Roles, roles_of, with_roles
from dataflare.data.schemas import to_wit
from dataflare.errors import ConfigError, PermissionDenied
from dataflare.grants import Grants
from dataflare.runtime.capabilities import Capabilities
from dataflare.runtime.datasets import DatasetName, Selection, Target
from dataflare.runtime.host import Host
from dataflare.values import Ok, Variant
from runtime_fakes import FakeEngine, Numbers, Shelf

PEOPLE = with_roles(
    pa.schema([("id", pa.int64()), ("name", pa.string()), ("salary", pa.int64())]), key=["id"], cursor="salary"
)


class People(Numbers):
    """Two datasets of people, one of which nobody is to see."""

    names = ("people", "bosses")
    """What the datasets are called."""
    adds = ()
    """Columns that it adds to those that are selected."""

    def discover(self) -> Any:
        modes = frozenset({"full", "incremental", "splittable"})
        return Ok(
            [
                SimpleNamespace(
                    name=SimpleNamespace(name=name.split("/")[-1], namespace=name.rpartition("/")[0]),
                    description="",
                    schema=to_wit(PEOPLE),
                    key=["id"],
                    cursors=["salary"],
                    modes=modes,
                )
                for name in self.names
            ]
        )

    def open(self, selections: Any, part: bytes | None, state: bytes | None) -> Any:
        self.opened, self.done = list(selections), False
        wanted = [{*each.columns, *self.adds} if each.columns else {*PEOPLE.names} for each in selections]
        self.schemas = [pa.schema([field for field in PEOPLE if field.name in names]) for names in wanted]
        return Ok([to_wit(schema) for schema in self.schemas])

    def read(self, max_rows: int) -> Any:
        if self.done:
            return Ok(Variant("ended"))
        self.done = True
        values = {"id": [1], "name": ["Ann"], "salary": [9]}
        rows = pa.record_batch([values[name] for name in self.schemas[0].names], self.schemas[0])
        return Ok(Variant("rows", SimpleNamespace(selection=0, rows=Batch(rows), state=b"1")))


@pytest.fixture
def refusals(monkeypatch):
    """What the audit log is told of."""
    told: list[tuple[str, str, str]] = []
    monkeypatch.setattr(Capabilities, "refused_dataset", lambda _, *refusal: told.append(refusal))
    return told


@pytest.fixture
def source(refusals):
    engine = FakeEngine()
    with Host(engine=engine) as host:

        def load(datasets: Any, **attributes: Any) -> Any:
            component = engine.add(type("People", (People,), attributes))
            return host.load(component, name="p", grants=Grants(datasets=datasets))

        yield load


@pytest.fixture
def shelf(refusals):
    engine = FakeEngine()
    with Host(engine=engine) as host:
        yield lambda datasets: host.load(
            engine.add(type("Board", (Shelf,), {"shelf": []})), name="p", grants=Grants(datasets=datasets)
        )


def test_without_a_grant_of_datasets_all_are_there(source):
    assert [str(each.name) for each in source(None).discover()] == ["people", "bosses"]


def test_only_granted_datasets_and_columns_are_discovered(source):
    (found,) = source({"people": frozenset({"id", "name"})}).discover()
    assert (str(found.name), found.schema.names, found.key, found.cursors) == ("people", ["id", "name"], ("id",), ())
    assert roles_of(found.schema) == Roles(("id",))
    assert found.modes == {"full", "splittable"}


def test_dataset_without_its_key_has_none(source):
    (found,) = source({"people": frozenset({"name"})}).discover()
    assert (found.key, roles_of(found.schema)) == ((), Roles())


def test_all_columns_means_those_that_are_granted(source):
    people = source({"people": frozenset({"id", "name"}), "bosses": "any"})
    (rows,) = people.batches("people")
    assert rows.to_pydict() == {"id": [1], "name": ["Ann"]}
    (rows,) = people.batches("bosses")
    assert rows.schema.names == ["id", "name", "salary"]


@pytest.mark.parametrize(
    ("selection", "capability"),
    [
        ("bosses", "datasets:bosses"),
        (DatasetName("people", "other"), "datasets:other.people"),
        (Selection("people", columns=["id", "salary"]), "datasets:people.salary"),
    ],
)
@pytest.mark.parametrize("call", ["open", "estimate", "split"])
def test_what_is_not_granted_is_refused_and_told(source, refusals, selection, capability, call):
    people = source({"people": frozenset({"id", "name"})})
    with pytest.raises(PermissionDenied, match=r"plugin 'p': dataset '\S+': .*not granted") as caught:
        getattr(people, call)(selection, **({"at_most": 2} if call == "split" else {}))
    assert (caught.value.plugin, caught.value.capability) == ("p", capability)
    ((function, dataset, why),) = refusals
    assert (function, dataset in capability, "not granted" in why) == ("open", True, True)


def test_cursor_that_is_not_granted_cannot_be_one(source):
    people = source({"people": frozenset({"id", "name"})})
    with pytest.raises(ConfigError, match="cannot be read in the mode 'incremental'"):
        people.open(Selection("people", "incremental", cursor="salary"))


def test_column_that_the_source_adds_has_to_be_granted_too(source):
    people = source({"people": frozenset({"name"})}, adds=("id",))
    with pytest.raises(PermissionDenied, match="column 'id' is not granted"):
        people.open(Selection("people", columns=["name"]))


def test_new_column_that_is_not_granted_ends_the_read(source):
    def read(self: Any, max_rows: int) -> Any:
        return Ok(Variant("new-schema", SimpleNamespace(selection=0, schema=to_wit(PEOPLE))))

    people = source({"people": frozenset({"id", "name"})}, read=read)
    people.open("people")
    with pytest.raises(PermissionDenied, match="dataset 'people': column 'salary' is not granted"):
        people.read()


def test_datasets_that_are_written_alike_are_refused(source):
    people = source({"a.b": "any"}, names=("a/b", "a.b"))
    with pytest.raises(PermissionDenied, match="two datasets are written in this way"):
        people.discover()


def test_destination_writes_granted_datasets_and_columns_alone(shelf, refusals):
    destination = shelf({"people": frozenset({"id", "name"})})
    destination.open(Target("people", pa.schema([("id", pa.int64())])))
    destination.change_schema(pa.schema([("id", pa.int64()), ("name", pa.string())]))
    with pytest.raises(PermissionDenied, match="dataset 'people': column 'salary' is not granted"):
        destination.change_schema(PEOPLE)
    destination.abort()
    for target in (Target("people", PEOPLE), Target("others", pa.schema([("id", pa.int64())]))):
        for call in (destination.plan, destination.open):
            with pytest.raises(PermissionDenied, match="not granted"):
                call(target)
    assert [dataset for _, dataset, _ in refusals] == ["people", "people", "people", "others", "others"]


def test_operation_column_needs_no_grant(shelf):
    schema = with_roles(pa.schema([("id", pa.int64()), ("op", pa.int8())]), operation="op")
    shelf({"people": frozenset({"id"})}).open(Target("people", schema))


@pytest.mark.parametrize("datasets", [["people"], {"people": frozenset()}, {"": "any"}, {"people": [1]}, {1: "any"}])
def test_grant_of_datasets_that_is_none_is_refused(datasets):
    with pytest.raises(ConfigError, match=r"grants\.datasets"):
        Grants(datasets=datasets)
