from __future__ import annotations

from pathlib import Path

import pytest

from dataflare.capabilities.names import FREE, NEEDS_GRANT, OFFERED, interface_name, short_name
from dataflare.errors import ConfigError
from dataflare.grants import DirectoryGrant, Grants

WIT = Path(__file__).parents[2] / "wit"


def test_nothing_is_granted_unless_it_is_said():
    assert Grants().capabilities == frozenset()


def test_capabilities_are_what_is_granted(tmp_path):
    grants = Grants(files={"in": DirectoryGrant(path=tmp_path)}, state=True, random=True)
    assert grants.capabilities == {"files", "state", "random"}


def test_no_directories_are_no_grant_of_files():
    assert "files" not in Grants(files={}).capabilities


def test_path_is_kept_absolute_and_without_links(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert DirectoryGrant(path=Path("link")).path == (tmp_path / "real").resolve()


@pytest.mark.parametrize("name", ["", "A", "1a", "a/b", "..", "a b", "a" * 65, "é", "a\n"])
def test_name_out_of_form_is_refused(name, tmp_path):
    with pytest.raises(ConfigError, match=r"grants\.files"):
        Grants(files={name: DirectoryGrant(path=tmp_path)})


@pytest.mark.parametrize(
    "options",
    [
        {"state": 1},
        {"clock": "yes"},
        {"random": True, "random_seed": -1},
        {"random": True, "random_seed": 2**64},
        {"random": True, "random_seed": True},
        {"random_seed": 1},
        {"files": {"a": "/tmp"}},
        {"files": ["a"]},
    ],
    ids=str,
)
def test_value_out_of_range_is_refused(options):
    with pytest.raises(ConfigError, match="grants"):
        Grants(**options)


@pytest.mark.parametrize("path", ["", "a\0b", None])
def test_path_that_is_none_is_refused(path):
    with pytest.raises(ConfigError, match="no usable path"):
        DirectoryGrant(path=path)


def test_directories_cannot_be_added_later(tmp_path):
    files = {"a": DirectoryGrant(path=tmp_path)}
    grants = Grants(files=files)
    files["b"] = files["a"]
    assert list(grants.files) == ["a"]
    with pytest.raises(TypeError):
        grants.files["b"] = files["a"]


def test_every_interface_of_the_wit_is_free_or_needs_a_grant():
    host = {path.stem for path in (WIT / "host").glob("*.wit")} - {"worlds"}
    data = {path.stem for path in (WIT / "data").glob("*.wit")}
    assert host | data == NEEDS_GRANT | FREE
    assert not NEEDS_GRANT & FREE
    assert FREE <= OFFERED


@pytest.mark.parametrize("short", sorted(NEEDS_GRANT | FREE))
def test_full_name_gives_the_short_name_back(short):
    assert short_name(interface_name(short)) == short


@pytest.mark.parametrize(
    "name", ["wasi:cli/environment@0.2.0", "dataflare:host/files@2.0.0", "dataflare:data/files@1.0.0"]
)
def test_name_of_another_interface_has_no_short_name(name):
    assert short_name(name) is None
