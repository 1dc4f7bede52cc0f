"""What is granted and limited is the same wherever it is written."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.documents.models import json_schema_of
from dataflare.documents.quantities import parse_duration, parse_size
from dataflare.errors import ConfigError
from dataflare.grants import ANY_METHODS, DirectoryGrant, Grants, HttpGrant, switched
from dataflare.interfaces import INTERFACES, NEEDS_GRANT, SWITCHES
from dataflare.limits import LIMITS, Limits
from dataflare.permissions.limit_keys import write_limit
from dataflare.permissions.words import parse_grants, parse_limits
from dataflare.pipeline.specification import json_schema, parse_specification
from dataflare.request_headers import SAFE_HEADERS
from dataflare.security.capability import Capability, Needs, capabilities_of
from dataflare.security.manifest import Manifest, parse_manifest
from dataflare.security.policy import Policy, PolicyDocument

NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
ACCESSES = st.sampled_from(["read", "write"])
PATHS = st.from_regex(r"[a-zA-Z.][a-zA-Z0-9 =.{}_-]{0,12}", fullmatch=True)
SIZES = st.tuples(st.integers(1, 4000), st.sampled_from(["B", "kB", "KiB", "MB", "MiB"])).map("{0[0]}{0[1]}".format)
DURATIONS = st.integers(1, 3_600_000).map("{}ms".format) | st.sampled_from(["30s", "1.5min", "1h"])
ORIGINS = ("https://api.example.com", "http://10.0.0.7:8080", "http://[::1]:8000")
ORIGIN_KEYS: dict[str, st.SearchStrategy[Any]] = {
    "request_headers": st.just("any") | st.sets(st.sampled_from(["accept", "x-key"])).map(sorted),
    "secrets": st.dictionaries(st.sampled_from(["authorization", "x-key"]), st.sampled_from(["k", "Bearer {k}"])),
    "addresses": st.sets(st.sampled_from(["10.0.0.7/32", "10.1.0.0/16"])).map(sorted),
    "max_request": SIZES,
    "max_response": SIZES,
    "max_redirects": st.integers(0, 20),
    "timeout": DURATIONS,
    "requests_per_s": st.sampled_from([0.5, 10, 2.5]),
    "burst": st.integers(1, 100),
}
METHODS = st.just("any") | st.sets(st.sampled_from(["GET", "POST"]), min_size=1).map(sorted)
KINDS = {"size": SIZES, "duration": DURATIONS, "count": st.integers(1, 2**63 - 1)}


def limit_values(name: str) -> st.SearchStrategy[Any]:
    kind: st.SearchStrategy[Any] = KINDS[LIMITS[name].quantity]
    return kind | st.just("none") if LIMITS[name].removable else kind


WRITTEN_LIMITS = st.fixed_dictionaries({}, optional={name: limit_values(name) for name in LIMITS})


@st.composite
def written_grants(draw: st.DrawFn) -> dict[str, Any]:
    """What stands under `grants:`."""
    found: dict[str, Any] = {name: True for name in SWITCHES if draw(st.booleans())}
    if "random" in found and draw(st.booleans()):
        found["random_seed"] = draw(st.integers(0, 2**64 - 1))
    found["files"] = draw(
        st.dictionaries(NAMES, st.fixed_dictionaries({"path": PATHS}, optional={"access": ACCESSES}), max_size=2)
    )
    origin = st.fixed_dictionaries({"methods": METHODS}, optional=ORIGIN_KEYS)
    found["http"] = draw(st.dictionaries(st.sampled_from(ORIGINS), origin, max_size=2))
    found["shared"] = draw(st.dictionaries(NAMES, ACCESSES, max_size=2))
    for name in ("secrets", "plugins"):
        found[name] = sorted(draw(st.sets(NAMES, max_size=2)))
    columns = st.just("any") | st.sets(st.sampled_from(["id", "a,b", "at time"]), min_size=1).map(sorted)
    found["datasets"] = draw(st.dictionaries(st.sampled_from(["orders", "shop.people"]), columns, max_size=2))
    return {key: value for key, value in found.items() if value}


def in_python(written: dict[str, Any], folder: Path) -> Grants:
    """The same by the classes of the Python API."""
    http = {}
    for origin, each in written.get("http", {}).items():
        given = dict(each)
        methods, headers = given.pop("methods"), given.pop("request_headers", SAFE_HEADERS)
        sizes = {f"{key}_bytes": parse_size(given.pop(key)) for key in ("max_request", "max_response") if key in given}
        if "timeout" in given:
            given["timeout_s"] = parse_duration(given.pop("timeout"))
        given["addresses"] = frozenset(given.get("addresses", ()))
        http[origin] = HttpGrant(
            methods=ANY_METHODS if methods == "any" else frozenset(methods),
            request_headers="any" if headers == "any" else frozenset(headers),
            **sizes,
            **given,
        )
    return Grants(
        files={
            name: DirectoryGrant(path=folder / each["path"], access=each.get("access", "read"))
            for name, each in written.get("files", {}).items()
        },
        http=http,
        secrets=frozenset(written.get("secrets", ())),
        plugins=frozenset(written.get("plugins", ())),
        shared=written.get("shared", {}),
        random_seed=written.get("random_seed"),
        datasets={
            name: columns if columns == "any" else frozenset(columns) for name, columns in written["datasets"].items()
        }
        if "datasets" in written
        else None,
        **switched(name for name in SWITCHES if name in written),
    )


def in_words(written: dict[str, Any]) -> list[str]:
    """The same as `--grant` takes it."""
    words = [name for name in SWITCHES if name in written]
    words += [f"random_seed={seed}" for key, seed in written.items() if key == "random_seed"]
    for name, each in written.get("files", {}).items():
        access = f"{each['access']}:" if "access" in each else ""
        words.append(f"files:{access}{name}={each['path']}")
    for origin, each in written.get("http", {}).items():
        methods = each["methods"] if each["methods"] == "any" else ",".join(each["methods"])
        rest = {key: value for key, value in each.items() if key != "methods"}
        words.append(f"http:{methods}:{origin}" + (f"={json.dumps(rest)}" if rest else ""))
    for name, columns in written.get("datasets", {}).items():
        words.append(f"datasets:{name}" + ("" if columns == "any" else f"={json.dumps(columns)}"))
    words += [f"shared:{access}:{name}" for name, access in written.get("shared", {}).items()]
    return words + [f"{key}:{name}" for key in ("secrets", "plugins") for name in written.get(key, ())]


def in_a_pipeline(folder: Path, **node: Any) -> tuple[Grants, Limits]:
    called = node.get("grants", {}).get("plugins", ())
    (folder / "p.wasm").touch()
    nodes = {"plugin": {"plugin": "p.wasm", **node}, **{name: {"plugin": "p.wasm"} for name in called}}
    text = json.dumps({"name": "p", "nodes": nodes})
    found = parse_specification(text, file=folder / "pipeline.yaml")
    return found.grants["plugin"], found.limits["plugin"]


def in_a_policy(folder: Path, *, everywhere: bool = True, **rule: Any) -> tuple[Grants, Limits]:
    plugin = rule if everywhere else {"pipelines": {"n": rule}}
    document = {"version": 1, "plugins": {"p": plugin}, "pipelines": {"n": {"embedded": True}}}
    policy = Policy.parse(json.dumps(document), base_dir=folder)
    again = Policy.parse(policy.to_yaml(), base_dir=folder)
    assert again.document == policy.document
    return policy.grants_for(Needs(plugin="p"), "n"), policy.limits_for(Needs(plugin="p"), "n")


@given(written_grants())
def test_grants_are_the_same_in_every_form(tmp_path_factory: pytest.TempPathFactory, written: dict[str, Any]) -> None:
    folder = tmp_path_factory.getbasetemp()
    wanted = in_python(written, folder)
    assert parse_grants(in_words(written), base_dir=folder) == wanted
    assert in_a_policy(folder, grants=written)[0] == wanted
    assert in_a_policy(folder, grants=written, everywhere=False)[0] == wanted
    called = set(written.get("plugins", ()))
    if "plugin" not in called:
        assert in_a_pipeline(folder, grants=written)[0] == wanted


@given(written_grants())
def test_a_manifest_that_asks_for_what_is_granted_asks_for_no_more(written: dict[str, Any]) -> None:
    asks = {key: value for key, value in written.items() if key not in ("random_seed", "datasets")}
    asks["files"] = {
        name: {key: value for key, value in each.items() if key != "path"}
        for name, each in written.get("files", {}).items()
    }
    asks["http"] = {origin: {"methods": each["methods"]} for origin, each in written.get("http", {}).items()}
    manifest = parse_manifest(json.dumps({"name": "p", "version": "1.0.0", "kind": "source", "asks": asks}).encode())
    assert manifest.needs().capabilities == capabilities_of(in_python(written, Path()))


@given(written_grants())
def test_single_capabilities_are_words_without_values(written: dict[str, Any]) -> None:
    for each in capabilities_of(in_python(written, Path())):
        assert Capability.parse(str(each)) == each
        if each.object and each.interface != "files":
            assert each in capabilities_of(parse_grants([str(each)]))


@given(WRITTEN_LIMITS)
def test_limits_are_the_same_in_every_form(tmp_path_factory: pytest.TempPathFactory, written: dict[str, Any]) -> None:
    folder = tmp_path_factory.getbasetemp()
    readers = {"size": parse_size, "duration": parse_duration, "count": int}
    wanted = Limits(
        **{
            LIMITS[name].field: None if value == "none" else readers[LIMITS[name].quantity](value)
            for name, value in written.items()
        }
    )
    assert parse_limits([f"{name}={value}" for name, value in written.items()]) == wanted
    assert in_a_pipeline(folder, limits=written)[1] == wanted
    assert in_a_policy(folder, limits=written)[1] == wanted
    assert in_a_policy(folder, limits=written, everywhere=False)[1] == wanted
    manifest = parse_manifest(
        json.dumps({"name": "p", "version": "1.0.0", "kind": "source", "limits": written}).encode()
    )
    asked: Any = manifest.needs().limits
    assert Limits(**asked) == wanted
    again = {name: write_limit(row, getattr(wanted, row.field)) for name, row in LIMITS.items()}
    assert parse_limits([f"{name}={value}" for name, value in again.items()]) == wanted


def test_every_limit_of_the_python_api_has_a_row() -> None:
    assert {row.field for row in LIMITS.values()} == {field.name for field in fields(Limits)}
    units = {"size": "_bytes", "duration": "_s", "count": ""}
    for name, row in LIMITS.items():
        assert row.name == name and row.field.replace(units[row.quantity], "", 1) == name


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_every_limit_is_a_key_of_every_schema(name: str) -> None:
    for schema in (json_schema(), json_schema_of(PolicyDocument), json_schema_of(Manifest)):
        assert schema["$defs"]["LimitsModel"]["properties"][name]["description"] == LIMITS[name].says


@pytest.mark.parametrize("name", sorted(NEEDS_GRANT))
def test_every_interface_can_be_granted_and_asked_for_in_every_place(name: str) -> None:
    assert name in json_schema()["$defs"]["GrantsModel"]["properties"]
    assert name in json_schema_of(PolicyDocument)["$defs"]["GrantsModel"]["properties"]
    assert name in json_schema_of(Manifest)["$defs"]["AsksModel"]["properties"]
    assert Capability.parse(name).interface == name
    word = (INTERFACES[name].word or name).partition(" or ")[0]
    for form, value in (("DIRECTORY", "/"), ("METHOD,...", "GET"), ("NAME", "x"), ("NODE", "x"), ("HOST", "x")):
        word = word.replace(form, value)
    assert name in parse_grants([word]).capabilities


@pytest.mark.parametrize(
    ("word", "says", "hint"),
    [
        ("clok", "'clok' is not a grant", "did you mean 'clock'?"),
        ("config", "'config' is not a grant", ""),
        ("clock:now", "is not a grant", "write clock"),
        ("files:data", "is not a grant", "write files:NAME=DIRECTORY or files:write:NAME=DIRECTORY"),
        ("files:out=./out:rw", "is not a grant", "write files:write:out=./out"),
        ("files:in=./in:ro", "is not a grant", "write files:in=./in"),
        ("files:A=x", "is not of the form", ""),
        ("http:https://a.example", "is not a grant", "write http:METHOD,...:https://HOST"),
        ("http:GET:https://A.example", "write 'https://a.example'", ""),
        ("http:GET:https://a.example/", "is not of the form https://host", ""),
        ("http:GET:https://a.example={timeout: 5}", "has no unit", ""),
        ("http:GET:https://a.example={methods: [PUT]}", "is not a grant", "the other keys"),
        ("http:GET:https://a.example=5s", "is not a grant", "{timeout: 5s}"),
        ("http:get:https://a.example", "is not of the form", ""),
        ("secrets", "is not a grant", "write secrets:NAME"),
        ("secrets:a=hunter2", "is not a grant", "write secrets:NAME"),
        ("shared:execute:a", "is not of the form", ""),
        ("random_seed=x", "give a whole number", ""),
        ("random_seed=7", "has no effect without random", ""),
        ("directories:x=.", "is not a grant", "known are"),
        ("datasets", "is not a grant", "write datasets:NAME"),
        ("datasets:a=", "is not a grant", "write datasets:NAME"),
    ],
)
def test_a_word_that_is_not_a_grant_is_told_the_form(word: str, says: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_grants([word])
    assert caught.value.where == "--grant" or caught.value.where.startswith("--grant:")
    assert says in caught.value.message and hint in caught.value.hint, str(caught.value)


def test_columns_of_a_dataset_are_named_with_commas() -> None:
    granted = parse_grants(["datasets:orders=id,amount", "datasets:shop.people"]).datasets
    assert granted == {"orders": frozenset({"id", "amount"}), "shop.people": "any"}


def test_two_words_about_one_thing_are_refused() -> None:
    for words in (["clock", "clock"], ["files:a=x", "files:write:a=y"], ["secrets:a", "secrets:a"]):
        with pytest.raises(ConfigError, match="grants the same thing again"):
            parse_grants(words)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("memory", "write NAME=VALUE"),
        ("memory=64", "is not a size"),
        ("memory_bytes=5", "write memory"),
        ("memry=5B", "did you mean 'memory'"),
        ("memory=none", "is not a size"),
        ("fuel=1.5", "give a whole number"),
        ("fuel=0", "greater than or equal to 1"),
        ("call_timeout=2h", "not in (0, 3600]"),
    ],
)
def test_a_word_that_is_not_a_limit_is_told_the_form(word: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_limits([word])
    assert caught.value.where == "--limit" and says in str(caught.value)
    with pytest.raises(ConfigError, match="given twice"):
        parse_limits(["fuel=1", "fuel=2"])


@pytest.mark.parametrize("read", [parse_limits, parse_grants])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"memory": "64MiB"}, "give a list of words, not a mapping"),
        ("clock", "give a list of words, not a text"),
        (7, "give a list of words, not int"),
        ([7], "7 is not a text"),
        ([["clock"]], r"\['clock'\] is not a text"),
    ],
)
def test_what_is_no_list_of_words_is_refused(read: Any, words: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        read(words)
    assert caught.value.hint in ("write ['memory=64MiB']", "write ['clock']")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Limits(call_timeout_s="5"), "limits.call_timeout_s: '5' is a text, not a number"),  # type: ignore[arg-type]
        (lambda: Limits(memory_bytes="64MiB"), "limits.memory_bytes: '64MiB' is a text, not a number"),  # type: ignore[arg-type]
        (lambda: Limits(fuel="none"), "limits.fuel: 'none' is a text, not a number"),  # type: ignore[arg-type]
        (lambda: HttpGrant(timeout_s="5s"), "grants.http.timeout_s: '5s' is a text, not a number"),  # type: ignore[arg-type]
        (lambda: HttpGrant(burst="2"), "grants.http.burst: '2' is a text, not a number"),  # type: ignore[arg-type]
    ],
)
def test_a_text_in_the_place_of_a_number_is_told(make: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value).startswith(says) and caught.value.hint


def test_a_policys_seed_holds_beside_the_pipelines_grants() -> None:
    from dataflare.security.narrowing import narrowed_grants

    allowed = Grants(random=True, random_seed=7)
    for wanted in (Grants(random=True), Grants(random=True, random_seed=8)):
        assert narrowed_grants(allowed, wanted, plugin="p", source="s").random_seed == 7
    assert narrowed_grants(allowed, Grants(), plugin="p", source="s").random_seed is None
