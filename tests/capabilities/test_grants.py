from __future__ import annotations

from pathlib import Path

import pytest

from dataflare.errors import ConfigError
from dataflare.grants import DirectoryGrant, Grants, HttpGrant, Origin
from dataflare.interfaces import FREE, NEEDS_GRANT, OFFERED, interface_name, short_name
from dataflare.request_headers import SAFE_HEADERS

WIT = Path(__file__).parents[2] / "wit"


def test_nothing_is_granted_unless_it_is_said():
    assert Grants().capabilities == frozenset()


def test_capabilities_are_what_is_granted(tmp_path):
    grants = Grants(files={"in": DirectoryGrant(path=tmp_path)}, state=True, random=True)
    assert grants.capabilities == {"files", "state", "random"}


def test_every_kind_of_grant_has_its_capability():
    grants = Grants(
        http={"https://a.test": HttpGrant()}, secrets=["s"], plugins=["p"], shared={"t": "read"}, tasks=True, clock=True
    )
    assert grants.capabilities == {"http", "secrets", "plugins", "shared", "tasks", "clock"}
    assert grants.capabilities <= NEEDS_GRANT


def test_lists_of_names_become_sets_that_do_not_change():
    names = ["a", "b"]
    grants = Grants(secrets=names, plugins=names)
    names.append("c")
    assert grants.secrets == grants.plugins == frozenset({"a", "b"})


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
        {"tasks": 1},
        {"secrets": "token"},
        {"secrets": ["Token"]},
        {"secrets": [""]},
        {"plugins": ["a/b"]},
        {"plugins": 3},
        {"plugins": ["*"]},
        {"shared": {"a": "rw"}},
        {"shared": {"A": "read"}},
        {"shared": ["a"]},
        {"http": ["https://a.test"]},
        {"http": {"https://a.test": True}},
    ],
    ids=str,
)
def test_value_out_of_range_is_refused(options):
    with pytest.raises(ConfigError, match="grants"):
        Grants(**options)


@pytest.mark.parametrize("path", ["", "a\0b", None])
def test_path_that_is_none_is_refused(path):
    with pytest.raises(ConfigError, match="not a usable path"):
        DirectoryGrant(path=path)


def test_directories_cannot_be_added_later(tmp_path):
    files = {"a": DirectoryGrant(path=tmp_path)}
    grants = Grants(files=files)
    files["b"] = files["a"]
    assert list(grants.files) == ["a"]
    with pytest.raises(TypeError):
        grants.files["b"] = files["a"]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://a.test", "https://a.test"),
        ("HTTPS://A.Test:443", "https://a.test"),
        ("http://a.test:080", "http://a.test"),
        ("http://a.test:443", "http://a.test:443"),
        ("http://10.0.0.7:8080", "http://10.0.0.7:8080"),
        ("https://[2001:DB8:0::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://my_service", "http://my_service"),
        ("https://xn--bcher-kva.test", "https://xn--bcher-kva.test"),
    ],
)
def test_origin_has_one_normal_form(text, normal):
    assert str(Origin.parse(text)) == normal
    assert Origin.parse(normal) == Origin.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "a.test",
            "ftp://a.test",
            "https://",
            "https://a.test/",
            "https://a.test?",
            "https://a.test#",
            "//a.test",
        ),
        *("https://u@a.test", "https://u:p@a.test", "https://a.test:", "https://a.test:0", "https://a.test:65536"),
        *("https://*", "https://*.a.test", "https://a..test", "https://a.test.", "https://-a.test"),
        *(
            "https://127.1",
            "https://0x7f.1",
            "https://2130706433",
            "https://127.0.0.01",
            "https://a.0x7f",
            "https://1.2.3.4.5",
        ),
        *("https://[::1", "https://::1", "https://[127.0.0.1]", "https://[fe80::1%eth0]", "https://[::1]a"),
        *("https://bücher.test", "https://a.\u212a", "http\u017f://a.test", "https://a test", "https://a.test\n"),
        "https://" + "a" * 64 + ".test",
        "https://" + ".".join(["a" * 60] * 5),
    ],
)
def test_what_is_no_origin_is_refused(text):
    with pytest.raises(ConfigError, match=r"grants\.http"):
        Grants(http={text: HttpGrant()})


def test_origin_is_granted_in_its_normal_form_only():
    with pytest.raises(ConfigError, match=r"write 'https://a\.test'"):
        Grants(http={"https://a.test:443": HttpGrant()})


def test_http_grant_is_small_unless_it_is_said():
    grant = HttpGrant()
    assert (grant.methods, grant.request_headers, grant.addresses) == ({"GET", "HEAD"}, SAFE_HEADERS, frozenset())
    assert not SAFE_HEADERS & {"authorization", "cookie", "x-api-key"}


@pytest.mark.parametrize(
    "options",
    [
        {"methods": "GET"},
        {"methods": []},
        {"methods": ["get"]},
        {"methods": ["CONNECT"]},
        {"methods": ["TRACE", "GET"]},
        {"methods": ["any"]},
        {"request_headers": "all"},
        {"request_headers": ["Accept"]},
        {"request_headers": ["host"]},
        {"request_headers": ["proxy-authorization"]},
        {"request_headers": ["x-forwarded-for"]},
        {"request_headers": ["a b"]},
        {"secrets": ["authorization"]},
        {"secrets": {"Authorization": "token"}},
        {"secrets": {"host": "token"}},
        {"secrets": {"authorization": "Bearer token"}},
        {"secrets": {"authorization": "{a}{b}"}},
        {"secrets": {"authorization": "Bearer\n{a}"}},
        {"secrets": {"authorization": 1}},
        {"addresses": "10.0.0.1"},
        {"addresses": ["0.0.0.0/0"]},
        {"addresses": ["::/0"]},
        {"addresses": ["10.0.0.1/8"]},
        {"addresses": ["any"]},
        {"max_request_bytes": -1},
        {"max_response_bytes": 2**32},
        {"max_response_bytes": True},
        {"max_redirects": 21},
        {"burst": 0},
        {"timeout_s": 0},
        {"timeout_s": 3601},
        {"timeout_s": float("nan")},
        {"requests_per_s": 0},
        {"requests_per_s": "10"},
    ],
    ids=str,
)
def test_http_grant_out_of_form_is_refused(options):
    with pytest.raises(ConfigError, match=rf"grants\.http\.{next(iter(options))}"):
        HttpGrant(**options)


def test_secret_that_is_written_into_a_grant_is_not_shown():
    with pytest.raises(ConfigError) as caught:
        HttpGrant(secrets={"authorization": "Bearer hunter2"})
    assert "hunter2" not in str(caught.value)


def test_added_header_is_a_secret_with_what_is_around_it():
    grant = HttpGrant(secrets={"x-key": "key", "authorization": "Bearer {api-token}"})
    assert grant.injected == {"x-key": ("", "key", ""), "authorization": ("Bearer ", "api-token", "")}


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
