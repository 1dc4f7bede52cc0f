from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dataflare.errors import ConfigError
from dataflare.toolchain.build import build, check
from dataflare.toolchain.guests import Guest, Project
from dataflare.toolchain.run_tool import BuildFailed

from .conftest import COMPONENT, FakeDriver

MakeProject = Callable[..., Project]


def probe(project: Project) -> Guest:
    return project.guests["probe"]


def test_a_guest_is_built_into_its_output(make_project: MakeProject) -> None:
    project = make_project()
    done = build(probe(project), driver=FakeDriver())
    assert (done.how, probe(project).output.read_bytes()) == ("built", COMPONENT + b"one")


def test_a_guest_is_built_once(make_project: MakeProject) -> None:
    project, driver = make_project(), FakeDriver()
    assert [build(probe(project), driver=driver).how for _ in range(2)] == ["built", "up to date"]
    assert driver.builds == 1


def test_a_lost_output_comes_from_the_cache(make_project: MakeProject) -> None:
    project, driver = make_project(), FakeDriver()
    build(probe(project), driver=driver)
    probe(project).output.unlink()
    assert build(probe(project), driver=driver).how == "from the cache"
    assert driver.builds == 1


@pytest.mark.parametrize("changed", ["guest-sdks/rust/examples/probe/source", "wit/host/one.wit"])
def test_a_changed_source_is_built_again(make_project: MakeProject, changed: str) -> None:
    project, driver = make_project(), FakeDriver()
    build(probe(project), driver=driver)
    (project.root / changed).write_text("two")
    assert build(probe(project), driver=driver).how == "built"


def test_another_toolchain_builds_again(make_project: MakeProject) -> None:
    project = make_project()
    build(probe(project), driver=FakeDriver())
    assert build(probe(project), driver=FakeDriver(identity="fake 2")).how == "built"


def test_a_committed_component_that_is_up_to_date_needs_no_toolchain(make_project: MakeProject, cache: Path) -> None:
    project, driver = make_project(committed=True), FakeDriver()
    build(probe(project), driver=driver)
    for path in (cache / "guests").iterdir():
        path.unlink()
    assert build(probe(project), driver=driver).how == "up to date"
    assert driver.builds == 1


def test_a_committed_component_that_was_tampered_with_is_replaced(make_project: MakeProject) -> None:
    project, driver = make_project(committed=True), FakeDriver()
    build(probe(project), driver=driver)
    probe(project).output.write_bytes(COMPONENT + b"evil")
    assert build(probe(project), driver=driver).how == "from the cache"
    assert probe(project).output.read_bytes() == COMPONENT + b"one"


def test_the_record_says_how_to_rebuild(make_project: MakeProject) -> None:
    project = make_project(committed=True)
    build(probe(project), driver=FakeDriver())
    record = json.loads(probe(project).output.with_name("components.json").read_text())
    assert record["probe"]["rebuild"] == "python -m dataflare.toolchain build probe"


def test_a_local_build_leaves_the_committed_component_alone(make_project: MakeProject) -> None:
    project = make_project(committed=True)
    build(project.locally(probe(project)), driver=FakeDriver())
    assert not probe(project).output.exists()
    assert (project.root / "build" / "guests" / "probe.wasm").is_file()


def test_what_is_no_component_is_refused_and_not_kept(make_project: MakeProject, cache: Path) -> None:
    class CoreModule(FakeDriver):
        def build(self, guest: Guest, work: Path) -> bytes:
            return b"\0asm\x01\0\0\0"

    project = make_project()
    with pytest.raises(BuildFailed, match="not a component"):
        build(probe(project), driver=CoreModule())
    assert not probe(project).output.exists()
    assert not (cache / "guests").exists()


def test_sources_that_change_during_a_build_are_not_mistaken_for_what_was_built(make_project: MakeProject) -> None:
    class Editor(FakeDriver):
        def build(self, guest: Guest, work: Path) -> bytes:
            component = super().build(guest, work)
            (guest.folder / "source").write_text("two")
            return component

    project = make_project()
    with pytest.raises(BuildFailed, match="changed during the build"):
        build(probe(project), driver=Editor())
    assert build(probe(project), driver=FakeDriver()).how == "built"


def test_a_source_that_is_not_there_is_named(make_project: MakeProject) -> None:
    project = make_project()
    (probe(project).folder / "source").unlink()
    with pytest.raises(ConfigError, match="source"):
        build(probe(project), driver=FakeDriver())


def test_a_check_builds_again_whatever_is_in_the_cache(make_project: MakeProject) -> None:
    project, driver = make_project(committed=True), FakeDriver()
    build(probe(project), driver=driver)
    assert check(probe(project), driver=driver).how == "identical"
    assert driver.builds == 2


def test_a_check_notices_other_bytes(make_project: MakeProject) -> None:
    project = make_project(committed=True)
    build(probe(project), driver=FakeDriver())
    with pytest.raises(BuildFailed, match="is not what its sources give"):
        check(probe(project), driver=FakeDriver(salt=b"!"))


def test_a_check_notices_sources_that_were_not_built(make_project: MakeProject) -> None:
    project = make_project(committed=True)
    build(probe(project), driver=FakeDriver())
    (probe(project).folder / "source").write_text("two")
    with pytest.raises(BuildFailed, match=r"components\.json does not belong"):
        check(probe(project), driver=FakeDriver())


def test_there_is_nothing_to_check_for_what_is_not_committed(make_project: MakeProject) -> None:
    project = make_project()
    with pytest.raises(ConfigError, match="not committed"):
        check(probe(project), driver=FakeDriver())


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_record_is_named(make_project: MakeProject, text: str) -> None:
    project = make_project(committed=True)
    build(probe(project), driver=FakeDriver())
    probe(project).output.with_name("components.json").write_text(text)
    with pytest.raises(ConfigError, match=r"components\.json"):
        build(probe(project), driver=FakeDriver())
