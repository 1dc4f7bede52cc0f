from __future__ import annotations

import re
from pathlib import Path

import pytest

from dataflare.capabilities import (
    clock,
    config,
    files,
    http,
    http_broker,
    http_transport,
    logging,
    metrics,
    plugins,
    random,
    secrets,
    shared,
    state,
    tasks,
)
from dataflare.data import batches
from dataflare.data.expressions import interface as expressions
from dataflare.interfaces import OFFERED, interface_name

WIT = Path(__file__).parents[2] / "wit"
IMPORTS = {
    "batches": batches.imports(),
    "clock": clock.imports(clock.SystemClock()),
    "config": config.imports(config.PluginConfig()),
    "expressions": expressions.imports(),
    "files": files.imports(files.MemoryFiles({})),
    "http": http.imports(
        http_broker.HttpBroker({}, http_transport.MemoryTransport(lambda outgoing: http_transport.Canned()))
    ),
    "logging": logging.imports(logging.PluginLog(logging.MemoryLogSink())),
    "metrics": metrics.imports(metrics.PluginMetrics(metrics.MemoryMetrics(), "p")),
    "plugins": plugins.imports(plugins.MemoryPlugins({}), "p", frozenset()),
    "random": random.imports(random.SystemRandom()),
    "secrets": secrets.imports(secrets.MemorySecrets(), frozenset()),
    "shared": shared.imports(shared.MemorySharedStore(), {}),
    "state": state.imports(state.MemoryStateStore(), "n"),
    "tasks": tasks.imports(tasks.PluginTasks(tasks.MemoryProgress(), "p", tasks.CancellationToken())),
}


def functions(text: str) -> set[str]:
    """Find the functions and methods of an interface's text, by their names in the canonical ABI."""
    found, resource = set(), ""
    for line in text.splitlines():
        if match := re.match(r"  resource ([a-z-]+) \{", line):
            resource = match.group(1)
        elif line == "  }":
            resource = ""
        elif match := re.match(r" +([a-z0-9-]+): func\(", line):
            found.add(f"[method]{resource}.{match.group(1)}" if resource else match.group(1))
    return found


@pytest.mark.parametrize("short", sorted(OFFERED))
def test_every_function_of_the_wit_is_there_and_no_other(short):
    package = interface_name(short).partition(":")[2].partition("/")[0]
    text = (WIT / package / f"{short}.wit").read_text()
    assert functions(text) == set(IMPORTS.get(short, {}))


def test_bulk_text_comes_as_bytes():
    bulk = {(short, name) for short, made in IMPORTS.items() for name, f in made.items() if hasattr(f, "text_as_bytes")}
    assert bulk == {
        ("batches", "[method]batch.with-text-column"),
        ("batches", "from-json-lines"),
        ("files", "[method]writer.write-text"),
    }


def test_interface_of_the_batches_has_its_full_name():
    assert interface_name("batches") == batches.INTERFACE
