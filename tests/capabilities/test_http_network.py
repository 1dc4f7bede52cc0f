"""Requests to servers that misbehave, and names that change where they lead."""

from __future__ import annotations

import gzip
import ipaddress
import socket
import threading
import time

import pytest

from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.http_network import NetworkTransport, dial
from dataflare.errors import UsageError
from dataflare.values import Variant
from dataflare.wit_types.http import Request
from http_kit import HELLO, Dialled, Names, failure_of, say_hello


class TestNames:
    def test_name_that_leads_inside_later_is_refused_then(self, serve, make):
        last = HELLO.replace(b"content-length", b"connection: close\r\ncontent-length")
        server = serve(lambda connection, request: connection.sendall(last))
        names, dialled = Names(["8.8.8.8"], ["127.0.0.1"]), Dialled(server.port)
        transport = NetworkTransport(resolver=names, dial=dialled)
        broker = make("http://rebind.test", transport=transport, addresses=[])
        assert broker.send(Request("GET", "http://rebind.test/", ())).body == b"hello"
        failure = failure_of(broker, "http://rebind.test/")
        assert failure.case == "denied" and "127.0.0.1" in str(failure)
        assert dialled.addresses == ["8.8.8.8"]
        assert len(server.requests) == 1

    def test_name_is_resolved_once_for_a_connection(self, serve, make):
        server = serve(say_hello)
        # A second question would get an address that is refused.
        names, dialled = Names(["8.8.8.8"], ["127.0.0.1"]), Dialled(server.port)
        broker = make("http://a.test:81", transport=NetworkTransport(resolver=names, dial=dialled), addresses=[])
        for _ in range(3):
            assert broker.send(Request("GET", "http://a.test:81/", ())).status == 200
        assert names.asked == [("a.test", 81)]
        assert (dialled.addresses, server.connections) == (["8.8.8.8"], 1)

    def test_connection_is_made_to_an_address_that_passed(self, serve, make):
        server = serve(say_hello)
        names = Names(["10.0.0.7", "::1", "8.8.8.8", "169.254.169.254", "1.1.1.1"])
        dialled = Dialled(server.port, dead={"8.8.8.8"})
        broker = make("http://a.test", transport=NetworkTransport(resolver=names, dial=dialled), addresses=[])
        assert broker.send(Request("GET", "http://a.test/", ())).status == 200
        assert dialled.addresses == ["8.8.8.8", "1.1.1.1"]

    @pytest.mark.parametrize("answer", [["169.254.169.254"], ["::ffff:127.0.0.1"], ["fe80::1%eth0"], []])
    def test_name_that_leads_nowhere_allowed_is_denied(self, serve, make, answer):
        dialled = Dialled(serve(say_hello).port)
        broker = make("http://a.test", transport=NetworkTransport(resolver=Names(answer), dial=dialled), addresses=[])
        assert failure_of(broker, "http://a.test/").case == "denied"
        assert dialled.addresses == []

    def test_name_that_is_not_known_is_worth_a_retry(self, make):
        names = Names(socket.gaierror(-2, "Name or service not known"))
        broker = make("http://a.test", transport=NetworkTransport(resolver=names))
        failure = failure_of(broker, "http://a.test/")
        assert failure.case == "connection-failed" and "Name or service not known" in str(failure)

    def test_resolver_without_an_answer_takes_no_longer_than_the_limit(self, make):
        release = threading.Event()

        class Hanging:
            def resolve(self, host, port):
                release.wait(10)
                return ["8.8.8.8"]

        broker = make("http://a.test", transport=NetworkTransport(resolver=Hanging()))
        began = time.monotonic()
        failures = [failure_of(broker, "http://a.test/", timeout_ms=50) for _ in range(10)]
        assert {failure.error for failure in failures} == {Variant("timed-out", 50)}
        assert time.monotonic() - began < 5
        # However often it is tried, only so many threads hang.
        assert sum(thread.name == "dataflare-lookup-a.test" for thread in threading.enumerate()) <= 8
        release.set()

    def test_name_stays_in_the_host_header(self, serve, make):
        server = serve(say_hello)
        transport = NetworkTransport(resolver=Names(["8.8.8.8"]), dial=Dialled(server.port))
        make("http://a.test:81", transport=transport).send(Request("GET", "http://a.test:81/", ()))
        assert b"host: a.test:81\r\n" in server.requests[0].lower()

    def test_address_is_not_resolved(self, serve, make):
        server = serve(say_hello)
        names, dialled = Names(["8.8.8.8"]), Dialled(server.port)
        broker = make("http://[2606:4700::1111]:81", transport=NetworkTransport(resolver=names, dial=dialled))
        assert broker.send(Request("GET", "http://[2606:4700:0::1111]:81/", ())).status == 200
        assert (names.asked, dialled.addresses) == ([], ["2606:4700::1111"])
        assert b"host: [2606:4700::1111]:81\r\n" in server.requests[0].lower()

    def test_proxies_of_the_environment_are_not_used(self, serve, make, monkeypatch):
        proxy, server = serve(say_hello), serve(say_hello)
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.origin)
        assert make(server.origin).send(Request("GET", server.origin + "/", ())).status == 200
        assert (proxy.connections, server.connections) == (0, 1)


