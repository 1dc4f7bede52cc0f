"""`dataflare dev`: rounds, what begins the next one, and what a plugin that is wrong for now does to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dataflare.authoring.dev import Developing, Round
from dataflare.authoring.native_run import NativeRunFailed
from dataflare.authoring.samples import Sample
from dataflare.authoring.templates import new_plugin
from dataflare.authoring.watching import FileWatch
from dataflare.cli.app import app
from dataflare.errors import ConfigError, PluginError
from dataflare.runtime.host import Host
from dataflare.toolchain.run_tool import ToolStopped, run, stopped_when


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a processor in Python."""
    new_plugin(tmp_path / "trim", kind="processor", language="python")
    return tmp_path / "trim"


@contextmanager
def developing(folder: Path, sample: Sample | None = None, **options: Any) -> Iterator[Developing]:
    with Host() as host:
        yield Developing(folder, host, sample or Sample(), **{"sandbox": False, "build_timeout_s": 60, **options})


def once(folder: Path, sample: Sample | None = None, **options: Any) -> Round:
    with developing(folder, sample, **options) as made:
        (found,) = made.rounds(once=True)
    return found


def error_of(found: Round) -> Exception:
    assert found.error is not None
    return found.error


def after(seconds: float, act: Callable[[], object]) -> None:
    threading.Timer(seconds, act).start()


def test_round_shows_rows_before_and_after_with_the_time_of_each_step(folder: Path) -> None:
    found = once(folder)
    assert found.tried is not None and found.good and found.native
    assert found.tried.before == [{"id": 1, "name": " Ada "}, {"id": 2, "name": "  "}, {"id": 3, "name": "Béla"}]
    assert found.tried.after == [{"id": 1, "name": "Ada"}, {"id": 3, "name": "Béla"}]
    assert list(found.steps) == ["start", "load", "rows"] and min(found.steps.values()) > 0
    assert found.tried.sample == "tests/cases/trims.yaml" and found.tried.expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import helper\n", "helper.py:2: ValueError: odd"),
        ("x = 1\n", "plugin.py has to have one subclass of Processor"),
        ("import os\nos._exit(7)\n", "the plugin ended its process: ended with code 7"),
        ("import os\nos._exit(0)\n", "the plugin ended its process"),
    ],
)
def test_plugin_that_cannot_be_imported_is_told_with_file_and_line(folder: Path, text: str, says: str) -> None:
    (folder / "helper.py").write_text("\nraise ValueError('odd')\n")
    (folder / "plugin.py").write_text(text)
    error = error_of(once(folder))
    assert isinstance(error, NativeRunFailed) and str(error).startswith(says)


def test_exception_in_the_plugin_is_told_with_its_line_and_what_was_printed_is_shown(folder: Path) -> None:
    plugin = folder / "plugin.py"
    text = plugin.read_text()
    plugin.write_text(text.replace("value = record", "print('seen', record['id'])\n        value = record"))
    assert "seen 1" in once(folder).printed
    plugin.write_text(text.replace("value = record", "1 / 0\n        value = record"))
    plugin.write_text(plugin.read_text().replace("1 / 0", "print('at', record['id'])\n        1 / 0"))
    found = once(folder)
    assert "ZeroDivisionError: division by zero" in str(error := error_of(found))
    assert "at 1" in found.printed and list(found.steps) == ["start", "load", "rows"]
    assert "plugin.py" in str(error) and "in process" in str(error)


def test_frames_that_the_author_did_not_write_are_left_out(folder: Path) -> None:
    plugin = folder / "plugin.py"
    text = plugin.read_text()
    plugin.write_text(
        text.replace("value = record", "import json\n        json.dumps(object())\n        value = record")
    )
    error = str(error_of(once(folder)))
    assert "not JSON serializable" in error and "at plugin.py:" in error and "encoder.py" not in error


def test_rows_of_a_file_and_a_configuration_take_the_place_of_the_cases(copied: Path, tmp_path: Path) -> None:
    rows = tmp_path / "people.csv"
    rows.write_text("n,town\n1,ROME\n2,OSLO\n3,BERN\n")
    found = once(copied, Sample(file=rows, config={"lowercase": ["town"]}, max_rows=2))
    assert found.tried is not None and not found.tried.expected
    assert found.tried.after == [{"n": 1, "town": "rome"}, {"n": 2, "town": "oslo"}]


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        (Sample(case="ones"), "there is no case 'ones'"),
        (Sample(file=Path("/nowhere/a.csv")), "/nowhere/a.csv"),
        (Sample(file=Path("/nowhere/a.txt")), "ends in none of csv, jsonl, parquet, arrow"),
    ],
)
def test_sample_that_is_not_there_is_an_error_of_the_round(copied: Path, sample: Sample, says: str) -> None:
    error = error_of(once(copied, sample))
    assert says in str(error)


def test_folder_without_cases_asks_for_rows(copied: Path) -> None:
    (copied / "tests" / "cases" / "one.yaml").unlink()
    error = error_of(once(copied))
    assert isinstance(error, ConfigError) and "give --sample FILE" in error.hint


def test_component_is_built_compiled_loaded_and_tried(copied: Path) -> None:
    found = once(copied)
    assert found.tried is not None and found.good and not found.native
    assert list(found.steps) == ["build", "compile", "load", "rows"]
    assert found.tried.after == [{"b": 1}]


def test_case_that_fails_is_a_round_that_is_not_good(copied: Path) -> None:
    (copied / "tests" / "cases" / "one.yaml").write_text("input: [{ a: 1 }]\noutput: [{ b: 1 }]\n")
    found = once(copied)
    assert not found.good and found.tried is not None
    assert found.tried.problem == 'tests/cases/one.yaml:2: row 0 is {"a": 1}, not {"b": 1}'


