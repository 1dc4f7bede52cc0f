"""Files that grow in place: nothing of an append that was not published stays, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.directory_files import DirectoryFiles
from dataflare.capabilities.files import FileLimits, FileStore, MemoryDirectory, MemoryFiles
from dataflare.grants import DirectoryGrant

LIMITS = FileLimits(file_bytes=100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "log").write_bytes(b"old\n")
    return tmp_path / "d"


@pytest.fixture
def real(folder: Path) -> Iterator[DirectoryFiles]:
    with DirectoryFiles({"d": DirectoryGrant(path=folder, access="write")}, limits=LIMITS) as files:
        yield files


@pytest.fixture(params=["memory", "real"])
def files(request: pytest.FixtureRequest) -> FileStore:
    if request.param == "real":
        found: FileStore = request.getfixturevalue("real")
        return found
    return MemoryFiles({"d": MemoryDirectory(writable=True, files={"log": b"old\n"})}, limits=LIMITS)


def contents(files: FileStore, path: str = "d/log") -> bytes:
    reader = files.open(path)
    try:
        return reader.read(1000)
    finally:
        reader.close_handle()


def case(call: Callable[[], object]) -> str:
    with pytest.raises(CapabilityFailure) as caught:
        call()
    return caught.value.case


def crashed(files: FileStore, path: str = "d/log", data: bytes = b"half") -> None:
    """Append, and end as a killed process does: its descriptors are closed, and nothing else happens."""
    writer = files.append(path)
    writer.write(data)
    writer._file.close()  # type: ignore[attr-defined]
    writer._folder.close()  # type: ignore[attr-defined]


class TestEveryBackend:
    def test_published_bytes_stand_at_the_end(self, files):
        writer = files.append("d/log")
        writer.write(b"new\n")
        writer.write(b"er\n")
        assert writer.tell() == 7
        writer.sync()
        writer.publish()
        writer.publish()
        writer.close_handle()
        assert contents(files) == b"old\nnew\ner\n"
        assert [entry.name for entry in files.list_entries("d")] == ["log"]

    def test_dropped_writer_leaves_the_old_length(self, files):
        writer = files.append("d/log")
        writer.write(b"new\n")
        writer.close_handle()
        writer.close_handle()
        assert contents(files) == b"old\n"

    @pytest.mark.parametrize("published", [True, False])
    def test_absent_file_is_made_and_is_there_if_published(self, files, published):
        writer = files.append("d/other")
        writer.write(b"new")
        if published:
            writer.publish()
        writer.close_handle()
        assert ("other" in [entry.name for entry in files.list_entries("d")]) == published

    def test_one_writer_appends_at_a_time(self, files):
        writer = files.append("d/log")
        assert case(lambda: files.append("d/log")) == "busy"
        writer.close_handle()
        files.append("d/log").close_handle()

    def test_file_has_a_largest_size_with_what_was_there(self, files):
        writer = files.append("d/log")
        assert case(lambda: writer.write(b"x" * 97)) == "no-space"
        writer.write(b"x" * 96)
        writer.publish()
        assert case(lambda: writer.write(b"y")) == "other"
        writer.close_handle()

    def test_directory_is_not_appended_to(self, files):
        assert case(lambda: files.append("d")) == "wrong-kind"
        assert case(lambda: files.append("other/log")) == "denied"
        assert case(lambda: files.append("d/absent/log")) == "not-found"


@pytest.mark.parametrize(
    "use",
    [
        lambda files: contents(files),
        lambda files: files.stat("d/log"),
        lambda files: files.append("d/log").close_handle(),
        lambda files: files.create("d/log", True).close_handle(),
    ],
)
def test_next_use_takes_away_what_a_crash_left(real, folder, use):
    crashed(real)
    assert (folder / "log").read_bytes() == b"old\nhalf"
    use(real)
    assert (folder / "log").read_bytes() == b"old\n"
    assert os.listdir(folder) == ["log"]


def test_file_that_a_crash_left_new_is_taken_away(real, folder):
    crashed(real, "d/new")
    assert case(lambda: real.open("d/new")) == "not-found"
    assert os.listdir(folder) == ["log"]


def test_file_that_is_deleted_after_a_crash_is_only_deleted(real, folder):
    crashed(real)
    real.delete("d/log")
    assert os.listdir(folder) == []


@pytest.mark.parametrize("contents_now", [b"another file, which is longer", b"o", b""])
def test_file_that_took_the_place_after_a_crash_stays_whole(real, folder, contents_now):
    crashed(real)
    (folder / "other").write_bytes(contents_now)
    (folder / "other").rename(folder / "log")
    assert contents(real) == contents_now
    assert os.listdir(folder) == ["log"]


def test_file_written_anew_after_a_crash_stays_whole(real, folder):
    crashed(real)
    (folder / "log").write_bytes(b"NEW CONTENTS")  # the same file by its number
    assert contents(real) == b"NEW CONTENTS"


@pytest.mark.parametrize("journal", [b"", b"1 2", b"x y z w", b"\xff" * 5000, b"1 99999999999999999999999 a 1\n"])
def test_journal_that_is_none_changes_nothing(real, folder, journal):
    crashed(real)
    (found,) = folder.glob(".dataflare-*.append")
    found.write_bytes(journal)
    assert contents(real) == b"old\nhalf"


def test_read_while_a_writer_lives_leaves_its_bytes(real):
    writer = real.append("d/log")
    writer.write(b"new\n")
    contents(real)
    writer.publish()
    writer.close_handle()
    assert contents(real) == b"old\nnew\n"


def test_append_to_a_file_that_was_replaced_fails(real, folder):
    writer = real.append("d/log")
    (folder / "other").write_bytes(b"other")
    (folder / "other").rename(folder / "log")
    assert case(writer.publish) == "other"
    writer.close_handle()
    assert contents(real) == b"other"


def test_link_pipe_and_file_with_other_names_are_not_appended_to(real, folder, tmp_path):
    (tmp_path / "outside").write_bytes(b"outside")
    os.link(tmp_path / "outside", folder / "hard")
    (folder / "soft").symlink_to(tmp_path / "outside")
    os.mkfifo(folder / "pipe")
    (folder / "set-id").touch()
    (folder / "set-id").chmod(0o4755)
    assert [case(lambda name=name: real.append(f"d/{name}")) for name in ("hard", "soft", "pipe", "set-id")] == [
        "denied",
        "wrong-kind",
        "wrong-kind",
        "denied",
    ]
    assert (tmp_path / "outside").read_bytes() == b"outside"


def test_only_who_may_write_takes_anything_away(real, folder):
    crashed(real)
    with DirectoryFiles({"d": DirectoryGrant(path=folder)}) as readers:
        assert contents(readers) == b"old\nhalf"
        assert case(lambda: readers.append("d/log")) == "denied"


APPENDER = """
import sys
from dataflare.capabilities.directory_files import DirectoryFiles
from dataflare.grants import DirectoryGrant
files = DirectoryFiles({"d": DirectoryGrant(path=sys.argv[1], access="write")})
while True:
    writer = files.append("d/log")
    for _ in range(4):
        writer.write(b"0123456789\\n")
    writer.publish()
    writer.close_handle()
    print(flush=True)
"""


@pytest.mark.slow
def test_killed_process_leaves_whole_appends(real, folder):
    for _ in range(8):
        child = subprocess.Popen([sys.executable, "-c", APPENDER, folder], stdout=subprocess.PIPE)
        assert child.stdout is not None
        for _ in range(5):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        size = real.stat("d/log").size_bytes
        assert (size - 4) % 44 == 0
        assert [name for name in os.listdir(folder) if name.endswith(".append")] == []
        (folder / "log").write_bytes(b"old\n")


def test_no_descriptor_is_left_open(real, folder):
    before = len(os.listdir("/proc/self/fd"))
    os.link(folder / "log", folder / "hard")
    assert case(lambda: real.append("d/hard")) == "denied"
    real.append("d/new").close_handle()
    writer = real.append("d/new")
    assert case(lambda: real.append("d/new")) == "busy"
    writer.close_handle()
    assert len(os.listdir("/proc/self/fd")) == before
