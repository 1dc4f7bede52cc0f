from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dataflare.errors import ConfigError
from dataflare.pipeline.outputs import AtomicFile, as_named, open_output
from dataflare.pipeline.partials import create_partial_file, create_partial_folder, remove_leftovers
from dataflare.pipeline.run_errors import DataError
from dataflare.pipeline.writers import open_letters
from outputs_kit import CONNECTORS, ROWS, TEXTS, destination_of, write

# What is there already


@pytest.mark.parametrize("connector", CONNECTORS)
def test_a_file_that_is_there_is_replaced_and_the_report_names_it(connector, tmp_path):
    path = tmp_path / "out"
    assert write(connector, path).published.to_json() == {"path": str(path), "action": "created", "files": 1}
    first = path.stat().st_ino
    assert write(connector, path).published.action == "replaced"
    assert path.stat().st_ino != first


@pytest.mark.parametrize("connector", CONNECTORS)
def test_a_run_that_is_to_fail_where_the_file_exists_leaves_it_alone(connector, tmp_path):
    path = tmp_path / "out"
    path.write_text("before")
    with pytest.raises(DataError, match="exists already"):
        destination_of(connector, path, if_exists="fail").prepare(ROWS.schema)
    assert (os.listdir(tmp_path), path.read_text()) == (["out"], "before")
    path.unlink()
    assert write(connector, path, if_exists="fail").published.action == "created"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_comes_up_during_the_run_is_not_replaced(links, tmp_path, monkeypatch):
    path = tmp_path / "out"
    output = AtomicFile(path, if_exists="fail")
    path.write_text("theirs")
    if not links:
        monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no hard links")))
    with pytest.raises(DataError, match="came up"):
        output.commit()
    assert (os.listdir(tmp_path), path.read_text()) == (["out"], "theirs")


def test_without_hard_links_a_new_file_appears_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no hard links")))
    output = AtomicFile(tmp_path / "out", if_exists="fail")
    output.file.write(b"x")
    output.commit()
    assert (os.listdir(tmp_path), (tmp_path / "out").read_bytes()) == (["out"], b"x")


@pytest.mark.parametrize("connector", ["csv", "jsonl"])
def test_rows_are_appended(connector, tmp_path):
    path = tmp_path / "out"
    assert write(connector, path, if_exists="append").published.action == "created"
    assert write(connector, path, if_exists="append").published.action == "appended"
    more = TEXTS[connector].removeprefix('"n","t"\n')
    assert path.read_text() == TEXTS[connector] + more


@pytest.mark.parametrize("connector", ["csv", "jsonl"])
def test_rows_are_appended_to_a_file_without_a_last_line_end_and_to_an_empty_one(connector, tmp_path):
    path = tmp_path / "out"
    path.write_text(TEXTS[connector].rstrip("\n"))
    write(connector, path, if_exists="append")
    assert path.read_text() == TEXTS[connector] + TEXTS[connector].removeprefix('"n","t"\n')
    path.write_text("")
    write(connector, path, if_exists="append")
    assert path.read_text() == TEXTS[connector]


@pytest.mark.parametrize(
    ("connector", "text", "words"),
    [
        ("csv", "n;t\n1;x\n", "its header is 'n;t', and the rows have 'n', 't'"),
        ("csv", "t,n\nx,1\n", "its header is 't', 'n'"),
        ("jsonl", "n,t\n1,x\n", "it is not JSON Lines"),
        ("jsonl", '{"n": 1}\n{"n": ', "its last line is not a whole record"),
        ("jsonl", '[{"n": 1}]\n', "it is not JSON Lines"),
        ("csv", 'n,t\n1,"2\n', "its last record is not whole"),
        ("csv", '\ufeff"n",t\n1,"2""\n', "its last record is not whole"),
    ],
)
def test_rows_are_not_appended_to_what_does_not_fit(connector, text, words, tmp_path):
    path = tmp_path / "out"
    path.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        write(connector, path, if_exists="append")
    assert "if_exists: replace" in caught.value.hint
    assert (os.listdir(tmp_path), path.read_text()) == (["out"], text)


@pytest.mark.parametrize("text", ['\ufeff"n",t\n1,"2"', 'n,t\n1,2"\n', 'n,t\n1,"a\n""b"\n'])
def test_rows_are_appended_to_a_csv_whose_quotes_are_closed(text, tmp_path):
    path = tmp_path / "out"
    path.write_text(text)
    write("csv", path, if_exists="append")
    assert path.read_text() == text.removesuffix("\n") + "\n" + TEXTS["csv"].removeprefix('"n","t"\n')


