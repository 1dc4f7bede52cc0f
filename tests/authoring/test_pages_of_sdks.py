"""Examples of the pages about the SDKs that are more than an excerpt: they are built, and do what the page says."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from dataflare.authoring.templates import new_plugin
from dataflare.toolchain.go import GoDriver
from dataflare.toolchain.guests import Guest, guest_of
from dataflare.toolchain.javascript import JavaScriptDriver

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None and os.environ.get("CI") != "true", reason="there is no Node.js"
)
PAGES = Path(__file__).parents[2] / "docs" / "reference"

GO_BEFORE = """package main

import (
	"iter"

	"dataflare"
)

type People struct{ log []map[string]any }

func newPeople(_ dataflare.NoConfig) (*People, error) {
	return &People{log: []map[string]any{{"id": 1, "name": "Ada"}, {"id": 2, "name": "Bo"}}}, nil
}

func main() {}

"""
GO_TEST = """package main

import (
	"reflect"
	"testing"

	"dataflare"
)

func TestLog(t *testing.T) {
	people, _ := newPeople(dataflare.NoConfig{})
	one := 1
	for begin, wanted := range map[*int][]any{nil: {1, 1, 2, 2}, &one: {2, 2}} {
		var found []any
		for event, err := range people.Changes(begin, nil) {
			switch event := event.(type) {
			case dataflare.Insert:
				found = append(found, event.Row.(map[string]any)["id"])
			case dataflare.Commit[int]:
				found = append(found, event.Position)
			default:
				t.Fatal(event, err)
			}
		}
		if !reflect.DeepEqual(found, wanted) {
			t.Errorf("%v, and not %v", found, wanted)
		}
	}
}
"""
JAVASCRIPT_TEST = """
import assert from 'node:assert/strict';
import test from 'node:test';

import { make, readAll } from '../dataflare/testing.js';
import Plugin from '../plugin.js';

const plain = (rows) => rows.map(({ id, name, _operation }) => [id, name ?? null, _operation]);

test('the changes come, and none again', () => {
  const source = make(Plugin, {});
  const { rows, state } = readAll(source, undefined, 100);
  assert.deepEqual(plain(rows), [[1, 'Ada', 0], [2, 'Bo', 0], [2, null, 2], [3, 'Bo', 0], [1, null, 2]]);
  assert.deepEqual(readAll(source, state, 100).rows, []);
});
"""


def example(page: str, section: str) -> str:
    """The first block of code of a section."""
    text = (PAGES / page).read_text().partition(f"\n## {section}\n")[2]
    found = re.search(r"\n```\w+\n(.*?)\n```\n", text, re.DOTALL)
    assert found is not None
    return found[1] + "\n"


def plugin(folder: Path, language: str, files: dict[str, str]) -> Guest:
    new_plugin(folder, kind="source", language=language)
    for name, text in files.items():
        (folder / name).write_text(text)
    return guest_of(folder)


def test_log_of_changes_in_go(tmp_path: Path) -> None:
    written = {"plugin.go": GO_BEFORE + example("go-sdk.md", "Logs of changes"), "plugin_test.go": GO_TEST}
    assert GoDriver().unit_tests(plugin(tmp_path / "a-plugin", "go", written)) == "1 passed"


def test_log_of_changes_in_javascript(tmp_path: Path) -> None:
    written = {"plugin.js": example("javascript-sdk.md", "Logs of changes"), "tests/plugin.test.js": JAVASCRIPT_TEST}
    assert JavaScriptDriver().unit_tests(plugin(tmp_path / "a-plugin", "javascript", written)) == "pass 1"
