"""One host serves an interface in two major versions, and components of older minor ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dataflare

PACKAGE = Path(dataflare.__file__).parent
TESTS = Path(__file__).parent.parent

WIT = {
    "dice": """
package dataflare:dice@1.1.0;

/// Dice.
@since(version = 1.0.0)
interface dice {
  /// Rolls a die.
  @since(version = 1.0.0)
  roll: func(sides: u32) -> u32;
  /// Rolls several dice, and adds them up.
  @since(version = 1.1.0)
  roll-all: func(sides: u32, count: u32) -> u32;
}
""",
    "dice-two": """
package dataflare:dice@2.0.0;

/// Dice with a favourite.
@since(version = 2.0.0)
interface dice {
  /// Rolls a die that likes a number.
  @since(version = 2.0.0)
  roll: func(sides: u32, favourite: u32) -> u32;
}
""",
}
MODULES = {
    "dice": """
def provide(context):
    return {"roll": lambda sides: sides, "roll-all": lambda sides, count: sides * count}
""",
    "dice_two": """
def provide(context):
    return {"roll": lambda sides, favourite: favourite}
""",
}
ROWS = """
    HostInterface(name="dice", package="dice", module="capabilities.dice", grant="switch", version="1.1.0"),
    HostInterface(name="dice", package="dice", module="capabilities.dice_two", grant="switch", version="2.0.0"),
"""

STORY = r"""
import json
import plugin_wat
from dataflare import Grants, Host, PermissionDenied, WorldMismatch
from dataflare.interfaces import interface_name

LATEST = "dataflare:dice/dice@2.0.0"
ONE = b"dataflare:dice/dice@1.1.0"
granted = Grants(others={"dice"})
told = {}


def made(version, **actions):
    names = {"dice": f"dataflare:dice/dice@{version}"}
    plugin_wat.interface_name = lambda short: names.get(short) or interface_name(short)
    uses = tuple(f"dice#{name.replace('_', '-')}" for name in actions)
    bodies = {
        name: f"(call $answer-outcome (call $dice#{name.replace('_', '-')} {values}) (i32.const 0))"
        for name, values in actions.items()
    }
    return plugin_wat.hostile(bodies, uses=uses)


def number(*values):
    return " ".join(f"(i32.const {value})" for value in values)


one = made("1.1.0", roll=number(6), roll_all=number(2, 4))
old = made("1.1.0", roll=number(6))
two = made("2.0.0", roll=number(6, 3))
binaries = {
    "1.0": old.binary.replace(ONE, ONE.replace(b"1.1.0", b"1.0.0")),
    "1.1": one.binary,
    "2.0": two.binary,
}
with Host() as host:
    loaded = {name: host.load(binary, name=f"p{name[0]}{name[2]}", grants=granted) for name, binary in binaries.items()}
    # All at the same time.
    told["1.0"] = loaded["1.0"].process(old.order("roll"))[0]
    told["1.1"] = [loaded["1.1"].process(one.order(each))[0] for each in ("roll", "roll_all")]
    told["2.0"] = loaded["2.0"].process(two.order("roll"))[0]
    for name in ("1.2.0", "2.1.0", "3.0.0"):
        try:
            host.load(old.binary.replace(ONE, b"dataflare:dice/dice@" + name.encode()), grants=granted)
        except WorldMismatch as error:
            told[name] = error.message
    try:
        host.load(binaries["2.0"])
    except PermissionDenied as error:
        told["denied"] = error.capability
print(json.dumps(told))
"""


@pytest.fixture
def tree(tmp_path):
    """A copy of the package and of its WIT, with two versions of an interface."""
    shutil.copytree(PACKAGE, tmp_path / "host" / "dataflare", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PACKAGE.parent.parent / "wit", tmp_path / "wit")
    for folder, text in WIT.items():
        (tmp_path / "wit" / folder).mkdir()
        (tmp_path / "wit" / folder / "dice.wit").write_text(text)
    for name, text in MODULES.items():
        (tmp_path / "host" / "dataflare" / "capabilities" / f"{name}.py").write_text(text)
    table = tmp_path / "host" / "dataflare" / "interfaces.py"
    first, marker, rest = table.read_text().partition('    HostInterface(name="clock"')
    assert marker
    table.write_text(first + ROWS.lstrip("\n") + marker + rest)
    return tmp_path


def test_host_serves_two_major_versions_and_older_minor_ones_at_the_same_time(tree):
    paths = [tree / "host", TESTS / "support"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "DATAFLARE_CACHE": str(tree / "cache")}
    run = subprocess.run([sys.executable, "-c", STORY], capture_output=True, text=True, env=environment, cwd=tree)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert (told["1.0"], told["1.1"], told["2.0"]) == ("6", ["6", "8"], "3")
    assert "dataflare:dice/dice@1.2.0 is newer than dataflare:dice/dice@1.1.0, which this host has" in told["1.2.0"]
    assert "dataflare:dice/dice@2.1.0 is newer than dataflare:dice/dice@2.0.0, which this host has" in told["2.1.0"]
    assert "the import dataflare:dice/dice@3.0.0 is unknown" in told["3.0.0"]
    assert told["denied"] == "dataflare:dice/dice"
