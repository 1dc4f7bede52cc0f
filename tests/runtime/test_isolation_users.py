"""Workers of a host that does not run as root: what they say is in force is what the kernel says."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

COMPONENT = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components" / "json-mapper.wasm"
pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("setpriv") is None, reason="only root can start a host of another user"
)
# The one capability lets it read Python where that is root's own; a worker must have none.
AS_ANOTHER = [
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all,+dac_read_search"),
    *("--ambient-caps=-all,+dac_read_search", "--bounding-set=-all,+dac_read_search", "--"),
]
HOST = """
import json, os, sys
from dataflare import Host
with Host(cache_dir=sys.argv[2]) as host:
    plugin = host.load(sys.argv[1], isolation="process", config={"set": {"k": 1}})
    assert plugin.process("{}") == '{"k":1}'
    instance = plugin._pool._idle[0][0].instance
    print(json.dumps([instance.pid, instance.in_force]), flush=True)
    sys.stdin.readline()
    os.kill(instance.pid, 9)
    try:
        plugin.process("{}")
    except Exception as error:
        print(json.dumps([type(error).__name__, plugin.process("{}")]), flush=True)
    plugin.start()
    print(json.dumps(plugin._pool._idle[0][0].instance.pid), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    cache = tmp_path / "compiled"
    cache.mkdir(mode=0o700)
    os.chown(cache, 65534, 65534)
    command = [*AS_ANOTHER, sys.executable, "-B", "-c", HOST, str(COMPONENT), str(cache)]
    environment = {**os.environ, "HOME": str(tmp_path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=tmp_path) as started:
        yield started
        started.kill()


def said(host: subprocess.Popen[str]) -> Any:
    assert host.stdout is not None
    return json.loads(host.stdout.readline())


def go_on(host: subprocess.Popen[str]) -> None:
    assert host.stdin is not None
    host.stdin.write("\n")
    host.stdin.flush()


def test_worker_of_another_user_is_confined_as_it_says(host):
    pid, in_force = said(host)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert {"no-capabilities", "rlimits", "parent-death", "no-new-privileges", "seccomp"} <= set(in_force)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
    # It is the host's own user, and does not say otherwise.
    assert "unprivileged" not in in_force and set(status["Uid"].split()) == {"65534"}
    for name in ("net", "ipc", "uts", "user"):
        own = os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/{host.pid}/ns/{name}")
        assert own == ("namespaces" in in_force), name
    # The host can end it, and starts another one in its place.
    go_on(host)
    assert said(host) == ["WorkerDied", '{"k":1}']


def test_worker_of_another_user_ends_with_its_host(host):
    said(host)
    go_on(host)
    said(host)
    descriptor = os.pidfd_open(said(host))
    host.kill()
    assert select.select([descriptor], [], [], 10)[0], "the worker is still there"
    os.close(descriptor)
