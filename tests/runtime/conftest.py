from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dataflare.capabilities.logging import MemoryLogSink
from dataflare.runtime.host import Host
from dataflare.runtime.options import Services
from dataflare.runtime.plugin import Plugin
from runtime_fakes import FakeEngine


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def log() -> MemoryLogSink:
    return MemoryLogSink()


@pytest.fixture
def host(engine: FakeEngine, log: MemoryLogSink) -> Iterator[Host]:
    with Host(engine=engine, services=Services(log_sink=lambda _: log)) as made:
        yield made


@pytest.fixture
def load(host: Host, engine: FakeEngine) -> Callable[..., Any]:
    def make(guest: Any, kind: type[Plugin], **attributes: Any) -> Any:
        # A class of its own, so that what a test sets does not outlive it.
        plugin = host.load(engine.add(type(guest.__name__, (guest,), attributes)), name="p")
        assert type(plugin) is kind
        return plugin

    return make
