"""A capability is its WIT, its module and its row: with these three files, everything else knows it."""

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

WIT = """
package dataflare:host@1.0.0;

/// Dice.
@since(version = 1.0.0)
interface dice {
  /// Rolls a die.
  @since(version = 1.0.0)
  roll: func(sides: u32) -> u32;
}
"""

MODULE = '''
"""`dataflare:host/dice`: dice."""


def provide(context):
    """Make the functions that one plugin gets, by their names in the WIT."""
    return {"roll": lambda sides: sides - (context.plugin != "gambler")}
'''

ROW = '    HostInterface(name="dice", module="capabilities.dice", grant="switch"),\n'

STORY = r"""
import json, sys
from pathlib import Path
from typer.testing import CliRunner
from dataflare import Grants, Host, PermissionDenied, Policy, Security
from dataflare.cli.app import app
from dataflare.permissions.words import parse_grants
from dataflare.pipeline.specification import parse_specification
from dataflare.security.audit import MemoryAuditLog
from dataflare.security.capability import Capability, capabilities_of, needed_by_imports
from dataflare.security.manifest import Manifest
from dataflare.security.narrowing import narrowed_grants
from plugin_wat import hostile

made = hostile(
    {"roll": "(call $answer-outcome (call $dice#roll (i32.const 6)) (i32.const 0))"}, uses=("dice#roll",)
)
folder = Path(sys.argv[1])
component = folder / "gambler.wasm"
component.write_bytes(made.binary)
dice = Capability.parse("dice")
granted = Grants(others={"dice"})
told = {}

# The Python API: refused without the grant, used with it.
with Host(cache_dir=folder / "cache") as host:
    try:
        host.load(component)
    except PermissionDenied as error:
        told["refused"] = (error.capability, "dice: true" in error.hint)
    told["rolled"] = host.load(component, grants=granted).process(made.order("roll"))[0]

# The policy, the audit log, and what is taken back.
(folder / "policy.yaml").write_text("version: 1\nplugins: {gambler: {grants: {dice: true}}}\n")
log = MemoryAuditLog()
with Host(cache_dir=folder / "cache", security=Security(policy=folder / "policy.yaml", audit=log)) as host:
    plugin = host.load(component)
    plugin.process(made.order("roll"))
    told["audited"] = [event.object for event in log.events if event.function == "roll"]
    host.revoke("gambler", "dice")
    try:
        plugin.process(made.order("roll"))
    except PermissionDenied as error:
        told["taken back"] = error.capability

# The pipeline, the command line, the manifest, and a policy that is narrowed.
nodes = "name: p\nnodes:\n  a: {plugin: gambler.wasm, input: b, grants: {dice: true}}\n"
nodes += "  b: {connector: csv, read: a.csv}\n  c: {connector: csv, write: c.csv, input: a}\n"
told["pipeline"] = parse_specification(nodes, file=folder / "p.yaml").grants["a"] == granted
told["command line"] = parse_grants(["dice"]) == granted
manifest = Manifest.model_validate({"name": "gambler", "version": "1.0.0", "kind": "processor",
                                    "asks": {"dice": True}})
told["manifest"] = dice in manifest.needs().capabilities
told["needed"] = dice in needed_by_imports(["dataflare:host/dice@1.0.0"])
told["capabilities"] = dice in capabilities_of(granted)
try:
    narrowed_grants(Grants(), granted, plugin="gambler", source="policy.yaml")
except PermissionDenied as error:
    told["narrowed"] = error.capability
told["schema"] = "dice" in CliRunner().invoke(app, ["schema", "--pipeline"]).stdout
print(json.dumps(told))
"""


@pytest.fixture
def tree(tmp_path):
    """A copy of the package and of its WIT, to which a capability is added by three files."""
    shutil.copytree(PACKAGE, tmp_path / "host" / "dataflare", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PACKAGE.parent.parent / "wit", tmp_path / "wit")
    (tmp_path / "wit" / "host" / "dice.wit").write_text(WIT)
    (tmp_path / "host" / "dataflare" / "capabilities" / "dice.py").write_text(MODULE)
    table = tmp_path / "host" / "dataflare" / "interfaces.py"
    first, marker, rest = table.read_text().partition('    HostInterface(name="clock"')
    assert marker
    table.write_text(first + ROW + marker + rest)
    return tmp_path


def test_a_capability_of_three_files_is_granted_used_audited_and_taken_back(tree):
    path = os.pathsep.join(map(str, (tree / "host", TESTS / "support")))
    done = subprocess.run(
        [sys.executable, "-c", STORY, str(tree)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "refused": ["dataflare:host/dice", True],
        "rolled": "6",
        "audited": ["dice"],
        "taken back": "dice",
        "pipeline": True,
        "command line": True,
        "manifest": True,
        "needed": True,
        "capabilities": True,
        "narrowed": "dice",
        "schema": True,
    }
