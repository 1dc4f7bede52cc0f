from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dataflare.wit.__main__ import main
from dataflare.wit.canonical import interface_digest
from dataflare.wit.model import Function, Interface, WitError, World
from dataflare.wit.naming_rules import check_catalog, check_layout
from dataflare.wit.published import digests, drift, publish, read_lock
from dataflare.wit.reference_page import reference
from dataflare.wit.resolve import load
from dataflare.wit.standard import standard, standard_folder

KINDS = ("source", "destination", "processor", "transformer", "validator")
FOLDER = standard_folder()
FILES = sorted(FOLDER.rglob("*.wit"))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return shutil.copytree(FOLDER, tmp_path / "wit")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


class TestTheStandard:
    def test_it_is_three_packages_at_1_0_0(self) -> None:
        assert list(standard().packages) == ["dataflare:data@1.0.0", "dataflare:host@1.0.0", "dataflare:plugin@1.0.0"]

    def test_every_file_holds_one_interface_of_its_name_or_worlds(self) -> None:
        for package in load(FOLDER).packages.values():
            items: list[Interface | World] = [*package.interfaces, *package.worlds]
            for each in items:
                stem = Path(each.position.file).stem
                assert stem == (each.name if isinstance(each, Interface) else "worlds")

    @pytest.mark.parametrize("kind", KINDS)
    def test_each_kind_has_a_world_with_its_interface_and_the_lifecycle(self, kind: str) -> None:
        world = standard().world(f"dataflare:plugin/{kind}-plugin@1.0.0")
        assert set(world.exports) == {"dataflare:plugin/lifecycle@1.0.0", f"dataflare:plugin/{kind}@1.0.0"}

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_kinds_world_imports_nothing_that_needs_a_grant(self, kind: str) -> None:
        basics = standard().world("dataflare:host/basics@1.0.0")
        world = standard().world(f"dataflare:plugin/{kind}-plugin@1.0.0")
        shared = {"dataflare:plugin/types@1.0.0"}
        if kind in ("source", "destination"):
            shared.add("dataflare:plugin/datasets@1.0.0")
        assert set(world.imports) == {*basics.imports, *shared}

    def test_the_imports_world_holds_every_interface_of_the_host(self) -> None:
        catalog = standard()
        hosts = {name for name, _ in catalog.interfaces() if name.startswith(("dataflare:host/", "dataflare:data/"))}
        assert set(catalog.world("dataflare:host/imports@1.0.0").imports) == hosts

    def test_it_keeps_its_rules(self) -> None:
        assert [str(problem) for problem in check_catalog(standard())] == []

    @pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
    def test_each_file_is_laid_out_as_the_others(self, file: Path) -> None:
        assert check_layout(file.read_text(encoding="utf-8"), file.name) == []

    def test_nothing_that_is_published_has_changed(self) -> None:
        assert drift(standard(), read_lock(FOLDER / "published.json")) == []

    def test_the_reference_is_up_to_date(self) -> None:
        assert (FOLDER / "README.md").read_text(encoding="utf-8") == reference(standard())


