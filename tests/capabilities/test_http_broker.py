"""What holds for a plugin's requests, over the network and in memory alike."""

from __future__ import annotations

import gzip
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.clock import ManualClock
from dataflare.capabilities.http import imports
from dataflare.capabilities.http_broker import HttpBroker
from dataflare.capabilities.http_network import NetworkTransport
from dataflare.capabilities.http_transport import Canned, MemoryTransport
from dataflare.capabilities.secrets import MemorySecrets
from dataflare.errors import ConfigError
from dataflare.grants import HttpGrant
from dataflare.values import Err, Ok, Variant
from dataflare.wit_types.http import Request, Response

SECRET = "s3cr3t-t0ken"


def answer(method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> tuple[int, list, bytes]:
    """Be the server, of both kinds."""
    path, _, query = target.partition("?")
    match path.split("/")[1:]:
        case ["hello"]:
            return 200, [("Content-Type", "text/plain"), ("X-A", "1"), ("x-a", "2")], b"hello"
        case ["echo"]:
            told = {"method": method, "target": target, "headers": headers, "body": body.decode()}
            return 200, [], json.dumps(told).encode()
        case ["status", status]:
            return int(status), [], b"told"
        case ["to", status]:
            return int(status), [("Location", query)], b"elsewhere"
        case ["no-location"]:
            return 302, [], b"nowhere"
        case ["loop"]:
            return 302, [("location", "/loop")], b""
        case ["zeros", size]:
            return 200, [], b"\0" * int(size)
        case ["gzip", size]:
            return 200, [("Content-Encoding", "gzip")], gzip.compress(b"\0" * int(size))
        case ["latin"]:
            return 200, [("X-Text", "caf\xe9"), ("Set-Cookie", "id=1")], b""
        case ["leak-header"]:
            return 200, [("X-Seen", dict(headers).get("authorization", ""))], b""
        case ["leak-location"]:
            return 302, [("Location", "/echo?" + dict(headers).get("authorization", "").replace(" ", "+"))], b""
    return 404, [], b"none"


class World:
    """Two origins, `a` and `b`, what was sent to them, and brokers that may reach them."""

    def __init__(self, a: str, b: str, make_transport) -> None:
        self.a, self.b = a, b
        self.seen: list[tuple[str, str, str, dict[str, str], bytes]] = []
        self._make_transport = make_transport
        self._brokers: list[HttpBroker] = []

    def broker(self, *, b=None, store=None, clock=None, **options) -> HttpBroker:
        options.setdefault("addresses", ["127.0.0.1"])
        options.setdefault("burst", 1000)
        grants = {self.a: HttpGrant(**options)}
        if b is not None:
            grants[self.b] = HttpGrant(**{"addresses": ["127.0.0.1"], "burst": 1000} | b)
        broker = HttpBroker(grants, self._make_transport(self), secrets=store, clock=clock, plugin="p")
        self._brokers.append(broker)
        return broker

    def send(self, path: str, *, method="GET", headers=(), body=None, timeout_ms=None, **options) -> Response:
        request = Request(method, self.a + path, headers, body, timeout_ms)
        return self.broker(**options).send(request)

    def case(self, path: str, **options) -> str:
        return self.failure(path, **options).case

    def failure(self, path: str, **options) -> CapabilityFailure:
        with pytest.raises(CapabilityFailure) as caught:
            self.send(path, **options)
        return caught.value

    def close(self) -> None:
        for broker in self._brokers:
            broker.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = [(name.lower(), value) for name, value in self.headers.items()]
        self.server.world.seen.append((self.server.origin, self.command, self.path, dict(headers), body))  # type: ignore[attr-defined]
        status, told, content = answer(self.command, self.path, headers, body)
        self.send_response(status)
        for name, value in told:
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and status != 304:
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_PATCH = handle_one

    def log_message(self, *_: object) -> None:
        pass


def serve() -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.origin = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture
def real():
    servers = [serve(), serve()]
    world = World(servers[0].origin, servers[1].origin, lambda _: NetworkTransport())  # type: ignore[attr-defined]
    for server in servers:
        server.world = world  # type: ignore[attr-defined]
    yield world
    world.close()
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def memory():
    def make(world):
        def respond(outgoing):
            headers = list(outgoing.headers)
            seen = (str(outgoing.url.origin), outgoing.method, outgoing.url.target, dict(headers), outgoing.body)
            world.seen.append(seen)
            status, told, content = answer(outgoing.method, outgoing.url.target, headers, outgoing.body)
            told = [*told, ("Content-Length", str(len(content)))]
            return Canned(status=status, headers=told, body=content)

        return MemoryTransport(respond)

    return World("http://127.0.0.1:8001", "http://127.0.0.1:8002", make)


@pytest.fixture(params=["memory", "real"])
def world(request):
    return request.getfixturevalue(request.param)


class TestResponses:
    def test_response_comes_whole(self, world):
        response = world.send("/hello")
        assert (response.status, response.body) == (200, b"hello")
        assert [pair for pair in response.headers if pair[0] == "x-a"] == [("x-a", "1"), ("x-a", "2")]
        assert ("content-type", "text/plain") in response.headers

    def test_plugin_gets_a_result(self, world):
        functions = imports(world.broker())
        sent = functions["send"](Request("GET", f"{world.a}/hello", ()))
        assert isinstance(sent, Ok) and sent.value.body == b"hello"
        assert functions["send"](Request("get", f"{world.a}/hello", ())) == Err(
            Variant("invalid-request", "'get' is not a method in capitals")
        )

    @pytest.mark.parametrize("status", [204, 304, 404, 418, 500, 503])
    def test_response_with_an_error_status_is_a_response(self, world, status):
        assert world.send(f"/status/{status}").status == status

    def test_head_has_headers_and_no_body(self, world):
        response = world.send("/gzip/5000", method="HEAD", max_response_bytes=1)
        assert (response.status, response.body) == (200, b"")
        assert ("content-encoding", "gzip") in response.headers

    def test_header_that_is_no_ascii_is_text_all_the_same(self, world):
        assert ("x-text", "caf\xe9") in world.send("/latin").headers

    def test_body_may_be_as_large_as_the_limit_and_no_larger(self, world):
        assert world.send("/zeros/1000", max_response_bytes=1000).body == b"\0" * 1000
        failure = world.failure("/zeros/1001", max_response_bytes=1000)
        assert failure.error == Variant("too-large", 1000)

    def test_compressed_body_comes_out_and_counts_as_such(self, world):
        response = world.send("/gzip/5000", max_response_bytes=5000)
        assert response.body == b"\0" * 5000
        assert not {"content-encoding", "content-length"} & {name for name, _ in response.headers}
        assert world.failure("/gzip/5001", max_response_bytes=5000).error == Variant("too-large", 5000)


class TestRequests:
    def test_request_arrives_as_it_was_made(self, world):
        headers = [("Content-Type", "text/x"), ("X-Own", "a b")]
        options = {"methods": ["PUT"], "request_headers": ["content-type", "x-own"]}
        world.send("/echo?a=%20b&c", method="PUT", headers=headers, body=b"data", **options)
        ((origin, method, target, seen, body),) = world.seen
        assert (origin, method, target, body) == (world.a, "PUT", "/echo?a=%20b&c", b"data")
        assert seen["content-type"] == "text/x" and seen["x-own"] == "a b"
        assert seen["host"] == world.a.removeprefix("http://")
        assert (seen["content-length"], seen["accept-encoding"], seen["user-agent"]) == ("4", "gzip", "dataflare")

    def test_user_agent_may_be_the_plugins(self, world):
        world.send("/echo", headers=[("user-agent", "mine/1")])
        assert world.seen[0][3]["user-agent"] == "mine/1"

    def test_body_may_be_as_large_as_the_limit_and_no_larger(self, world):
        options = {"methods": ["POST"], "max_request_bytes": 10}
        assert world.send("/hello", method="POST", body=b"x" * 10, **options).status == 200
        failure = world.failure("/hello", method="POST", body=b"x" * 11, **options)
        assert failure.error == Variant("too-large", 10)
        assert len(world.seen) == 1

    def test_cookies_are_not_kept(self, world):
        broker = world.broker()
        for _ in range(2):
            broker.send(Request("GET", f"{world.a}/latin", ()))
        assert all("cookie" not in headers for _, _, _, headers, _ in world.seen)

    @pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS", "CONNECT", "TRACE"])
    def test_method_that_is_not_granted_is_denied(self, world, method):
        assert world.case("/hello", method=method) == "denied"
        assert world.seen == []

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:1/", "http://localhost/", "https://127.0.0.1/", "http://a.test/"]
    )
    def test_origin_that_is_not_granted_is_denied(self, world, url):
        with pytest.raises(CapabilityFailure) as caught:
            world.broker().send(Request("GET", url, ()))
        assert caught.value.case == "denied"

    def test_same_host_and_port_with_another_scheme_is_another_origin(self, world):
        with pytest.raises(CapabilityFailure) as caught:
            world.broker().send(Request("GET", world.a.replace("http:", "https:"), ()))
        assert caught.value.case == "denied"

    def test_address_that_is_not_granted_is_denied(self, world):
        assert world.case("/hello", addresses=[]) == "denied"
        assert world.case("/hello", addresses=["127.0.0.2", "::1"]) == "denied"
        assert world.seen == []

    def test_header_that_would_end_early_is_refused(self, world):
        assert world.case("/hello", headers=[("accept", "a\r\nx-evil: 1")]) == "invalid-request"
        assert world.case("/hello", headers=[("accept\r\nx-evil", "1")]) == "invalid-request"
        assert world.case("/hello\r\nx-evil: 1") == "invalid-request"
        assert world.seen == []

    def test_time_of_zero_is_over_at_once(self, world):
        assert world.failure("/hello", timeout_ms=0).error == Variant("timed-out", 0)
        assert world.seen == []


