"""`dataflare new`: folders of plugins, and names that cannot be one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from dataflare.authoring.templates import kinds_of, languages_with_templates, new_plugin
from dataflare.errors import ConfigError
from dataflare.toolchain.guests import guest_of
from dataflare.toolchain.manifest_file import read_plugin_file

ALL = [(language, kind) for language in languages_with_templates() for kind in kinds_of(language)]


@pytest.mark.parametrize(("language", "kind"), ALL)
def test_new_plugin_says_what_was_asked_for(tmp_path: Path, language: str, kind: str) -> None:
    folder = tmp_path / "clean-names"
    files = new_plugin(folder, kind=kind, language=language)
    file = read_plugin_file(folder)
    assert (file.name, file.kind, file.language) == ("clean-names", kind, language)
    assert {Path("README.md"), Path(".gitignore"), Path(".github/workflows/test.yaml")} < set(files)
    assert list((folder / "tests" / "cases").glob("*.yaml"))
    texts = "".join((folder / each).read_text() for each in files)
    assert "sample" not in texts and "Sample" not in texts


def test_every_language_has_all_kinds() -> None:
    assert {(language, len(kinds_of(language))) for language in languages_with_templates()} >= {("python", 5)}


def test_no_kind_is_made_of_another_folder_than_the_asked_for(tmp_path: Path) -> None:
    new_plugin(tmp_path / "a b é" / "clean", kind="source", language="python")
    assert guest_of(tmp_path / "a b é" / "clean").output == tmp_path / "a b é" / "clean" / "build" / "clean.wasm"


@pytest.mark.parametrize("name", ["none", "true", "batch", "source", "transformer"])
def test_name_that_python_or_the_sdk_has_taken_still_makes_python(tmp_path: Path, name: str) -> None:
    new_plugin(tmp_path / name, kind="transformer", language="python")
    tree = ast.parse((tmp_path / name / "plugin.py").read_text())
    classes = [each.name for each in tree.body if isinstance(each, ast.ClassDef)]
    assert f"{name.capitalize()}Plugin" in classes


@pytest.mark.parametrize(
    ("kind", "language", "says"),
    [
        ("sink", "python", "--kind: there is no kind 'sink'"),
        ("source", "pyton", "--lang: there is no language 'pyton'\n  hint: did you mean 'python'?"),
        ("", "python", "no kind ''"),
    ],
)
def test_unknown_kind_or_language_is_refused(tmp_path: Path, kind: str, language: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        new_plugin(tmp_path / "a", kind=kind, language=language)
    assert says in f"{caught.value} {caught.value.hint}"


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="already exists"):
        new_plugin(tmp_path / "a", kind="source", language="python")
    assert [each.name for each in (tmp_path / "a").iterdir()] == ["mine"]


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made") as caught:
        new_plugin(tmp_path / "file" / "a", kind="source", language="python")
    assert str(tmp_path / "file" / "a") in str(caught.value)


@pytest.mark.parametrize("name", ["1a", "-a", "a b", "naïve", "Clean", "clean_names", "x.y", "a--b", "a" * 65])
def test_name_that_cannot_be_one_is_refused_in_words(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"a plugin cannot be called '") as caught:
        new_plugin(tmp_path / name, kind="transformer", language="python")
    assert "lower-case letters" in caught.value.hint and "^[a-z]" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