@pytest.mark.parametrize("connector", ["csv", "jsonl", "parquet", "arrow"])
@pytest.mark.parametrize("ending", ["gz", "ZST", "bz2", "xz"])
def test_a_name_that_promises_a_compressed_file_is_refused(connector, ending, tmp_path):
    with pytest.raises(ValidationError, match="compresses nothing by its name") as caught:
        write(connector, tmp_path / f"out.{ending}")
    assert f"write {tmp_path / 'out'}, " in caught.value.errors()[0]["ctx"]["hint"]
    assert list(tmp_path.iterdir()) == []


def test_an_append_that_is_aborted_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "out"
    path.write_text(TEXTS["jsonl"])
    destination = destination_of("jsonl", path, if_exists="append")
    destination.prepare(ROWS.schema)
    destination.write(ROWS)
    destination.abort()
    assert (os.listdir(tmp_path), path.read_text()) == (["out"], TEXTS["jsonl"])


def test_rows_that_another_run_appended_are_not_lost(tmp_path):
    path = tmp_path / "out"
    path.write_text(TEXTS["jsonl"])
    destination = destination_of("jsonl", path, if_exists="append")
    destination.prepare(ROWS.schema)
    write("jsonl", path, if_exists="append")
    with pytest.raises(DataError, match="changed by somebody else"):
        destination.finish()
    assert path.read_text() == TEXTS["jsonl"] * 2


@pytest.mark.parametrize("links", [True, False])
def test_rows_of_another_run_that_made_the_file_to_append_to_are_not_lost(links, tmp_path, monkeypatch):
    path = tmp_path / "out"
    destination = destination_of("jsonl", path, if_exists="append")
    destination.prepare(ROWS.schema)
    destination.write(ROWS)
    write("jsonl", path, if_exists="append")
    if not links:
        monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no hard links")))
    with pytest.raises(DataError, match="changed by somebody else while the run was under way"):
        destination.finish()
    assert (os.listdir(tmp_path), path.read_text()) == (["out"], TEXTS["jsonl"])


def test_dead_letters_of_another_run_are_not_lost(tmp_path):
    path = tmp_path / "letters"
    both = [open_letters(path, as_named, repeated=lambda _: False) for _ in range(2)]
    for letters in both:
        letters.prepare(ROWS.schema)
        letters.write(ROWS)
    both[0].finish()
    with pytest.raises(DataError, match="changed by somebody else"):
        both[1].finish()
    assert path.read_text() == TEXTS["jsonl"]


@pytest.mark.parametrize("connector", ["parquet", "arrow"])
def test_a_format_that_cannot_be_appended_to_says_so(connector):
    with pytest.raises(ValidationError, match="rows cannot be added to a finished"):
        destination_of(connector, Path("out"), if_exists="append")


# Links, permissions, and what is not a regular file


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "data").mkdir()
    target = tmp_path / "data" / "real.csv"
    target.write_text("before")
    (tmp_path / "hop").symlink_to("data/real.csv")
    link = tmp_path / "link.csv"
    link.symlink_to("hop")
    destination = write("csv", link)
    assert link.is_symlink()
    assert target.read_text() == TEXTS["csv"]
    assert destination.published.path == str(target)
    assert os.listdir(tmp_path / "data") == ["real.csv"]