class TestRedirects:
    @pytest.mark.parametrize(
        ("status", "method", "after", "body"),
        [
            (301, "GET", "GET", b""),
            (302, "POST", "GET", b""),
            (301, "PUT", "PUT", b"data"),
            (303, "PUT", "GET", b""),
            (303, "HEAD", "HEAD", b""),
            (307, "POST", "POST", b"data"),
            (308, "PUT", "PUT", b"data"),
        ],
    )
    def test_redirect_is_followed_as_its_status_says(self, world, status, method, after, body):
        data = None if method in ("GET", "HEAD") else b"data"
        options = {"methods": ["GET", "HEAD", "POST", "PUT"], "headers": [("content-type", "text/x")]}
        assert world.send(f"/to/{status}?/hello", method=method, body=data, **options).status == 200
        _, got, target, headers, sent = world.seen[1]
        assert (got, target, sent) == (after, "/hello", body)
        assert ("content-type" in headers) == (status not in (302, 303))

    def test_redirect_off_the_list_is_denied(self, world):
        assert world.case(f"/to/302?{world.b}/hello") == "denied"
        assert [seen[0] for seen in world.seen] == [world.a]

    @pytest.mark.parametrize(
        "location", ["http://169.254.169.254/latest", "http://localhost/", "https://127.0.0.1/", "//metadata.test/"]
    )
    def test_redirect_to_another_host_is_denied(self, world, location):
        assert world.case(f"/to/302?{location}") == "denied"

    @pytest.mark.parametrize("location", ["file:///etc/passwd", "javascript:1", "http://u:p@127.0.0.1/"])
    def test_redirect_to_what_is_no_url_fails(self, world, location):
        assert world.case(f"/to/302?{location}") == "other"

    def test_redirect_to_a_granted_origin_is_followed(self, world):
        assert world.send(f"/to/302?{world.b}/hello", b={}).body == b"hello"
        assert [seen[0] for seen in world.seen] == [world.a, world.b]

    def test_address_is_checked_at_the_redirect_too(self, world):
        assert world.case(f"/to/302?{world.b}/hello", b={"addresses": []}) == "denied"

    def test_method_is_checked_at_the_redirect_too(self, world):
        location = f"/to/307?{world.b}/hello"
        options = {"method": "POST", "methods": ["POST"], "body": b"x"}
        assert world.case(location, b={}, **options) == "denied"
        assert world.send(location, b={"methods": ["POST"]}, **options).status == 200

    def test_method_that_a_redirect_changes_has_to_be_granted(self, world):
        options = {"method": "POST", "methods": ["POST"], "body": b"x"}
        assert world.case("/to/303?/hello", **options) == "denied"
        assert world.send("/to/307?/hello", **options).status == 200

    def test_size_is_checked_at_the_redirect_too(self, world):
        options = {"method": "POST", "methods": ["POST"], "body": b"xx"}
        failure = world.failure(f"/to/307?{world.b}/hello", b={"methods": ["POST"], "max_request_bytes": 1}, **options)
        assert failure.error == Variant("too-large", 1)
        assert world.failure(f"/to/302?{world.b}/zeros/9", b={"max_response_bytes": 8}).case == "too-large"

    def test_only_harmless_headers_go_to_another_origin(self, world):
        headers = [("authorization", "Basic x"), ("cookie", "a=b"), ("x-api-key", "k"), ("accept", "text/x")]
        world.send(f"/to/302?{world.b}/hello", headers=headers, request_headers="any", b={"request_headers": "any"})
        first, second = (set(seen[3]) for seen in world.seen)
        assert {"authorization", "cookie", "x-api-key", "accept"} <= first
        assert not {"authorization", "cookie", "x-api-key"} & second
        assert "accept" in second

    def test_headers_stay_within_an_origin(self, world):
        world.send("/to/302?/hello", headers=[("authorization", "Basic x")], request_headers="any")
        assert world.seen[1][3]["authorization"] == "Basic x"

    def test_redirects_without_end_end_at_the_limit(self, world):
        assert world.case("/loop", max_redirects=3) == "other"
        assert len(world.seen) == 4

    def test_redirect_is_a_response_where_none_is_followed(self, world):
        response = world.send("/to/302?/hello", max_redirects=0)
        assert (response.status, response.body) == (302, b"elsewhere")
        assert ("location", "/hello") in response.headers

    def test_redirect_without_a_place_is_a_response(self, world):
        assert world.send("/no-location").body == b"nowhere"

    def test_redirects_count_for_the_rate(self, world):
        clock = ManualClock()
        assert world.failure("/to/302?/hello", burst=1, requests_per_s=1, clock=clock).error == Variant(
            "rate-limited", 1001
        )


