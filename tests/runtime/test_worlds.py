from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.engine.abi import types as t
from dataflare.errors import PermissionDenied, WorldMismatch
from dataflare.grants import DirectoryGrant, Grants, HttpGrant
from dataflare.interfaces import FREE, OFFERED, interface_name
from dataflare.runtime.type_conformance import standard_signatures
from dataflare.runtime.worlds import (
    KINDS,
    check_grants,
    check_world,
    kind_interface,
    kind_world,
    mismatches,
    needed_capabilities,
)
from dataflare.testing.shapes import plugin_shape
from runtime_fakes import catalog

GRANTABLE = sorted(OFFERED - FREE)
GRANTED: dict[str, Any] = {
    "files": {"d": DirectoryGrant(path=Path())},
    "http": {"https://a.example": HttpGrant()},
    "secrets": {"s"},
    "plugins": {"p"},
    "shared": {"b": "read"},
}


def check(shape: t.ComponentType) -> str:
    return check_world(shape, component="x.wasm")


@pytest.mark.parametrize("kind", KINDS)
def test_plugin_of_every_kind_is_recognized(kind):
    assert check(plugin_shape(kind, GRANTABLE)) == kind


@pytest.mark.parametrize("kind", KINDS)
def test_interface_and_world_of_every_kind_are_in_the_standard(kind):
    assert kind_interface(kind) in catalog().world(kind_world(kind)).exports


def test_functions_have_the_names_of_the_canonical_abi():
    names = standard_signatures().functions("dataflare:host/files@1.0.0")
    assert {"open", "[method]reader.read-words", "[method]writer.publish"} < names


def test_component_without_an_interface_of_a_kind_is_refused():
    shape = plugin_shape("source")
    del shape.exports[kind_interface("source")]
    with pytest.raises(WorldMismatch, match=r"x\.wasm: .*exports dataflare:plugin/lifecycle@1.0.0, but no ") as caught:
        check(shape)
    assert "source-plugin" in caught.value.hint


def test_component_of_another_version_of_the_standard_is_told_so():
    shape = plugin_shape("source")
    shape.exports["dataflare:plugin/source@0.9.0"] = shape.exports.pop(kind_interface("source"))
    with pytest.raises(WorldMismatch) as caught:
        check(shape)
    assert "version 0.9.0" in caught.value.hint


def test_component_of_two_kinds_is_refused():
    shape = plugin_shape("processor")
    shape.exports |= plugin_shape("validator").exports
    with pytest.raises(WorldMismatch, match="the interfaces of processor and validator"):
        check(shape)


def test_component_without_a_lifecycle_is_refused():
    shape = plugin_shape("processor")
    del shape.exports["dataflare:plugin/lifecycle@1.0.0"]
    with pytest.raises(WorldMismatch, match=r"the export dataflare:plugin/lifecycle@1\.0\.0 is missing"):
        check(shape)


def test_missing_function_is_named():
    shape = plugin_shape("destination")
    del shape.exports[kind_interface("destination")].funcs["finish"]
    with pytest.raises(WorldMismatch, match=r"the export dataflare:plugin/destination@1\.0\.0#finish is missing"):
        check(shape)


def test_wrong_type_is_named_down_to_the_field():
    shape = plugin_shape("source")
    funcs = shape.exports[kind_interface("source")].funcs
    estimated = t.OptionT(t.RecordT((("rows", t.PrimT("u32")), ("exact", t.PrimT("bool")))))
    funcs["estimate"] = dataclasses.replace(funcs["estimate"], result=t.ResultT(estimated, funcs["read"].result.err))
    with pytest.raises(WorldMismatch, match=r"source@1.0.0#estimate has .*`?result\.ok\.rows is u32, not u64"):
        check(shape)


def test_handle_to_a_resource_of_the_plugin_itself_is_no_batch():
    shape = plugin_shape("transformer")
    shape.resources[0] = t.Resource("batch", kind_interface("transformer"), False)
    with pytest.raises(WorldMismatch, match="is a handle to `batch` of dataflare:plugin/transformer"):
        check(shape)


