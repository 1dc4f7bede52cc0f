from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.errors import ConfigError, PermissionDenied
from dataflare.security.access import ACTIONS, DEFAULT_ROLES, Access

MEMBERS = "version: 1\nmembers: {vera: [viewer], ann: [author], otto: [operator], ada: [admin], nina: []}\n"


@pytest.fixture(scope="module")
def access() -> Access:
    return Access.parse(MEMBERS)


MAY = {
    "vera": {("plugins", "read"), ("policies", "read"), ("pipelines", "read")},
    "ann": {
        *(("plugins", "read"), ("policies", "read"), ("pipelines", "read"), ("plugins", "publish")),
        *(("pipelines", "write"), ("pipelines", "run"), ("pipelines", "stop")),
    },
    "otto": {
        *(("plugins", "read"), ("policies", "read"), ("pipelines", "read"), ("plugins", "install")),
        *(("plugins", "remove"), ("plugins", "quarantine"), ("plugins", "revoke"), ("policies", "write")),
        *(("pipelines", "run"), ("pipelines", "stop"), ("pipelines", "delete"), ("audit", "read")),
    },
    "ada": {(kind, action) for kind, actions in ACTIONS.items() for action in actions},
    "nina": set(),
    "stranger": set(),
}


@pytest.mark.parametrize("principal", MAY)
def test_default_roles_allow_exactly_this(access, principal):
    allowed = {
        (kind, action)
        for kind, actions in ACTIONS.items()
        for action in actions
        if access.allows(principal, action, f"{kind}/x") and access.allows(principal, action, kind)
    }
    assert allowed == MAY[principal]


def test_denial_says_who_what_and_which_roles_may(access):
    access.require("otto", "write", "policies")
    with pytest.raises(PermissionDenied) as caught:
        access.require("ann", "write", "policies/production")
    assert "'ann' (with the roles author) may not write policies/production" in caught.value.message
    assert caught.value.hint == "these roles may: admin, operator"
    assert caught.value.capability == "write policies/production"
    with pytest.raises(PermissionDenied, match="without a role"):
        access.require("stranger", "read", "plugins")


def test_slip_of_the_caller_is_no_denial(access):
    for action, resource in (("fly", "plugins"), ("read", "planets"), ("run", "plugins/x")):
        with pytest.raises(ConfigError, match="there is no action"):
            access.require("ada", action, resource)


@pytest.mark.parametrize(
    "principal", ["viewer", "role:admin", "user:ada", "admin", "ad", "ada ", "", "ada\nadmin", "r.sub"]
)
def test_names_of_roles_and_lookalikes_are_nobody(access, principal):
    assert not access.allows(principal, "write", "access")


def test_own_roles_take_the_place_of_the_default_ones():
    access = Access.parse(
        "version: 1\n"
        "roles:\n"
        "  reader: {allows: {pipelines: [read]}}\n"
        "  nightly: {inherits: [reader], allows: {pipelines/nightly: [run]}}\n"
        "members: {nell: [nightly]}\n"
    )
    assert access.allows("nell", "read", "pipelines/other")
    assert access.allows("nell", "run", "pipelines/nightly")
    assert not access.allows("nell", "run", "pipelines/nightly2")
    assert not access.allows("nell", "run", "pipelines")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("version: 1\nmember: {}", 2, "member: unknown key"),
        ("version: 1\nmembers: {ann: [auther]}", 1, "members.ann: there is no role 'auther'"),
        ("version: 1\nroles:\n  a: {inherits: [b]}", 1, "roles.a.inherits: there is no role 'b'"),
        ("version: 1\nroles:\n  a: {inherits: [b]}\n  b: {inherits: [a]}", 1, "in a circle: a -> b -> a"),
        ("version: 1\nroles:\n  a: {allows: {plugins: [fly]}}", 3, "plugins have no action 'fly'"),
        ("version: 1\nroles:\n  a: {allows: {planets: [read]}}", 3, "no kind 'planets'"),
        ("version: 1\nroles:\n  a: {allows: {'*': [read]}}", 3, "is not of the form"),
        ("version: 1\nroles:\n  a: {allows: {plugins: ['*']}}", 3, "no action '*'"),
        ("version: 1\nroles:\n  a: {allow: {}}", 3, "roles.a.allow: unknown key"),
    ],
)
def test_wrong_file_is_refused_with_file_and_line(text, line, message):
    with pytest.raises(ConfigError) as caught:
        Access.parse(text, source="a.yaml")
    assert caught.value.where == f"a.yaml:{line}"
    assert message in caught.value.message


def test_file_is_read(tmp_path):
    (tmp_path / "access.yaml").write_text(MEMBERS)
    assert Access.read(tmp_path / "access.yaml").allows("ada", "write", "access")


def test_threads_may_ask_at_once(access):
    wrong = []

    def ask() -> None:
        for _ in range(50):
            if not access.allows("otto", "write", "policies") or access.allows("ann", "write", "policies"):
                wrong.append(1)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@given(st.text(max_size=120))
def test_any_text_is_a_file_that_allows_a_stranger_nothing_or_a_config_error(text):
    for each in (text, f"version: 1\nmembers: {text}"):
        try:
            access = Access.parse(each)
        except ConfigError as error:
            assert error.where
        else:
            assert not access.allows("a stranger", "read", "plugins")


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_principal_and_object_is_denied_or_allowed_without_an_error(principal, name):
    access = Access.parse("version: 1\nmembers: {ada: [admin]}")
    assert access.allows(principal, "read", f"plugins/{name}") is (principal == "ada")


def test_default_roles_are_read_only():
    with pytest.raises(TypeError):
        DEFAULT_ROLES["root"] = DEFAULT_ROLES["admin"]