def test_a_symbolic_link_to_nothing_gets_its_target(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("sub/file")
    write("csv", link)
    assert (link.is_symlink(), (tmp_path / "sub" / "file").read_text()) == (True, TEXTS["csv"])


def test_links_in_a_circle_are_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(DataError, match="symbolic links"):
        open_output(tmp_path / "a")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_permissions_are_kept_also_while_the_file_is_written(mode, tmp_path):
    path = tmp_path / "out"
    path.touch()
    path.chmod(mode)
    destination = destination_of("csv", path)
    destination.prepare(ROWS.schema)
    partial = next(name for name in os.listdir(tmp_path) if name != "out")
    assert (tmp_path / partial).stat().st_mode & 0o777 == 0o600
    destination.finish()
    assert path.stat().st_mode & 0o7777 == mode


def test_a_new_file_has_the_permissions_of_every_new_file(tmp_path):
    (tmp_path / "other").touch()
    write("csv", tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_is_kept(tmp_path):
    path = tmp_path / "out"
    path.touch()
    os.chown(path, 1234, 2345)
    path.chmod(0o640)
    write("csv", path)
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1234, 2345, 0o640)


def test_a_file_that_one_may_not_write_to_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "out"
    path.write_text("before")
    path.chmod(0o444)
    monkeypatch.setattr("os.access", lambda *_: False)  # which root always may
    with pytest.raises(DataError, match="you may not write to it"):
        write("csv", path)
    assert path.read_text() == "before"


def test_a_pipe_is_written_to(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    destination = write("jsonl", path)
    assert os.read(reader, 1000).decode() == TEXTS["jsonl"]
    assert destination.published.action == "streamed"
    os.close(reader)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_pipe_that_nobody_reads_is_an_error_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="a pipe that no program reads"):
        open_output(tmp_path / "pipe")


def test_a_device_is_written_to_and_stays(tmp_path):
    assert write("csv", Path("/dev/null")).published.action == "streamed"
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("connector", ["parquet", "arrow"])
def test_a_format_that_needs_a_file_refuses_a_device(connector):
    with pytest.raises(DataError, match="is not a regular file"):
        write(connector, Path("/dev/null"))


@pytest.mark.parametrize("place", ["/proc/self/environ", "/proc/self/fd/0", "/proc/1/fd/1", "/sys/kernel/x"])
def test_no_part_of_the_system_is_written_to(place):
    with pytest.raises(DataError, match=r"part of the system|cannot be written"):
        open_output(Path(place))


SCRIPT = """
import sys, resource, signal
from pathlib import Path
import pyarrow as pa
sys.path.insert(0, {tests!r})
from outputs_kit import ROWS, destination_of, write
"""


def run_script(code: str, **kwargs: Any) -> subprocess.CompletedProcess[bytes]:
    text = SCRIPT.format(tests=str(Path(__file__).parents[1] / "support")) + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", text], capture_output=True, check=False, timeout=60, **kwargs)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_is_written_to_whatever_it_is(name, tmp_path):
    code = f"write('jsonl', Path({name!r}))"
    assert run_script(code).stdout.decode() == TEXTS["jsonl"]
    before = os.stat("/dev/stdout", follow_symlinks=False).st_mode
    with (tmp_path / "out").open("wb") as file:
        text = SCRIPT.format(tests=str(Path(__file__).parents[1] / "support")) + code
        subprocess.run([sys.executable, "-c", text], stdout=file, check=True, timeout=600)
        inode = os.fstat(file.fileno()).st_ino
    assert (tmp_path / "out").read_text() == TEXTS["jsonl"]
    assert ((tmp_path / "out").stat().st_ino, os.listdir(tmp_path)) == (inode, ["out"])
    assert os.stat("/dev/stdout", follow_symlinks=False).st_mode == before


@pytest.mark.parametrize("connector", CONNECTORS)
def test_a_disk_that_fills_up_is_an_error_and_the_old_file_stays(connector, tmp_path):
    (tmp_path / "out").write_text("before")
    done = run_script(
        f"""
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        destination = destination_of({connector!r}, Path({str(tmp_path / "out")!r}))
        rows = pa.RecordBatch.from_pydict({{"n": pa.array(range(1_000_000), pa.int64())}})
        try:
            destination.prepare(rows.schema)
            for _ in range(3):
                destination.write(rows)
            destination.finish()
        except Exception as error:
            print(type(error).__name__, error)
        destination.abort()
        destination.close()
        """
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().startswith(f"DataError {tmp_path / 'out'}: ")
    assert "large" in done.stdout.decode()
    assert (os.listdir(tmp_path), (tmp_path / "out").read_text()) == (["out"], "before")


# Leftovers


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "out"
    code = f"d = destination_of('csv', Path({str(path)!r})); d.prepare(ROWS.schema); import os; os.kill(os.getpid(), 9)"
    assert run_script(code).returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 1
    write("csv", path)
    assert os.listdir(tmp_path) == ["out"]


def test_what_a_run_that_lives_is_writing_stays(tmp_path):
    path = tmp_path / "out"
    first = AtomicFile(path)
    first.file.write(b"first")
    second = AtomicFile(path)
    assert len(os.listdir(tmp_path)) == 2
    second.file.write(b"second")
    second.commit()
    first.commit()
    assert (os.listdir(tmp_path), path.read_bytes()) == (["out"], b"first")


def test_only_partial_files_of_the_same_target_are_removed(tmp_path):
    names = [".out.0123456789abcdef.partial", ".other.0123456789abcdef.partial", ".out.mine.partial", ".out.partial"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".out.1123456789abcdef.partial").symlink_to("elsewhere")
    os.mkfifo(tmp_path / ".out.2123456789abcdef.partial")
    remove_leftovers(tmp_path / "out")
    assert ".out.0123456789abcdef.partial" not in os.listdir(tmp_path)
    assert set(names[1:]) <= set(os.listdir(tmp_path))
    assert (tmp_path / ".out.1123456789abcdef.partial").is_symlink()


def test_no_partial_file_is_taken_for_a_leftover_while_it_is_being_made(tmp_path):
    target, stop = tmp_path / "out", threading.Event()

    def clean() -> None:
        while not stop.is_set():
            remove_leftovers(target)

    cleaner = threading.Thread(target=clean)
    cleaner.start()
    try:
        for make in [create_partial_file] * 300 + [lambda target, _: create_partial_folder(target)] * 300:
            path, descriptor = make(target, 0o600)
            assert path.exists()
            os.close(descriptor)
    finally:
        stop.set()
        cleaner.join()


def test_a_partial_folder_that_is_removed_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    target, made = tmp_path / "out", []

    def mkdir(path: Path, *args: object, real=Path.mkdir) -> None:
        real(path)
        made.append(path)
        if len(made) == 1:
            remove_leftovers(target)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    path, descriptor = create_partial_folder(target)
    os.close(descriptor)
    assert (len(made), made[1], path.is_dir()) == (2, path, True)


def test_a_long_name_in_many_bytes_is_written(tmp_path):
    path = tmp_path / ("é" * 127)
    write("csv", path)
    assert os.listdir(tmp_path) == [path.name]


# Two nodes and one file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text("n\n1\n")
    os.link(tmp_path / "in.csv", tmp_path / "hard.csv")
    (tmp_path / "soft.csv").symlink_to("in.csv")
    (tmp_path / "sub").symlink_to(".")
    return tmp_path


@pytest.mark.parametrize("name", ["in.csv", "./in.csv", "hard.csv", "soft.csv", "sub/in.csv"])
def test_a_file_that_is_read_is_not_written(name, folder, specify):
    with pytest.raises(ConfigError, match="node 'in' reads") as caught:
        specify(f"  in: {{connector: csv, read: in.csv}}\n  out: {{connector: csv, write: {name}, input: in}}\n")
    assert caught.value.where.endswith("pipeline.yaml:4")


@pytest.mark.parametrize("name", ["pipeline.yaml", "source.wasm"])
def test_neither_the_pipeline_nor_its_plugins_are_written(name, folder, specify):
    (folder / "pipeline.yaml").touch()
    with pytest.raises(ConfigError, match=f"would write .*{name}"):
        specify(f"  in: {{plugin: source.wasm}}\n  out: {{connector: csv, write: {name}, input: in}}\n")


@pytest.mark.parametrize("name", ["new.csv", "sub/new.csv", "hard.csv"])
def test_no_file_is_written_by_two_nodes(name, folder, specify):
    other = "new.csv" if name != "hard.csv" else "soft.csv"
    with pytest.raises(ConfigError, match="nodes 'a' and 'b' both write"):
        specify(
            "  in: {plugin: source.wasm}\n"
            f"  a: {{connector: csv, write: {other}, input: in}}\n  b: {{connector: csv, write: {name}, input: in}}\n"
        )


def test_a_folder_in_which_a_node_reads_is_not_written(folder, specify):
    (folder / "parts" / "n=1").mkdir(parents=True)
    (folder / "parts" / "n=1" / "part-0.csv").write_text("x\n1\n")
    with pytest.raises(ConfigError, match="within it node 'in' reads"):
        specify(
            "  in: {connector: csv, read: parts/n=1/part-0.csv}\n"
            "  out: {connector: csv, write: parts, input: in, partition_by: [x]}\n"
        )


def test_a_terminal_or_device_may_be_written_by_many(specify):
    nodes = "  in: {plugin: source.wasm}\n"
    nodes += "".join(f"  {name}: {{connector: csv, write: /dev/null, input: in}}\n" for name in "ab")
    assert specify(nodes).order == ("in", "a", "b")


def test_the_run_report_has_what_was_written(tmp_path):
    published = write("csv", tmp_path / "out").published
    assert json.dumps(published.to_json())
