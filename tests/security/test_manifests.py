from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.errors import ComponentError, NotAComponent
from dataflare.interfaces import SWITCHES
from dataflare.permissions.grant_keys import AsksModel
from dataflare.permissions.limit_keys import LimitsModel
from dataflare.security.capability import Capability
from dataflare.security.manifest import (
    MANIFEST_SECTION,
    MAX_MANIFEST_BYTES,
    DuplicateManifest,
    MalformedManifest,
    Manifest,
    ManifestTooLarge,
    component_digest,
    embed,
    manifest_digest,
    parse_manifest,
    read,
    undeclared,
)
from dataflare.security.sections import append_section, custom_sections, without_sections

HEADER = b"\0asm\x0d\0\x01\0"

MANIFEST = Manifest(
    name="rates",
    version="1.2.0",
    kind="source",
    publisher="acme",
    asks=AsksModel(  # type: ignore[call-arg]
        clock=True,
        files={"cache": {"access": "write"}, "input": {}},
        http={"https://api.example.com": {"methods": ["GET"]}},
        state=True,
        secrets=frozenset({"api-token"}),
        plugins=frozenset({"clean"}),
        shared={"lookup": "read"},
    ),
    limits=LimitsModel(memory="64MiB"),  # type: ignore[call-arg]
)

names_ = st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True)
access = st.sampled_from(["read", "write"])
manifests = st.builds(
    Manifest,
    name=names_,
    version=st.from_regex(r"(0|[1-9][0-9]?)\.(0|[1-9][0-9]?)\.(0|[1-9][0-9]?)(-rc\.1)?", fullmatch=True),
    kind=st.sampled_from(["source", "destination", "processor", "transformer", "validator"]),
    publisher=st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
    asks=st.builds(
        AsksModel,
        **{name: st.booleans() for name in SWITCHES},
        files=st.just("any") | st.dictionaries(names_, st.fixed_dictionaries({"access": access}), max_size=3),
        http=st.just("any")
        | st.dictionaries(
            st.sampled_from(["https://a.example", "http://10.0.0.7:8080"]),
            st.fixed_dictionaries(
                {"methods": st.just("any") | st.frozensets(st.sampled_from(["GET", "POST"]), min_size=1)}
            ),
        ),
        secrets=st.just("any") | st.frozensets(names_, max_size=2),
        plugins=st.just("any") | st.frozensets(names_, max_size=2),
        shared=st.just("any") | st.dictionaries(names_, access, max_size=2),
    ),
    limits=st.builds(
        LimitsModel,
        memory=st.none() | st.integers(1, 10**15 - 1).map("{}B".format),
        call_timeout=st.none() | st.just("none") | st.integers(1, 3_600_000).map("{}ms".format),
    ),
)


def test_component_without_a_manifest_has_none(component):
    assert read(component) is None
    assert manifest_digest(component) is None


def test_embedded_manifest_is_read_back(component):
    assert read(embed(component, MANIFEST)) == MANIFEST


def test_embedding_replaces_the_manifest_that_was_there(component):
    once = embed(component, MANIFEST)
    other = MANIFEST.model_copy(update={"version": "2.0.0"})
    assert embed(embed(component, other), MANIFEST) == once
    assert [each.name for each in custom_sections(once)] == ["producers", MANIFEST_SECTION]


def test_digest_does_not_depend_on_the_manifest_but_on_every_other_byte(component):
    digest = component_digest(component)
    assert component_digest(embed(component, MANIFEST)) == digest
    assert component_digest(append_section(component, "producers", b"")) != digest
    assert without_sections(embed(component, MANIFEST), {MANIFEST_SECTION}) == component


def test_sections_of_nested_components_are_not_looked_at(component):
    inner = append_section(HEADER, MANIFEST_SECTION, b"{}")
    assert read(component + b"\x04" + bytes([len(inner)]) + inner) is None


def test_canonical_form_sorts_keys_and_leaves_out_what_holds_anyway():
    small = Manifest(name="p", version="1.0.0", kind="source", asks=AsksModel(secrets=frozenset({"b", "a"})))
    assert small.canonical() == (
        b'{"asks":{"secrets":["a","b"]},"format":1,"kind":"source","name":"p","version":"1.0.0"}'
    )