def test_snapshot_is_checked_where_it_is_exported():
    shape = plugin_shape("source")
    shape.exports["dataflare:plugin/snapshot@1.0.0"] = t.Interface(funcs={"save-state": t.FuncT((), None)})
    found = [each.text for each in mismatches(shape)]
    assert len(found) == 2
    assert "snapshot@1.0.0#restore-state is missing" in found[0]
    assert "snapshot@1.0.0#save-state has another type" in found[1]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("acme:things/lock@1.0.0", "is unknown"),
        ("dataflare:host/files@2.0.0", "is unknown"),
        ("dataflare:host/everything@1.0.0", "is unknown"),
    ],
)
def test_import_that_the_host_does_not_have_is_refused(name, reason):
    shape = plugin_shape("source")
    shape.imports[name] = t.Interface(funcs={"f": t.FuncT((), None)})
    with pytest.raises(WorldMismatch, match=f"the import {name} {reason}"):
        check(shape)


def test_import_of_a_later_version_is_refused():
    shape = plugin_shape("source", ["http"])
    shape.imports["dataflare:host/http@1.1.0"] = shape.imports.pop(interface_name("http"))
    why = r"the import dataflare:host/http@1\.1\.0 is newer than dataflare:host/http@1\.0\.0, which this host has"
    with pytest.raises(WorldMismatch, match=why):
        check(shape)


def test_import_of_a_function_that_an_interface_does_not_have_is_refused():
    shape = plugin_shape("source")
    shape.imports[interface_name("logging")].funcs["shout"] = t.FuncT((), None)
    with pytest.raises(WorldMismatch, match=r"the import dataflare:host/logging@1\.0\.0#shout is unknown"):
        check(shape)


def test_import_of_the_world_itself_is_refused():
    shape = plugin_shape("source")
    shape.imports[""] = t.Interface(funcs={"callback": t.FuncT((), None)})
    with pytest.raises(WorldMismatch, match="the import callback is unknown"):
        check(shape)


def test_functions_of_a_plugin_interface_cannot_be_imported():
    shape = plugin_shape("source")
    shape.imports[kind_interface("processor")] = t.Interface(funcs={"process": t.FuncT((), None)})
    with pytest.raises(WorldMismatch, match=r"the import dataflare:plugin/processor@1\.0\.0 is unknown"):
        check(shape)


@pytest.mark.parametrize("name", ["wasi:cli/environment@0.2.0", "wasi:sockets/tcp-create-socket@0.2.12"])
def test_wasi_of_toolchains_may_be_imported(name):
    shape = plugin_shape("source")
    shape.wasi[name] = t.Interface()
    assert check(shape) == "source"
    assert needed_capabilities(shape) == ()


@pytest.mark.parametrize("name", ["wasi:http/outgoing-handler@0.2.0", "wasi:cli/run@0.3.0", "wasi:io/poll@0.2.0-rc"])
def test_other_wasi_is_refused(name):
    shape = plugin_shape("source")
    shape.wasi[name] = t.Interface()
    with pytest.raises(WorldMismatch, match=f"the import {name} is unknown"):
        check(shape)


def test_all_mismatches_are_listed_in_one_error():
    shape = plugin_shape("source")
    shape.exports[kind_interface("source")].funcs.clear()
    shape.imports |= {f"acme:a/b{i}@1.0.0": t.Interface() for i in range(4)}
    with pytest.raises(WorldMismatch, match=r"#acknowledge is missing\n.*#close(.|\n)*and 6 more"):
        check(shape)


@pytest.mark.parametrize("capability", GRANTABLE)
def test_capability_is_refused_without_its_grant(capability):
    shape = plugin_shape("processor", [capability])
    with pytest.raises(PermissionDenied, match=f"plugin 'p': it needs {capability}, which is not granted") as caught:
        check_grants(shape, Grants(), plugin="p")
    assert caught.value.capability == f"dataflare:host/{capability}"
    assert caught.value.plugin == "p"
    assert "\ngrants:\n" in caught.value.hint and f"  {capability}: " in caught.value.hint