class TestSecrets:
    GRANT = {"secrets": {"authorization": "Bearer {api-token}"}}  # noqa: RUF012  # never changed

    def test_secret_is_added_for_its_origin(self, world):
        world.send("/hello", store=MemorySecrets({"api-token": SECRET}), **self.GRANT)
        assert world.seen[0][3]["authorization"] == f"Bearer {SECRET}"

    def test_secret_is_not_carried_to_another_origin(self, world):
        store = MemorySecrets({"api-token": SECRET, "other": "0ther-one"})
        world.send(f"/to/302?{world.b}/hello", store=store, b={"secrets": {"x-key": "other"}}, **self.GRANT)
        assert "x-key" not in world.seen[0][3]
        assert "authorization" not in world.seen[1][3]
        assert world.seen[1][3]["x-key"] == "0ther-one"

    def test_rotated_secret_is_used_at_once(self, world):
        store = MemorySecrets({"api-token": "first-one"})
        broker = world.broker(store=store, **self.GRANT)
        broker.send(Request("GET", f"{world.a}/hello", ()))
        store.put("api-token", "second-one")
        broker.send(Request("GET", f"{world.a}/hello", ()))
        assert [seen[3]["authorization"] for seen in world.seen] == ["Bearer first-one", "Bearer second-one"]

    def test_plugin_cannot_set_the_header_itself(self, world):
        store = MemorySecrets({"api-token": SECRET})
        case = world.case("/hello", headers=[("Authorization", "x")], store=store, request_headers="any", **self.GRANT)
        assert case == "denied"

    @pytest.mark.parametrize("path", ["/echo", "/leak-header", "/leak-location"])
    def test_response_that_repeats_a_secret_is_withheld(self, world, path):
        failure = world.failure(path, store=MemorySecrets({"api-token": SECRET}), **self.GRANT)
        assert failure.case == "denied"
        assert SECRET not in str(failure)
        assert len(world.seen) == 1

    @pytest.mark.parametrize("secret", ["", "with\nbreak", "bad\r\nx-evil: 1", "caf\xe9-secret", " padded"])
    def test_secret_that_cannot_be_in_a_header_is_not_sent_and_not_shown(self, world, secret):
        failure = world.failure("/hello", store=MemorySecrets({"api-token": secret}), **self.GRANT)
        assert failure.case == "other"
        assert not secret or secret not in str(failure)
        assert world.seen == []

    def test_absent_secret_fails_the_request(self, world):
        assert world.case("/hello", store=MemorySecrets(), **self.GRANT) == "other"
        assert world.seen == []

    def test_store_that_cannot_be_reached_is_worth_a_retry(self, world):
        class Down:
            def get(self, name):
                raise CapabilityFailure("unavailable", f"vault.internal has no answer for {name}")

        failure = world.failure("/hello", store=Down(), **self.GRANT)
        assert failure.case == "connection-failed"
        assert "vault.internal" not in str(failure)

    def test_log_shows_neither_secret_nor_query(self, world, caplog):
        caplog.set_level(logging.DEBUG)
        store = MemorySecrets({"api-token": SECRET})
        world.send("/hello?key=hunter2", store=store, **self.GRANT)
        world.failure("/echo", store=store, **self.GRANT)
        assert "/hello" in caplog.text
        ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("dataflare"))
        assert "hunter2" not in ours
        assert SECRET not in caplog.text

    def test_grant_with_a_secret_needs_a_store(self, world):
        with pytest.raises(ConfigError, match=r"grants\.http\..*secrets"):
            world.broker(b={"secrets": {"x-key": "other"}})