class TestTime:
    def test_server_that_never_answers_is_left(self, serve, make):
        server = serve(lambda connection, request: server.stopped.wait(5))
        assert _timed(make(server.origin), server.origin) == Variant("timed-out", 200)

    @pytest.mark.parametrize(
        "head", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b"HTTP/1.1 200 OK\r\nx-slow: "]
    )
    def test_server_that_drips_is_left(self, serve, make, head):
        def drip(connection, request):
            connection.sendall(head or b"HTTP/1.1 1")
            while not server.stopped.is_set():
                connection.sendall(b"0")
                time.sleep(0.02)

        server = serve(drip)
        assert _timed(make(server.origin), server.origin) == Variant("timed-out", 200)

    def test_server_that_keeps_on_promising_is_left(self, serve, make):
        def promise(connection, request):
            while not server.stopped.is_set():
                connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")
                time.sleep(0.02)

        server = serve(promise)
        assert _timed(make(server.origin), server.origin) == Variant("timed-out", 200)

    def test_server_that_takes_no_body_is_left(self, serve, make):
        server = serve(lambda connection, request: server.stopped.wait(5))
        broker = make(server.origin, methods=["POST"], max_request_bytes=2**26)
        began = time.monotonic()
        with pytest.raises(CapabilityFailure) as caught:
            broker.send(Request("POST", server.origin, (), bytes(2**26), 300))
        assert caught.value.error == Variant("timed-out", 300)
        assert time.monotonic() - began < 3

    def test_server_that_never_shakes_hands_is_left(self, serve, make, certificates):
        silent = socket.create_server(("127.0.0.1", 0))
        origin = f"https://127.0.0.1:{silent.getsockname()[1]}"
        broker = make(origin, transport=NetworkTransport(tls=certificates.client))
        assert _timed(broker, origin) == Variant("timed-out", 200)
        silent.close()

    def test_address_that_never_answers_is_left(self, make):
        def slow(address, port, timeout_s):
            time.sleep(timeout_s)
            raise TimeoutError("timed out")

        broker = make("http://a.test", transport=NetworkTransport(resolver=Names(["8.8.8.8", "1.1.1.1"]), dial=slow))
        assert _timed(broker, "http://a.test/") == Variant("timed-out", 200)

    def test_address_that_does_not_answer_leaves_time_for_the_next(self, serve, make):
        server = serve(say_hello)
        shares = []

        def slow(address, port, timeout_s):
            shares.append(timeout_s)
            if len(shares) == 1:
                time.sleep(timeout_s)
                raise TimeoutError("timed out")
            return dial(ipaddress.ip_address("127.0.0.1"), server.port, timeout_s)

        transport = NetworkTransport(resolver=Names(["8.8.8.8", "1.1.1.1"]), dial=slow)
        assert (
            make("http://a.test", transport=transport).send(Request("GET", "http://a.test/", (), None, 600)).status
            == 200
        )
        assert 0.1 < shares[0] <= 0.3

    def test_connection_is_not_used_again_after_its_time_was_over(self, serve, make):
        def late(connection, request):
            if len(server.requests) == 1:
                time.sleep(0.3)
                connection.sendall(HELLO.replace(b"hello", b"stale"))
            else:
                connection.sendall(HELLO)
            return True

        server = serve(late)
        broker = make(server.origin)
        assert failure_of(broker, server.origin, timeout_ms=100).case == "timed-out"
        assert broker.send(Request("GET", server.origin, ())).body == b"hello"
        assert server.connections == 2


