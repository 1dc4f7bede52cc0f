"""Plugins in TypeScript: types are checked, and what is wrong is told with file and line."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dataflare.authoring.templates import kinds_of, new_plugin
from dataflare.errors import ConfigError
from dataflare.toolchain.guests import Guest, guest_of
from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing
from dataflare.toolchain.typescript import TypeScriptDriver, _explained

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None and os.environ.get("CI") != "true", reason="there is no Node.js"
)

LOG = """import { committed, inserted, type LogEvent, Source } from './dataflare/index.js';

export default class People extends Source<{}, number> {
  static override dataset = 'people';
  static override key = ['id'];
  static override modes = ['changes'] as const;

  override schema(): Record<string, string> {
    return { id: 'int64' };
  }

  override *changes(position: number | null): Generator<LogEvent<number>> {
    for (let at = position ?? 0; at < 3; at += 1) {
      yield inserted('people', { id: at });
      yield committed(at + 1);
    }
  }
}
"""
LOG_TEST = """import assert from 'node:assert/strict';
import test from 'node:test';

import { make, readAll } from '../dataflare/testing.js';
import People from '../plugin.js';

test('a log goes on from a position', () => {
  const rows = [{ id: 1, _operation: 0 }, { id: 2, _operation: 0 }];
  assert.deepEqual(readAll(make(People), 1), { rows, state: 3 });
});
"""


def made(tmp_path: Path, kind: str = "processor") -> Guest:
    folder = tmp_path / "plug in é" / f"a-{kind}"
    new_plugin(folder, kind=kind, language="typescript")
    return guest_of(folder)


def change(guest: Guest, old: str, new: str) -> None:
    path = guest.folder / "plugin.ts"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("kind", kinds_of("typescript"))
def test_plugin_of_new_has_no_type_error(tmp_path: Path, kind: str) -> None:
    guest = made(tmp_path, kind)
    (guest.folder / "tests" / "it.test.ts").write_text(
        "import test from 'node:test';\nimport type Plugin from '../plugin.js';\n"
        "test('it', () => { const none: Plugin | null = null; void none; });\n"
    )
    passed = TypeScriptDriver().unit_tests(guest)
    assert passed == ("pass 3" if kind == "processor" else "pass 2")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("return text ===", "return text.lenght ===", "plugin.ts:19: error TS2551: "),
        ("const { field }", "const { feild }", "plugin.ts:15: error TS2"),
        ("invalidInput(`", "rateLimited(`", "plugin.ts:17: error TS2304: "),
        ("override process", "override process process", "plugin.ts:14: error TS1"),
    ],
)
def test_error_of_the_compiler_is_told_with_file_and_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    guest = made(tmp_path)
    change(guest, old, new)
    with pytest.raises(BuildFailed) as caught:
        TypeScriptDriver().build(guest, tmp_path)
    assert str(caught.value).startswith(says)
    assert "node_modules" not in str(caught.value)


def test_log_of_changes_is_typed(tmp_path: Path) -> None:
    guest = made(tmp_path, "source")
    (guest.folder / "plugin.ts").write_text(LOG)
    (guest.folder / "tests" / "plugin.test.ts").write_text(LOG_TEST)
    assert TypeScriptDriver().unit_tests(guest) == "pass 1"
    change(guest, "committed(at + 1)", "committed('end')")
    with pytest.raises(BuildFailed, match=r"plugin\.ts:\d+: error TS2322: "):
        TypeScriptDriver().unit_tests(guest)


def test_unit_tests_that_fail_are_shown(tmp_path: Path) -> None:
    guest = made(tmp_path)
    path = guest.folder / "tests" / "trimmed.test.ts"
    path.write_text(path.read_text().replace("'Ada')", "'Bo')"))
    with pytest.raises(BuildFailed, match="Expected values to be strictly equal"):
        TypeScriptDriver().unit_tests(guest)


@pytest.mark.parametrize("name", ["plugin.ts", "tsconfig.json"])
def test_plugin_without_a_file_that_it_needs_says_so(tmp_path: Path, name: str) -> None:
    guest = made(tmp_path)
    (guest.folder / name).unlink()
    with pytest.raises(BuildFailed, match=f"there is no {name}"):
        TypeScriptDriver().build(guest, tmp_path)


def test_sdk_that_cannot_be_written_is_an_error_with_the_place(tmp_path: Path) -> None:
    guest = made(tmp_path)
    (guest.folder / "dataflare").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        TypeScriptDriver().build(guest, tmp_path)


def test_machine_without_node_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainMissing) as caught:
        TypeScriptDriver().build(made(tmp_path), tmp_path)
    assert "https://nodejs.org" in caught.value.hint


def test_configuration_of_the_compiler_names_no_other_outputs(tmp_path: Path) -> None:
    guest, elsewhere = made(tmp_path), tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = guest.folder / "tsconfig.json"
    names = ("declarationDir", "generateCpuProfile", "generateTrace", "tsBuildInfoFile")
    more = "".join(f'"{name}": "{elsewhere / name}", ' for name in names)
    text = path.read_text()
    path.write_text(text.replace('"compilerOptions": {', f'"compilerOptions": {{ "declaration": true, {more}', 1))
    assert path.read_text() != text
    TypeScriptDriver().unit_tests(guest)
    assert not list(elsewhere.iterdir())


def test_error_of_syntax_comes_before_those_that_it_makes() -> None:
    said = "    plugin.ts(3,11): error TS7006: Parameter 'r'.\n    plugin.ts(3,23): error TS1109: Expression expected."
    error = _explained(BuildFailed("`tsc` ended with code 2", output=said))
    assert str(error).startswith("plugin.ts:3: error TS1109: Expression expected.\n") and "TS7006" in str(error)
    assert str(_explained(BuildFailed("it", output="killed"))) == "it\nkilled"