def test_a_source_says_which_datasets_it_needs(component):
    asks = {"datasets": {"orders": ["id", "amount"], "shop.people": "any"}}
    manifest = Manifest.model_validate({"name": "p", "version": "1.0.0", "kind": "source", "asks": asks})
    assert read(embed(component, manifest)) == manifest
    assert b'"datasets":{"orders":["amount","id"],"shop.people":"any"}' in manifest.canonical()
    assert manifest.needs().datasets == {"orders": {"id", "amount"}, "shop.people": "any"}


@pytest.mark.parametrize("kind", ["processor", "transformer", "validator"])
def test_only_sources_and_destinations_need_datasets(kind):
    text = f'{{"asks":{{"datasets":{{"a":"any"}}}},"kind":"{kind}","name":"p","version":"1.0.0"}}'
    with pytest.raises(MalformedManifest, match="only a source or a destination has datasets"):
        parse_manifest(text.encode())


@given(manifests)
def test_every_manifest_survives_its_json(manifest):
    assert parse_manifest(manifest.canonical()) == manifest
    assert read(embed(HEADER, manifest)) == manifest


def test_two_manifests_are_refused(component):
    with pytest.raises(DuplicateManifest, match="2 manifests"):
        read(append_section(embed(component, MANIFEST), MANIFEST_SECTION, MANIFEST.canonical()), name="p.wasm")


def test_large_manifest_is_refused(component):
    with pytest.raises(ManifestTooLarge, match=str(MAX_MANIFEST_BYTES)):
        read(append_section(component, MANIFEST_SECTION, b" " * (MAX_MANIFEST_BYTES + 1)))
    wide = MANIFEST.model_copy(update={"asks": AsksModel(secrets=frozenset(f"s{i:063}" for i in range(2000)))})
    with pytest.raises(ManifestTooLarge):
        embed(component, wide)


GET = {"methods": ["GET"]}
GOOD = json.loads(MANIFEST.canonical())


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b"[]", "the manifest"),
        (b"{}", "name is missing"),
        (b'{"name":"a","name":"b","version":"1.0.0","kind":"source"}', "repeated"),
        (json.dumps({**GOOD, "grant": 1}).encode(), "grant: unknown key"),
        (json.dumps({**GOOD, "version": 1}).encode(), "version: give a text, not 1"),
        (json.dumps({**GOOD, "version": "1.2"}).encode(), "major.minor.patch"),
        (json.dumps({**GOOD, "name": "Rates!"}).encode(), "is not of the form"),
        (json.dumps({**GOOD, "name": "rates\n"}).encode(), "is not of the form"),
        (json.dumps({**GOOD, "kind": "sink"}).encode(), "kind: 'sink' is not one of"),
        (json.dumps({**GOOD, "format": 2}).encode(), "format: 2 is not one of 1"),
        (
            json.dumps({**GOOD, "asks": {"http": {"https://*.example.com": {"methods": ["GET"]}}}}).encode(),
            "not a host name",
        ),
        (
            json.dumps({**GOOD, "asks": {"http": {"https://EXAMPLE.com": {"methods": ["GET"]}}}}).encode(),
            "https://example.com",
        ),
        (
            json.dumps({**GOOD, "asks": {"http": {"https://example.com": {"methods": []}}}}).encode(),
            "give at least one",
        ),
        (json.dumps({**GOOD, "asks": {"interfaces": ["clock"]}}).encode(), "interfaces: unknown key (each interface"),
        (
            json.dumps({**GOOD, "asks": {"files": {"d": {"path": "/"}}}}).encode(),
            "the operator decides where a directory is",
        ),
        (json.dumps({**GOOD, "asks": {"files": "all"}}).encode(), "files: give a mapping, not 'all'"),
        (json.dumps({**GOOD, "asks": {"*": True}}).encode(), "*: unknown key"),
        (json.dumps({**GOOD, "limits": {"memory": True}}).encode(), "give a text such as 256MiB"),
        (json.dumps({**GOOD, "limits": {"memory": "0B"}}).encode(), "at least 1"),
        (json.dumps({**GOOD, "limits": {"fuel": True}}).encode(), "give a whole number"),
        (json.dumps({**GOOD, "limits": {"fuel": 0}}).encode(), "greater than or equal to 1"),
    ],
)
def test_malformed_manifest_is_refused_with_what_is_wrong(component, payload, message):
    with pytest.raises(MalformedManifest) as caught:
        read(append_section(component, MANIFEST_SECTION, payload), name="p.wasm")
    assert message in str(caught.value)
    assert caught.value.component == "p.wasm"