@pytest.mark.parametrize("capability", GRANTABLE)
def test_capability_is_allowed_with_its_grant(capability):
    shape = plugin_shape("processor", [capability])
    assert needed_capabilities(shape) == (capability,)
    check_grants(shape, Grants(**{capability: GRANTED.get(capability, True)}), plugin="p")


def test_every_missing_grant_is_named():
    shape = plugin_shape("processor", ["state", "clock", "random"])
    with pytest.raises(PermissionDenied, match="it needs clock, random, which are not granted"):
        check_grants(shape, Grants(state=True), plugin="p")


def replaced_types(ty: t.Type | None) -> Iterator[t.Type | None]:
    """Every type that differs from this one in one place."""
    match ty:
        case None:
            yield t.PrimT("bool")
            return
        case t.PrimT(name=name):
            yield t.PrimT("u64" if name == "string" else "string")
        case t.ListT(element=element):
            yield from (t.ListT(each) for each in replaced_types(element) if each is not None)
        case t.OptionT(inner=inner):
            yield inner
            yield from (t.OptionT(each) for each in replaced_types(inner) if each is not None)
        case t.ResultT(ok=ok, err=err):
            yield from (t.ResultT(each, err) for each in replaced_types(ok))
            yield from (t.ResultT(ok, each) for each in replaced_types(err))
        case t.TupleT(items=items):
            yield t.TupleT((*items, t.PrimT("u8")))
        case t.RecordT(fields=fields):
            yield t.RecordT(fields[::-1]) if len(fields) > 1 else t.PrimT("u8")
            yield t.RecordT(fields[:-1])
            for i, (name, inner) in enumerate(fields):
                yield t.RecordT((*fields[:i], (f"{name}-x", inner), *fields[i + 1 :]))
                yield from (
                    t.RecordT((*fields[:i], (name, each), *fields[i + 1 :]))
                    for each in replaced_types(inner)
                    if each is not None
                )
        case t.VariantT(cases=cases):
            yield t.VariantT((*cases, ("one-more", None)))
            for i, (name, payload) in enumerate(cases):
                yield from (t.VariantT((*cases[:i], (name, e), *cases[i + 1 :])) for e in replaced_types(payload))
        case t.EnumT(names=names):
            yield t.EnumT((*names[1:], names[0]))
        case t.OwnT(resource=index):
            yield t.BorrowT(index)
            yield t.OwnT(index + 1)
        case t.BorrowT(resource=index):
            yield t.OwnT(index)
            yield t.BorrowT(index + 1)


def changed_functions(function: t.FuncT) -> Iterator[t.FuncT]:
    yield from (t.FuncT(function.params, each) for each in replaced_types(function.result))
    yield t.FuncT((*function.params, ("extra", t.PrimT("u8"))), function.result)
    for i, (name, ty) in enumerate(function.params):
        others = (*function.params[:i], *function.params[i + 1 :])
        yield t.FuncT(others, function.result)
        for each in replaced_types(ty):
            if each is not None:
                yield t.FuncT((*function.params[:i], (name, each), *function.params[i + 1 :]), function.result)


@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_no_change_of_a_type_goes_unnoticed(data: st.DataObject, kind: str):
    shape = plugin_shape(kind, ["files"])
    shape.resources.append(t.Resource("another", "acme:a/b@1.0.0", True))
    sides = {**shape.imports, **shape.exports}
    interface = sides[data.draw(st.sampled_from(sorted(name for name in sides if sides[name].funcs)))]
    name = data.draw(st.sampled_from(sorted(interface.funcs)))
    original = interface.funcs[name]
    assert mismatches(shape) == []
    changed = [each for each in changed_functions(original) if each != original]
    if not changed:
        return
    interface.funcs[name] = data.draw(st.sampled_from(changed))
    found = mismatches(shape)
    assert len(found) == 1
    assert f"#{name} has another type" in found[0].text
