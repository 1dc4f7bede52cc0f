"""Requests over TLS: whose certificate is asked for, and which ones are accepted."""

from __future__ import annotations

import socket

from dataflare.capabilities.http_network import NetworkTransport
from dataflare.wit_types.http import Request
from http_kit import Dialled, Names, failure_of, say_hello


class TestTls:
    def test_name_is_what_the_certificate_is_asked_for(self, serve, make, certificates):
        server = serve(say_hello, tls=certificates.server)
        dialled = Dialled(server.port)
        transport = NetworkTransport(resolver=Names(["8.8.8.8"]), dial=dialled, tls=certificates.client)
        broker = make("https://a.test", transport=transport, addresses=[])
        for _ in range(2):
            assert broker.send(Request("GET", "https://a.test/", ())).body == b"hello"
        assert (dialled.addresses, certificates.names, server.connections) == (["8.8.8.8"], ["a.test"], 1)
        assert b"host: a.test\r\n" in server.requests[0].lower()

    def test_certificate_of_another_name_is_not_accepted(self, serve, make, certificates):
        server = serve(say_hello, tls=certificates.server)
        transport = NetworkTransport(resolver=Names(["8.8.8.8"]), dial=Dialled(server.port), tls=certificates.client)
        failure = failure_of(make("https://b.test", transport=transport), "https://b.test/")
        assert failure.case == "connection-failed" and "certificate" in str(failure)
        assert server.requests == []

    def test_certificate_that_nobody_signed_is_not_accepted(self, serve, make, certificates):
        server = serve(say_hello, tls=certificates.server)
        transport = NetworkTransport(resolver=Names(["8.8.8.8"]), dial=Dialled(server.port))
        failure = failure_of(make("https://a.test", transport=transport), "https://a.test/")
        assert failure.case == "connection-failed" and "certificate" in str(failure)

    def test_body_that_is_cut_short_in_between_is_no_body(self, serve, make, certificates):
        def cut(connection, request):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf")
            connection.shutdown(socket.SHUT_RDWR)  # without TLS's own goodbye

        server = serve(cut, tls=certificates.server)
        transport = NetworkTransport(resolver=Names(["8.8.8.8"]), dial=Dialled(server.port), tls=certificates.client)
        failure = failure_of(make("https://a.test", transport=transport), "https://a.test/")
        assert failure.case == "connection-failed"