class TestAnotherResolversVerdict:
    """componentize-py resolves WIT with the toolchains' own parser."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_it_resolves_each_kinds_world_to_the_same_imports_and_exports(self, kind: str, tmp_path: Path) -> None:
        tool = Path(sys.executable).parent / "componentize-py"
        if not tool.exists():
            pytest.skip("componentize-py is not installed: pip install 'dataflare[python-guests]'")
        shutil.copytree(FOLDER / "plugin", tmp_path / "wit")
        for name in ("data", "host"):
            shutil.copytree(FOLDER / name, tmp_path / "wit" / "deps" / name)
        command = [str(tool), "-d", str(tmp_path / "wit"), "-w", f"{kind}-plugin"]
        done = subprocess.run([*command, "bindings", str(tmp_path / "out")], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        world = load(tmp_path / "wit").world(f"dataflare:plugin/{kind}-plugin@1.0.0")
        for folder, items in (("imports", world.imports), ("exports", world.exports)):
            found = {path.stem for path in (tmp_path / "out" / "wit_world" / folder).glob("*.py")} - {"__init__"}
            assert found == {item.name.replace("-", "_") for item in items.values()}


class TestTheLock:
    def test_a_changed_interface_is_drift(self, copied: Path) -> None:
        edit(copied / "host" / "clock.wit", "seconds: u64", "seconds: u32")
        assert drift(load(copied), read_lock(copied / "published.json")) == [
            "dataflare:host/clock@1.0.0 is published, and changed: a change needs a new version of its package"
        ]

    def test_a_changed_gate_is_drift(self, copied: Path) -> None:
        edit(copied / "host" / "random.wit", "  @since(version = 1.0.0)\n  get", "  @since(version = 0.9.0)\n  get")
        assert len(drift(load(copied), read_lock(copied / "published.json"))) == 1

    def test_a_changed_world_is_drift(self, copied: Path) -> None:
        edit(copied / "host" / "worlds.wit", "  import tasks;\n", "")
        assert (
            "host/imports@1.0.0 is published, and changed"
            in drift(load(copied), read_lock(copied / "published.json"))[0]
        )

    def test_a_removed_interface_is_drift(self, copied: Path) -> None:
        (copied / "plugin" / "snapshot.wit").unlink()
        assert drift(load(copied), read_lock(copied / "published.json")) == [
            "dataflare:plugin/snapshot@1.0.0 is published, and gone"
        ]

    def test_a_new_interface_is_drift_until_it_is_published(self, copied: Path) -> None:
        (copied / "host" / "new.wit").write_text("package dataflare:host@1.0.0;\n\ninterface new-one {}\n")
        lock = copied / "published.json"
        assert "is not published yet" in drift(load(copied), read_lock(lock))[0]
        assert publish(load(copied), lock) == ["dataflare:host/new-one@1.0.0"]
        assert drift(load(copied), read_lock(lock)) == []

    def test_documentation_and_comments_are_no_drift(self, copied: Path) -> None:
        edit(copied / "host" / "clock.wit", "/// A moment in UTC.", "/// A moment. // of time")
        assert drift(load(copied), read_lock(copied / "published.json")) == []

    def test_publishing_never_changes_an_entry(self, copied: Path) -> None:
        edit(copied / "host" / "clock.wit", "seconds: u64", "seconds: u32")
        before = (copied / "published.json").read_bytes()
        with pytest.raises(WitError, match=r"dataflare:host/clock@1\.0\.0"):
            publish(load(copied), copied / "published.json")
        assert (copied / "published.json").read_bytes() == before

    def test_publishing_twice_adds_nothing(self, copied: Path) -> None:
        assert publish(load(copied), copied / "published.json") == []

    @pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', "[" * 100_000])
    def test_a_damaged_lock_is_an_error(self, content: str, tmp_path: Path) -> None:
        (tmp_path / "lock.json").write_text(content)
        with pytest.raises(WitError, match=r"lock\.json"):
            read_lock(tmp_path / "lock.json")

    def test_a_digest_depends_on_the_order_of_fields(self, tmp_path: Path) -> None:
        found = set()
        for fields in ("a: u8, b: u8", "b: u8, a: u8"):
            (tmp_path / "x.wit").write_text(f"package a:b; interface i {{ record r {{ {fields} }} }}")
            found.add(interface_digest(load(tmp_path).interface("a:b/i")))
        assert len(found) == 2

    def test_every_interface_and_world_has_a_digest(self) -> None:
        catalog = standard()
        named = [name for name, _ in catalog.interfaces()] + [name for name, _ in catalog.worlds()]
        assert sorted(digests(catalog)) == sorted(named)


class TestTheReference:
    def test_every_link_within_it_leads_somewhere(self) -> None:
        text = reference(standard())
        targets = re.findall(r'<a id="([^"]+)"></a>', text)
        assert len(set(targets)) == len(targets)
        assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= set(targets)

    def test_every_link_to_a_file_leads_to_one(self) -> None:
        if not (FOLDER.parent / "docs").is_dir():
            pytest.skip("the documentation is not part of an installed package")
        for path in re.findall(r"\]\(((?!#|https:)[^)]+)\)", reference(standard())):
            assert (FOLDER / path).is_file(), path

    def test_it_names_every_function_type_field_and_case(self) -> None:
        text = reference(standard())
        for _, interface in standard().interfaces():
            names = [each.name for each in (*interface.functions, *interface.types)]
            for definition in interface.types:
                for attribute in ("fields", "cases", "flags", "functions"):
                    members = getattr(definition, attribute, ())
                    names += [f"{definition.name}.{m.name}" if isinstance(m, Function) else m.name for m in members]
            assert [name for name in names if f"`{name}`" not in text and f"`{name}(" not in text] == []


class TestTheCommand:
    def test_check_passes_on_the_standard(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check"]) == 0
        assert capsys.readouterr().out.startswith("3 packages: rules kept")

    def test_check_names_each_fault(self, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
        edit(copied / "host" / "random.wit", "length: u32", "size: u32")
        assert main(["--folder", str(copied), "check"]) == 1
        said = capsys.readouterr().err
        for part in (
            "does not end in its unit",
            "random@1.0.0 is published, and changed",
            "README.md is not up to date",
        ):
            assert part in said

    def test_a_file_that_is_no_wit_is_an_error_with_its_place(
        self, copied: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        edit(copied / "host" / "random.wit", "length: u32", "length u32")
        assert main(["--folder", str(copied), "check"]) == 1
        assert "random.wit:9:33: expected `:`" in capsys.readouterr().err

    def test_the_reference_is_printed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["reference"]) == 0
        assert capsys.readouterr().out == reference(standard())

    def test_publishing_says_what_is_new(self, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (copied / "published.json").unlink()
        assert main(["--folder", str(copied), "publish"]) == 0
        assert "published dataflare:host/clock@1.0.0\n" in capsys.readouterr().out
        assert main(["--folder", str(copied), "publish"]) == 0
        assert capsys.readouterr().out == "nothing is new\n"