class TestSize:
    @pytest.mark.parametrize("head", [b"transfer-encoding: chunked\r\n\r\n", b"\r\n"])
    def test_body_without_end_is_cut_off_at_the_limit(self, serve, make, head):
        sent = []

        def pour(connection, request):
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + head)
            block = b"x" * 65_536
            part = b"10000\r\n" + block + b"\r\n" if b"chunked" in head else block
            while not server.stopped.is_set() and len(sent) < 1000:
                connection.sendall(part)
                sent.append(1)

        server = serve(pour)
        assert failure_of(make(server.origin, max_response_bytes=200_000), server.origin).error == Variant(
            "too-large", 200_000
        )
        server.close()
        assert len(sent) < 1000

    def test_length_of_what_is_not_sent_does_not_count(self, serve, make):
        server = serve(
            lambda connection, request: connection.sendall(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 999\r\n\r\n")
        )
        assert make(server.origin, max_response_bytes=200).send(Request("GET", server.origin, ())).status == 304

    def test_length_over_the_limit_is_believed(self, serve, make):
        server = serve(
            lambda connection, request: connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 201\r\n\r\n")
        )
        assert failure_of(make(server.origin, max_response_bytes=200), server.origin).error == Variant("too-large", 200)

    def test_bomb_is_stopped_at_the_limit(self, serve, make):
        bomb = gzip.compress(b"\0" * 100_000_000, 9)
        head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb)
        server = serve(lambda connection, request: connection.sendall(head + bomb))
        assert failure_of(make(server.origin, max_response_bytes=2**20), server.origin).error == Variant(
            "too-large", 2**20
        )

    def test_headers_without_end_fail(self, serve, make):
        def pour(connection, request):
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not server.stopped.is_set():
                connection.sendall(b"x-more: " + b"x" * 1000 + b"\r\n")

        server = serve(pour)
        assert failure_of(make(server.origin), server.origin).case == "connection-failed"