def test_error_that_a_case_expects_is_good(copied: Path) -> None:
    case = copied / "tests" / "cases" / "one.yaml"
    case.write_text("config: { renamed: 1 }\ninput: [{ a: 1 }]\nerror: { kind: invalid-config }\n")
    assert once(copied).good
    case.write_text("config: { renamed: 1 }\ninput: [{ a: 1 }]\noutput: []\n")
    assert isinstance(error_of(once(copied)), PluginError)


def test_changes_begin_rounds_whatever_is_wrong_in_between(copied: Path) -> None:
    manifest, good = copied / "plugin.yaml", (copied / "plugin.yaml").read_text()
    with developing(copied) as made:
        rounds = made.rounds()
        assert next(rounds).good
        manifest.write_text("name: [")
        broken = next(rounds)
        assert broken.changed == ("plugin.yaml",) and isinstance(broken.error, ConfigError)
        manifest.write_text(good)
        assert next(rounds).good
        (copied / "plugin.txt").write_text("wrong: no such word")
        assert str(error_of(next(rounds))) == "plugin.txt:1: wrong: no such word"
        (copied / "plugin.txt").unlink()
        assert "plugin.txt: cannot be read" in str(error_of(next(rounds)))
        (copied / "plugin.txt").write_text("good")
        assert next(rounds).good


def test_change_during_a_build_ends_it(copied: Path) -> None:
    (copied / "plugin.txt").write_text("sleep 100")
    with developing(copied) as made:
        after(1, lambda: (copied / "plugin.txt").write_text("good"))
        begin = time.monotonic()
        found = next(made.rounds())
    assert found.good and found.changed == ("plugin.txt",) and time.monotonic() - begin < 30


def test_build_that_does_not_end_is_ended(copied: Path) -> None:
    (copied / "plugin.txt").write_text("sleep 100")
    assert "did not end within 1 s" in str(error_of(once(copied, build_timeout_s=1)))


def test_folder_that_is_removed_ends_it(copied: Path) -> None:
    with developing(copied) as made:
        rounds = made.rounds()
        assert next(rounds).good
        copied.rename(copied.with_name("elsewhere"))
        with pytest.raises(ConfigError, match="the folder is gone"):
            next(rounds)


def test_folder_without_a_plugin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no plugin\.yaml"), developing(tmp_path):
        pass


def test_watch_tells_contents_that_change_not_times(tmp_path: Path) -> None:
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_text("one")
    watch = FileWatch(lambda: {file, other})
    watch.accept()
    os.utime(file, (1, 1))
    assert watch.changes() == []
    file.write_text("two")
    other.write_text("")
    assert watch.changes() == [file, other]
    watch.accept()
    file.unlink()
    os.mkfifo(file)
    assert watch.changes() == [file]


def test_watch_waits_until_nobody_writes_any_more(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("")
    watch = FileWatch(lambda: [file])
    watch.accept()

    def write() -> None:
        with open(file, "w") as target:
            for part in range(8):
                target.write(str(part))
                target.flush()
                time.sleep(0.05)

    after(0.1, write)
    assert watch.wait() == [file]
    assert file.read_text() == "01234567"


def test_tools_that_are_not_wanted_are_ended_with_what_they_started(tmp_path: Path) -> None:
    wanted = time.monotonic() + 0.5
    with stopped_when(lambda: time.monotonic() > wanted, after_s=60), pytest.raises(ToolStopped):
        run(["sh", "-c", "sleep 100 & echo $! > pid; wait"], cwd=tmp_path)
    pid = int((tmp_path / "pid").read_text())
    time.sleep(0.1)
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().split(")")[1].split()[0] == "Z"


@contextmanager
def command(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-m", "dataflare.cli.main", "dev", ".", *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        line, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        yield process


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_interrupt_ends_a_plugin_that_loops_and_leaves_no_process(folder: Path) -> None:
    plugin = folder / "plugin.py"
    text = plugin.read_text()
    with command(folder, "--json") as process:
        assert process.stdout is not None and process.stderr is not None
        first = json.loads(process.stdout.readline())
        assert first["good"] and first["round"] == 1 and first["after"][0] == {"id": 1, "name": "Ada"}
        pid = folder / "pid"
        looping = f"import os, pathlib\npathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\nwhile True: pass\n"
        plugin.write_text(text + looping)
        for _ in range(600):
            if pid.is_file() and pid.read_text():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out), err) == (130, {"status": "interrupted"}, "interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def dev(*words: str) -> Any:
    return CliRunner().invoke(app, ["dev", *words])


def test_exit_code_of_one_round_says_how_it_ended(folder: Path, copied: Path) -> None:
    assert dev(str(copied), "--once").exit_code == 0
    result = dev(str(copied), "--once", "--case", "nope", "--json")
    assert result.exit_code == 2 and json.loads(result.stdout)["error"]["type"] == "ConfigError"
    (copied / "tests" / "cases" / "one.yaml").write_text("input: [{ a: 1 }]\noutput: [{ b: 1 }]\n")
    result = dev(str(copied), "--once")
    assert result.exit_code == 1 and "FAILED tests/cases/one.yaml:2: row 0 is" in result.stdout
    (folder / "plugin.py").write_text("x = (\n")
    result = dev(str(folder), "--once")
    assert result.exit_code == 1 and "plugin.py:1: SyntaxError" in result.stderr
    assert dev(str(folder / "nowhere"), "--once").exit_code == 2