def test_manifest_cannot_be_changed():
    with pytest.raises(TypeError):
        MANIFEST.asks.files["root"] = "write"
    with pytest.raises(ValueError, match="frozen"):
        MANIFEST.name = "other"


def test_needs_hold_the_interface_of_everything_asked_for():
    needs = MANIFEST.needs(digest="sha256:" + "0" * 64)
    assert {str(each) for each in needs.capabilities} == {
        *("clock", "files", "http", "state", "secrets"),
        *("plugins", "shared", "files:read:cache", "files:write:cache"),
        *("files:read:input", "http:GET:https://api.example.com", "state", "secrets:api-token"),
        *("plugins:clean", "shared:read:lookup"),
    }
    assert needs.limits == {"memory_bytes": 2**26}


def test_capabilities_are_read_back_from_their_text():
    for each in MANIFEST.needs().capabilities:
        assert Capability.parse(str(each)) == each


@given(st.text(max_size=60) | st.from_regex(r"(http|files|secrets|shared|clock):[ -~]{0,20}(:[a-zA-Z]*)?"))
def test_any_text_is_a_capability_that_reads_back_or_an_error(text):
    try:
        parsed = Capability.parse(text)
    except Exception as error:
        assert "is not a capability" in str(error)
    else:
        assert Capability.parse(str(parsed)) == parsed


def test_imports_that_the_manifest_does_not_ask_for_are_found():
    imports = [
        "dataflare:data/batches@1.0.0",
        "dataflare:host/logging@1.0.0",
        "dataflare:host/clock@1.0.0",
        "dataflare:host/random@1.0.0",
        "dataflare:host/files@2.0.0",
        "wasi:cli/environment@0.2.0",
        "acme:own/thing@1.0.0",
    ]
    assert {str(each) for each in undeclared(MANIFEST, imports)} == {
        "random",
        "dataflare:host/files@2.0.0",
        "acme:own/thing@1.0.0",
    }


def test_real_component_with_a_manifest_is_the_same_component():
    wasmtime = pytest.importorskip("wasmtime")
    from wasmtime.component import Component

    root = Path(__file__).resolve().parents[2]
    original = (root / "guest-sdks/rust/components/csv-source.wasm").read_bytes()
    changed = embed(original, MANIFEST)
    assert len(changed) > len(original)
    assert component_digest(changed) == component_digest(original)
    with wasmtime.Engine() as engine:
        types = [Component(engine, data).type.imports(engine) for data in (original, changed)]
    assert types[0].keys() == types[1].keys() != set()


@pytest.mark.parametrize("data", [b"", b"\0asm", b"\0asm\x01\0\0\0", b"garbage!" * 4])
def test_what_is_no_component_is_refused(data):
    for action in (read, component_digest, lambda each: embed(each, MANIFEST)):
        with pytest.raises(NotAComponent):
            action(data)


def test_every_truncation_is_refused_or_ends_between_sections(component):
    whole = embed(component, MANIFEST)
    boundaries = set()
    for length in range(len(whole)):
        try:
            assert read(whole[:length]) is None
            boundaries.add(length)
        except NotAComponent:
            pass
    assert boundaries == {8, 8 + 2 + 8 + 10, 8 + 2 + 8 + 10 + 18, len(component)}


@given(st.data())
def test_flipped_bits_are_refused_or_read_as_something(data):
    whole = bytearray(embed(HEADER + b"\x07\x01\0", MANIFEST))
    for position in data.draw(st.lists(st.integers(0, len(whole) * 8 - 1), min_size=1, max_size=8)):
        whole[position // 8] ^= 1 << position % 8
    try:
        found = read(bytes(whole))
        digest = component_digest(bytes(whole))
    except ComponentError as error:
        assert error.message
    else:
        assert found is None or isinstance(found, Manifest)
        assert digest.startswith("sha256:")


@given(st.binary(max_size=300), st.booleans())
def test_random_bytes_are_a_component_or_a_component_error(data, with_header):
    try:
        found = read(HEADER + data if with_header else data)
    except ComponentError as error:
        assert error.message
    else:
        assert found is None or isinstance(found, Manifest)


@given(st.binary(max_size=300))
def test_random_bytes_are_no_manifest(payload):
    with pytest.raises(MalformedManifest):
        parse_manifest(payload)