class TestConnections:
    @pytest.mark.parametrize(
        "said",
        [
            b"",
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        ],
    )
    def test_response_that_breaks_off_is_worth_a_retry(self, serve, make, said):
        server = serve(lambda connection, request: connection.sendall(said))
        assert failure_of(make(server.origin), server.origin).case == "connection-failed"

    @pytest.mark.parametrize("status", [b"600 Strange", b"999 Strange"])
    def test_status_that_is_none_fails(self, serve, make, status):
        server = serve(lambda connection, request: connection.sendall(b"HTTP/1.1 " + status + b"\r\n\r\n"))
        assert failure_of(make(server.origin), server.origin).case == "other"

    def test_port_that_nobody_listens_at_is_worth_a_retry(self, make):
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = held.getsockname()[1]
        failure = failure_of(make(f"http://127.0.0.1:{port}"), f"http://127.0.0.1:{port}/")
        assert failure.case == "connection-failed" and "refused" in str(failure)

    def test_connection_that_the_server_closed_is_not_used_again(self, serve, make):
        server = serve(lambda connection, request: connection.sendall(HELLO))
        broker = make(server.origin)
        for pause_s in (0.05, 0.05, *[0] * 50):  # where it is seen to be closed, and where it may not be yet
            assert broker.send(Request("GET", server.origin, ())).body == b"hello"
            time.sleep(pause_s)
        assert server.connections == len(server.requests) == 52

    def test_idle_connection_that_breaks_is_replaced_where_a_request_may_be_repeated(self, serve, make):
        def break_second(connection, request):
            if len(server.requests) % 2 == 0:
                return False
            connection.sendall(HELLO)
            return True

        server = serve(break_second)
        broker = make(server.origin, methods=["GET", "POST"])
        assert [broker.send(Request("GET", server.origin, ())).status for _ in range(2)] == [200, 200]
        assert (len(server.requests), server.connections) == (3, 2)
        with pytest.raises(CapabilityFailure) as caught:
            broker.send(Request("POST", server.origin, ()))
        assert caught.value.case == "connection-failed"
        assert len(server.requests) == 4

    def test_connection_is_used_again(self, serve, make):
        server = serve(say_hello)
        broker = make(server.origin)
        for _ in range(5):
            broker.send(Request("GET", server.origin, ()))
        assert (server.connections, len(server.requests)) == (1, 5)

    @pytest.mark.parametrize("more", [b"x", HELLO])
    def test_connection_with_something_left_over_is_not_used_again(self, serve, make, more):
        server = serve(lambda connection, request: connection.sendall(HELLO + more) or True)
        broker = make(server.origin)
        for _ in range(3):
            assert broker.send(Request("GET", server.origin, ())).body == b"hello"
        assert server.connections == 3

    def test_old_idle_connection_is_not_used_again(self, serve, make):
        server = serve(say_hello)
        broker = make(server.origin, transport=NetworkTransport(idle_s=0.05))
        broker.send(Request("GET", server.origin, ()))
        time.sleep(0.1)
        broker.send(Request("GET", server.origin, ()))
        assert server.connections == 2

    def test_connection_of_one_grant_is_not_lent_to_another(self, serve, make):
        server = serve(say_hello)
        transport = NetworkTransport()
        make(server.origin, transport=transport).send(Request("GET", server.origin, ()))
        assert failure_of(make(server.origin, transport=transport, addresses=[]), server.origin).case == "denied"

    def test_threads_have_connections_of_their_own(self, serve, make):
        def slow(connection, request):
            time.sleep(0.05)
            name = request.split(b" ")[1][1:]
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(name), name))
            return True

        server = serve(slow)
        broker = make(server.origin)
        got = {}

        def ask(number):
            for step in range(4):
                name = f"{number}-{step}"
                got[name] = broker.send(Request("GET", f"{server.origin}/{name}", ())).body.decode()

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 24 and all(name == body for name, body in got.items())

    def test_closed_broker_makes_no_request(self, serve, make):
        server = serve(say_hello)
        broker = make(server.origin)
        broker.send(Request("GET", server.origin, ()))
        broker.close()
        broker.close()
        with pytest.raises(UsageError, match="closed"):
            broker.send(Request("GET", server.origin, ()))

    def test_rate_limit_holds_back_many_requests(self, serve, make):
        server = serve(say_hello)
        broker = make(server.origin, burst=5, requests_per_s=20)
        outcomes = []
        for _ in range(40):
            try:
                outcomes.append(broker.send(Request("GET", server.origin, ())).status)
            except CapabilityFailure as failure:
                outcomes.append(failure.case)
                wait_ms = failure.error.value
        assert outcomes[:5] == [200] * 5 and "rate-limited" in outcomes
        assert len(server.requests) == outcomes.count(200) < 20
        assert 1 <= wait_ms <= 51
        time.sleep(wait_ms / 1000)
        assert broker.send(Request("GET", server.origin, ())).status == 200


def _timed(broker, url) -> Variant:
    began = time.monotonic()
    failure = failure_of(broker, url, timeout_ms=200)
    assert 0.15 < time.monotonic() - began < 2
    return failure.error
