"""Recorded calls of the host: the same answers without the network, and the first difference by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.http_transport import Canned, MemoryTransport, Outgoing
from dataflare.capabilities.secrets import MemorySecrets
from dataflare.errors import ConfigError, PluginError
from dataflare.grants import DirectoryGrant, Grants, HttpGrant
from dataflare.runtime.options import Services
from dataflare.testing import UnexpectedCall, native, recorded_calls
from dataflare_plugin import Processor

URL = "https://api.example.org"
GRANTS = Grants(http={URL: HttpGrant(secrets={"authorization": "Bearer {token}"})}, clock=True, random=True)


class Fetches(Processor):
    """Asks for what its record says."""

    def process(self, record: dict[str, Any]) -> dict[str, Any]:
        from dataflare_plugin import http

        body = record["body"].encode() if "body" in record else None
        found = http.request(record["method"], record["url"], headers=record.get("headers", {}), body=body)
        return {"status": found.status, "body": found.body.hex(), "headers": list(found.headers)}


def answer(outgoing: Outgoing) -> Canned:
    if outgoing.url.target == "/down":
        raise CapabilityFailure("connection-failed", "nobody is there")
    return Canned(status=201, headers=[("X-A", "1")], body=b"\xff" if outgoing.url.target == "/raw" else "é".encode())


SERVICES = Services(transport=lambda: MemoryTransport(answer), secrets=MemorySecrets({"token": "s3cret-token"}))


@contextmanager
def fetching(file: Path, *, record: bool = False, **options: Any) -> Iterator[Any]:
    with (
        recorded_calls(file, record=record, services=SERVICES if record else None, **options) as services,
        native(Fetches, needs=("http",), grants=GRANTS, services=services) as plugin,
    ):
        yield lambda **asked: plugin.process(json.dumps({"method": "GET", "url": f"{URL}/a", **asked}))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A recording of two requests."""
    with fetching(tmp_path / "calls.json", record=True) as fetch:
        fetch(headers={"accept": "text/plain"}, body="x")
        fetch(url=f"{URL}/raw")
    return tmp_path / "calls.json"


def test_answers_come_again_without_the_network_and_hold_no_secret(file: Path) -> None:
    text = file.read_text()
    assert "s3cret" not in text and '"text": "é"' in text
    with fetching(file) as fetch:
        assert json.loads(fetch(headers={"accept": "text/plain"}, body="x"))["body"] == "é".encode().hex()
        assert json.loads(fetch(url=f"{URL}/raw"))["body"] == "ff"


def test_failures_are_recorded_too(tmp_path: Path) -> None:
    said = []
    for record in (True, False):
        with fetching(tmp_path / "calls.json", record=record) as fetch, pytest.raises(PluginError) as caught:
            fetch(url=f"{URL}/down")
        said.append(caught.value.message)
    assert said[0] == said[1] and "nobody is there" in said[0]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"url": f"{URL}/b"}, f'request.url is "{URL}/b", and "{URL}/a" was recorded'),
        ({"method": "POST"}, 'request.method is "POST", and "GET" was recorded'),
        ({"headers": {"accept": "x"}}, 'request.headers.accept is ["x"], and ["text/plain"] was recorded'),
        ({"headers": {}}, 'request.headers.accept is "absent", and ["text/plain"] was recorded'),
        ({"body": "y"}, 'request.body.some.text is "y", and "x" was recorded'),
    ],
)
def test_other_request_names_the_difference_even_if_the_plugin_catches_it(
    file: Path, asked: dict[str, Any], says: str
) -> None:
    with (
        pytest.raises(UnexpectedCall) as caught,
        fetching(file) as fetch,
        pytest.raises(PluginError, match="UnexpectedCall"),
    ):
        fetch(**{"headers": {"accept": "text/plain"}, "body": "x", **asked})
    assert caught.value.message == f"call 1 of the host is not the recorded one: {says}"


def test_what_is_ignored_may_differ(file: Path) -> None:
    with fetching(file, ignore=("request.headers.accept", "request.body")) as fetch:
        fetch(headers={"accept": "other"})
        fetch(url=f"{URL}/raw")


def test_calls_too_few_and_too_many_are_told(file: Path) -> None:
    with pytest.raises(UnexpectedCall, match=r"1 recorded calls .* the first http\.send"), fetching(file) as fetch:
        fetch(headers={"accept": "text/plain"}, body="x")
    with pytest.raises(UnexpectedCall, match=r"call 3 .* comes after the last recorded"), fetching(file) as fetch:
        fetch(headers={"accept": "text/plain"}, body="x")
        fetch(url=f"{URL}/raw")
        with pytest.raises(PluginError):
            fetch()


def test_failed_test_leaves_the_recording_as_it_was(file: Path) -> None:
    before = file.read_text()
    with pytest.raises(RuntimeError), fetching(file, record=True) as fetch:
        fetch()
        raise RuntimeError
    assert file.read_text() == before


def test_variable_says_that_it_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLARE_RECORD", "1")
    with recorded_calls(tmp_path / "calls.json"):
        pass
    assert json.loads((tmp_path / "calls.json").read_text()) == {"version": 1, "calls": []}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version": 2, "calls": []}', '{"version": 1, "calls": [1]}', "\xff"])
def test_file_that_is_no_recording_says_how_to_make_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "calls.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="is not a recording") as caught, recorded_calls(tmp_path / "calls.json"):
        pass
    assert "DATAFLARE_RECORD=1" in caught.value.hint
    with pytest.raises(ConfigError, match="there is no recording"), recorded_calls(tmp_path / "none.json"):
        pass


class Reads(Processor):
    """Asks the clock, and for random bytes."""

    def process(self, record: dict[str, Any]) -> dict[str, Any]:
        from dataflare_plugin import clock, random

        return {"now": clock.now().isoformat(), "random": bytes(random.get_random_bytes(4)).hex()}


def test_other_interfaces_are_recorded_where_that_is_asked_for(tmp_path: Path) -> None:
    found = []
    for record in (True, False):
        with (
            recorded_calls(tmp_path / "calls.json", interfaces=("clock", "random"), record=record) as services,
            native(Reads, needs=("clock", "random"), services=services) as plugin,
        ):
            found.append(plugin.process("{}"))
    assert found[0] == found[1]
    files = Grants(files={"d": DirectoryGrant(path=tmp_path)})
    with (
        pytest.raises(ConfigError, match="files: its values are handles"),
        recorded_calls(tmp_path / "calls.json", interfaces=("files",)) as services,
        native(Reads, needs=("files",), grants=files, services=services),
    ):
        pass