def test_secret_in_the_text_of_a_failure_is_hidden():
    def fail(outgoing):
        raise CapabilityFailure("connection-failed", f"reset after {outgoing.headers}")

    broker = HttpBroker(
        {"https://a.test": HttpGrant(secrets={"x-key": "key"})},
        MemoryTransport(fail),
        secrets=MemorySecrets({"key": SECRET}),
    )
    with pytest.raises(CapabilityFailure, match=r"reset after .*\[secret\]") as caught:
        broker.send(Request("GET", "https://a.test/", ()))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_request_that_is_shown_hides_headers_and_body():
    transport = MemoryTransport(lambda outgoing: Canned())
    grant = HttpGrant(secrets={"x-key": "key"}, methods=["POST"])
    broker = HttpBroker({"https://a.test": grant}, transport, secrets=MemorySecrets({"key": SECRET}))
    broker.send(Request("POST", "https://a.test/", (), b"private"))
    assert ("x-key", SECRET) in transport.sent[0].headers
    assert SECRET not in repr(transport.sent[0]) and "private" not in repr(transport.sent[0])


def test_response_that_takes_too_long_in_memory_is_timed_out():
    transport = MemoryTransport(lambda outgoing: Canned(takes_ms=2000))
    broker = HttpBroker({"https://a.test": HttpGrant(timeout_s=1.5)}, transport, clock=ManualClock())
    for timeout_ms, told in [(None, 1500), (5000, 1500), (100, 100)]:
        with pytest.raises(CapabilityFailure) as caught:
            broker.send(Request("GET", "https://a.test/", timeout_ms=timeout_ms, headers=()))
        assert caught.value.error == Variant("timed-out", told)
    slow = HttpBroker({"https://a.test": HttpGrant(timeout_s=2.5)}, transport, clock=ManualClock())
    assert slow.send(Request("GET", "https://a.test/", ())).status == 200


def test_time_goes_on_over_redirects():
    clock = ManualClock()

    def respond(outgoing):
        clock.advance(400 * 10**6)
        return Canned(status=302, headers=[("location", "/")])

    transport = MemoryTransport(respond)
    broker = HttpBroker({"https://a.test": HttpGrant(timeout_s=1, max_redirects=20)}, transport, clock=clock)
    with pytest.raises(CapabilityFailure) as caught:
        broker.send(Request("GET", "https://a.test/", ()))
    assert caught.value.error == Variant("timed-out", 1000)
    assert len(transport.sent) == 3


def test_host_whose_name_leads_inside_is_denied_in_memory_too():
    transport = MemoryTransport(lambda outgoing: Canned(), addresses={"a.test": ["10.0.0.7"]})
    with pytest.raises(CapabilityFailure, match="private") as caught:
        HttpBroker({"https://a.test": HttpGrant()}, transport).send(Request("GET", "https://a.test/", ()))
    assert (caught.value.case, transport.sent) == ("denied", [])
    granted = HttpBroker({"https://a.test": HttpGrant(addresses=["10.0.0.0/24"])}, transport)
    assert granted.send(Request("GET", "https://a.test/", ())).status == 200
