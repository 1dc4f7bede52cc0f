from __future__ import annotations

import pytest

from dataflare.capabilities.http_broker import HttpBroker
from dataflare.capabilities.http_network import NetworkTransport
from dataflare.grants import HttpGrant
from http_kit import Certificates, Server


@pytest.fixture
def serve():
    servers = []

    def start(behave, **options) -> Server:
        servers.append(Server(behave, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def make():
    brokers = []

    def make_broker(origin, *, transport=None, **options) -> HttpBroker:
        options = {"addresses": ["127.0.0.1"], "burst": 1000, "timeout_s": 5} | options
        broker = HttpBroker({origin: HttpGrant(**options)}, transport or NetworkTransport())
        brokers.append(broker)
        return broker

    yield make_broker
    for broker in brokers:
        broker.close()


@pytest.fixture
def certificates(tmp_path):
    return Certificates(tmp_path)
