from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.directory_files import DirectoryFiles
from dataflare.capabilities.files import MAX_READ_BYTES, FileLimits, MemoryDirectory, MemoryFiles, imports, parse_path
from dataflare.errors import ConfigError
from dataflare.grants import DirectoryGrant
from dataflare.values import Ok
from dataflare.wit_types.batches import WordBuffer
from dataflare.wit_types.files import Directory, Entry, Position

FILES = {"a.txt": b"hello, world", "sub/b.bin": bytes(range(256)) * 10, "empty": b""}
LIMITS = FileLimits(open_files=3, file_bytes=1000)


class Calls:
    """The interface over one backend, with results taken apart."""

    def __init__(self, files) -> None:
        self.functions = imports(files)
        self.handles = []

    def good(self, name: str, *args):
        result = self.functions[name](*args)
        assert isinstance(result, Ok), result
        if name in ("open", "create", "append"):
            self.handles.append(result.value)
        return result.value

    def case(self, name: str, *args) -> str:
        return self.functions[name](*args).error.case

    def contents(self, path: str) -> bytes:
        reader = self.good("open", path)
        data = self.good("[method]reader.read", reader, 2**32 - 1)
        reader.close_handle()
        return data

    def put(self, path: str, data: bytes, replace: bool = True) -> None:
        writer = self.good("create", path, replace)
        self.good("[method]writer.write", writer, data)
        self.good("[method]writer.publish", writer)
        writer.close_handle()

    def names(self, path: str) -> list[str]:
        return [entry.name for entry in self.good("list-entries", path)]


@pytest.fixture
def tree(tmp_path):
    for name in ("in", "out"):
        (tmp_path / name / "sub").mkdir(parents=True)
    for path, data in FILES.items():
        (tmp_path / "in" / path).write_bytes(data)
    return tmp_path


@pytest.fixture
def real(tree):
    grants = {"in": DirectoryGrant(path=tree / "in"), "out": DirectoryGrant(path=tree / "out", access="write")}
    with DirectoryFiles(grants, limits=LIMITS) as files:
        calls = Calls(files)
        yield calls
        for handle in calls.handles:
            handle.close_handle()


@pytest.fixture(params=["memory", "real"])
def files(request):
    if request.param == "real":
        return request.getfixturevalue("real")
    directories = {"out": MemoryDirectory(writable=True, directories={"sub"}), "in": MemoryDirectory(files=dict(FILES))}
    return Calls(MemoryFiles(directories, limits=LIMITS))


class TestEveryBackend:
    def test_granted_directories_are_listed_by_name(self, files):
        assert files.functions["granted"]() == [Directory("in", False), Directory("out", True)]

    @pytest.mark.parametrize("path", FILES)
    def test_file_is_read_whole(self, files, path):
        assert files.contents(f"in/{path}") == FILES[path]

    def test_reads_move_on_until_the_end(self, files):
        reader = files.good("open", "in/a.txt")
        parts = [files.good("[method]reader.read", reader, 5) for _ in range(4)]
        assert parts == [b"hello", b", wor", b"ld", b""]
        assert files.functions["[method]reader.tell"](reader) == Position(12)

    @pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 2000, 2**32 - 1])
    def test_words_hold_the_same_bytes_padded_with_zeros(self, files, size):
        reader = files.good("open", "in/sub/b.bin")
        words = files.good("[method]reader.read-words", reader, size)
        expected = FILES["sub/b.bin"][:size]
        assert (words.byte_length, words.words.dtype, len(words.words)) == (
            len(expected),
            np.uint64,
            -(-len(expected) // 8),
        )
        assert words.words.tobytes() == expected + b"\0" * (-len(expected) % 8)

    def test_seek_goes_anywhere_and_past_the_end_reads_nothing(self, files):
        reader = files.good("open", "in/a.txt")
        for offset, expected in [(7, b"world"), (0, b"hello, world"), (12, b""), (2**64 - 1, b"")]:
            files.good("[method]reader.seek", reader, Position(offset))
            assert files.functions["[method]reader.tell"](reader) == Position(offset)
            assert files.good("[method]reader.read", reader, 100) == expected

    def test_length_is_in_bytes(self, files):
        assert files.good("[method]reader.length", files.good("open", "in/a.txt")) == Position(12)

    def test_file_is_seen_once_it_is_published(self, files):
        writer = files.good("create", "out/new", False)
        files.good("[method]writer.write", writer, b"one ")
        files.good("[method]writer.write-text", writer, "zwö ".encode())
        files.good("[method]writer.write-words", writer, WordBuffer(3, np.array([0x00AA333231], np.uint64)))
        files.good("[method]writer.sync", writer)
        assert files.functions["[method]writer.tell"](writer) == Position(12)
        assert files.case("open", "out/new") == "not-found"
        assert files.names("out") == ["sub"]
        files.good("[method]writer.publish", writer)
        assert files.contents("out/new") == "one zwö 123".encode()

    def test_second_publish_does_nothing_and_no_write_follows(self, files):
        writer = files.good("create", "out/new", False)
        files.good("[method]writer.publish", writer)
        files.good("[method]writer.publish", writer)
        assert files.case("[method]writer.write", writer, b"x") == "other"
        assert files.contents("out/new") == b""

    def test_dropped_writer_leaves_nothing(self, files):
        writer = files.good("create", "out/new", False)
        files.good("[method]writer.write", writer, b"half")
        writer.close_handle()
        writer.close_handle()
        assert files.names("out") == ["sub"]

    def test_words_that_are_too_few_are_refused(self, files):
        writer = files.good("create", "out/new", False)
        assert files.case("[method]writer.write-words", writer, WordBuffer(9, np.zeros(1, np.uint64))) == "other"

    def test_file_is_replaced_only_when_asked(self, files):
        files.put("out/x", b"old")
        assert files.case("create", "out/x", False) == "already-exists"
        files.put("out/x", b"new", replace=True)
        assert files.contents("out/x") == b"new"

    def test_file_that_appears_in_between_is_not_replaced(self, files):
        late = files.good("create", "out/x", False)
        files.put("out/x", b"first", replace=False)
        assert files.case("[method]writer.publish", late) == "already-exists"
        late.close_handle()
        assert (files.contents("out/x"), files.names("out")) == (b"first", ["sub", "x"])

    def test_open_reader_keeps_its_file_when_it_is_replaced(self, files):
        files.put("out/x", b"old")
        reader = files.good("open", "out/x")
        files.put("out/x", b"new")
        assert files.good("[method]reader.read", reader, 10) == b"old"

    def test_entries_come_by_name(self, files):
        assert [(e.name, e.kind, e.size_bytes) for e in files.good("list-entries", "in")] == [
            ("a.txt", "file", 12),
            ("empty", "file", 0),
            ("sub", "directory", 0),
        ]
        assert files.names("in/sub") == ["b.bin"]

    @pytest.mark.parametrize(
        ("path", "kind", "size"), [("in/a.txt", "file", 12), ("in/sub", "directory", 0), ("in", "directory", 0)]
    )
    def test_stat_tells_what_there_is(self, files, path, kind, size):
        entry = files.good("stat", path)
        assert isinstance(entry, Entry)
        assert (entry.name, entry.kind, entry.size_bytes) == (path.rpartition("/")[2], kind, size)

    def test_time_of_change_is_in_milliseconds(self, files):
        files.put("out/x", b"")
        assert abs(files.good("stat", "out/x").modified_ms - time.time() * 1000) < 60_000

    def test_deleting_is_idempotent(self, files):
        files.put("out/x", b"")
        assert [files.good("delete", "out/x") for _ in range(2)] == [None, None]
        assert files.good("delete", "out/absent/x") is None
        assert files.case("open", "out/x") == "not-found"

    @pytest.mark.parametrize(
        ("name", "args", "case"),
        [
            ("open", ("in/absent",), "not-found"),
            ("open", ("in/absent/x",), "not-found"),
            ("open", ("in/a.txt/x",), "wrong-kind"),
            ("open", ("in/sub",), "wrong-kind"),
            ("open", ("in",), "wrong-kind"),
            ("open", ("other/x",), "denied"),
            ("open", ("in/../out/x",), "denied"),
            ("open", ("..",), "denied"),
            ("open", ("/etc/passwd",), "denied"),
            ("open", ("",), "invalid-path"),
            ("open", ("in//a.txt",), "invalid-path"),
            ("open", ("in/./a.txt",), "invalid-path"),
            ("open", ("in/sub\\b.bin",), "invalid-path"),
            ("open", ("in/a.txt\0",), "invalid-path"),
            ("open", ("in/" + "x" * 256,), "invalid-path"),
            ("open", ("in/" + "x/" * 3000 + "x",), "invalid-path"),
            ("open", ("in/" + "x/" * 70 + "x",), "invalid-path"),
            ("open", ("out/.dataflare-0.part",), "invalid-path"),
            ("create", ("in/new", True), "denied"),
            ("create", ("in/a.txt", True), "denied"),
            ("create", ("out/absent/new", True), "not-found"),
            ("create", ("out/sub", True), "wrong-kind"),
            ("create", ("out", True), "wrong-kind"),
            ("delete", ("in/a.txt",), "denied"),
            ("delete", ("out/sub",), "wrong-kind"),
            ("delete", ("out",), "wrong-kind"),
            ("stat", ("in/absent",), "not-found"),
            ("stat", ("other",), "denied"),
            ("list-entries", ("in/absent",), "not-found"),
            ("list-entries", ("in/a.txt",), "wrong-kind"),
        ],
        ids=lambda value: repr(value)[:40],
    )
    def test_call_that_cannot_be_is_an_error_value(self, files, name, args, case):
        assert files.case(name, *args) == case

    def test_open_files_are_limited_and_counted(self, files):
        readers = [files.good("open", "in/a.txt") for _ in range(2)]
        writer = files.good("create", "out/x", True)
        assert files.case("open", "in/a.txt") == "no-space"
        assert files.case("create", "out/y", True) == "no-space"
        writer.close_handle()
        readers[0].close_handle()
        readers[0].close_handle()
        assert len([files.good("open", "in/a.txt") for _ in range(2)]) == 2
        assert files.case("open", "in/a.txt") == "no-space"

    def test_failed_open_does_not_count(self, files):
        for _ in range(5):
            assert files.case("open", "in/absent") == "not-found"
            assert files.case("open", "in/sub") == "wrong-kind"
        assert files.contents("in/a.txt") == FILES["a.txt"]

    def test_file_over_the_limit_has_no_space_and_keeps_what_it_had(self, files):
        writer = files.good("create", "out/x", True)
        files.good("[method]writer.write", writer, b"x" * 999)
        assert files.case("[method]writer.write", writer, b"yy") == "no-space"
        files.good("[method]writer.write", writer, b"z")
        files.good("[method]writer.publish", writer)
        assert files.contents("out/x") == b"x" * 999 + b"z"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text(alphabet="a/.\\\0", max_size=12))
def test_path_is_split_into_plain_names_or_refused(path):
    try:
        name, parts = parse_path(path)
    except CapabilityFailure as failure:
        assert failure.case in ("denied", "invalid-path")
    else:
        assert "/".join((name, *parts)) == path.removesuffix("/") if not parts else "/".join((name, *parts)) == path
        assert not {"", ".", ".."} & {name, *parts}


class TestAttacks:
    """A tree that someone prepared, or changes at the same time."""

    @pytest.fixture
    def secret(self, tree):
        (tree / "secret").mkdir()
        (tree / "secret" / "s.txt").write_bytes(b"secret")
        return tree / "secret"

    @pytest.mark.parametrize("target", ["../secret/s.txt", "{secret}/s.txt", "sub/../../secret/s.txt"])
    def test_link_to_a_file_outside_is_denied(self, real, tree, secret, target):
        (tree / "in" / "link").symlink_to(target.format(secret=secret))
        assert real.case("open", "in/link") == "denied"
        assert real.case("stat", "in/link") == "denied"

    @pytest.mark.parametrize("target", ["../secret", "{secret}", "sub/../../secret", "/"])
    def test_link_to_a_directory_outside_is_denied(self, real, tree, secret, target):
        for name in ("in", "out"):
            (tree / name / "link").symlink_to(target.format(secret=secret))
        assert real.case("open", "in/link/s.txt") == "denied"
        assert real.case("list-entries", "in/link") == "denied"
        assert real.case("create", "out/link/new", True) == "denied"
        assert real.case("delete", "out/link/s.txt") == "denied"
        assert [path.name for path in secret.iterdir()] == ["s.txt"]

    def test_link_into_another_granted_directory_is_denied(self, real, tree):
        (tree / "out" / "link").symlink_to("../in")
        assert real.case("open", "out/link/a.txt") == "denied"

    def test_link_that_stays_within_is_followed(self, real, tree):
        (tree / "in" / "file").symlink_to("sub/b.bin")
        (tree / "in" / "sub" / "up").symlink_to("../sub/../")
        (tree / "in" / "self").symlink_to(".")
        assert real.contents("in/file") == FILES["sub/b.bin"]
        assert real.contents("in/sub/up/a.txt") == FILES["a.txt"]
        assert "a.txt" in real.names("in/self")
        assert real.good("stat", "in/file").size_bytes == 2560

    def test_links_in_a_circle_are_denied(self, real, tree):
        (tree / "in" / "x").symlink_to("y")
        (tree / "in" / "y").symlink_to("x")
        assert real.case("open", "in/x") == "denied"
        assert real.case("open", "in/x/z") == "denied"

    def test_link_is_neither_written_through_nor_deleted(self, real, tree, secret):
        link = tree / "out" / "link"
        link.symlink_to("../secret/s.txt")
        assert real.case("create", "out/link", True) == "wrong-kind"
        assert real.case("delete", "out/link") == "wrong-kind"
        assert (secret / "s.txt").read_bytes() == b"secret"
        assert link.is_symlink()

    def test_link_that_takes_the_targets_place_is_not_written_through(self, real, tree, secret):
        writer = real.good("create", "out/x", True)
        real.good("[method]writer.write", writer, b"evil")
        (tree / "out" / "x").symlink_to("../secret/s.txt")
        assert real.case("[method]writer.publish", writer) == "wrong-kind"
        late = real.good("create", "out/y", False)
        (tree / "out" / "y").symlink_to("../secret/t.txt")
        assert real.case("[method]writer.publish", late) == "already-exists"
        assert [path.name for path in secret.iterdir()] == ["s.txt"]
        assert (secret / "s.txt").read_bytes() == b"secret"

    def test_fifo_is_refused_at_once(self, real, tree):
        os.mkfifo(tree / "in" / "fifo")
        os.mkfifo(tree / "out" / "fifo")
        assert real.case("open", "in/fifo") == "wrong-kind"
        assert real.case("create", "out/fifo", True) == "wrong-kind"
        assert real.good("stat", "in/fifo").kind == "other"

    def test_socket_is_refused(self, real, tree, monkeypatch):
        monkeypatch.chdir(tree / "in")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("sock")
            assert real.case("open", "in/sock") == "wrong-kind"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
    def test_device_is_refused(self, real, tree):
        try:
            os.mknod(tree / "in" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("devices cannot be made here")
        assert real.case("open", "in/null") == "wrong-kind"

    def test_directory_that_is_swapped_for_a_link_leads_nowhere(self, real, tree, secret):
        (secret / "b.bin").write_bytes(b"secret")
        sub, kept, link = tree / "in" / "sub", tree / "in" / "kept", tree / "in" / "link"
        link.symlink_to("../secret")
        done = threading.Event()

        def swap() -> None:
            while not done.is_set():
                os.rename(sub, kept)
                os.rename(link, sub)
                os.rename(sub, link)
                os.rename(kept, sub)

        thread = threading.Thread(target=swap)
        thread.start()
        try:
            outcomes = set()
            for _ in range(1500):
                result = real.functions["open"]("in/sub/b.bin")
                if isinstance(result, Ok):
                    assert result.value.read(6) == FILES["sub/b.bin"][:6]
                    result.value.close_handle()
                    outcomes.add("ok")
                else:
                    outcomes.add(result.error.case)
        finally:
            done.set()
            thread.join()
        assert outcomes <= {"ok", "denied", "not-found", "wrong-kind"}

    def test_files_that_are_not_published_cannot_be_touched(self, real, tree):
        writer = real.good("create", "out/x", True)
        (temporary,) = (path.name for path in (tree / "out").iterdir() if path.name != "sub")
        for name in ("open", "stat", "delete"):
            assert real.case(name, f"out/{temporary}") == "invalid-path"
        writer.close_handle()

    def test_name_that_is_no_text_is_not_listed(self, real, tree):
        with open(os.fsencode(tree / "in") + b"/\xff", "wb"):
            pass
        assert real.names("in") == ["a.txt", "empty", "sub"]

    def test_message_names_no_path_of_the_host(self, real, tree):
        for path in ("in/absent", "in/a.txt/x", "in/absent/x"):
            assert str(tree) not in real.functions["open"](path).error.value


def test_file_that_may_not_be_read_is_denied(real, tree):
    (tree / "in" / "a.txt").chmod(0)
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    assert real.case("open", "in/a.txt") == "denied"


def test_reads_are_at_most_16_mebibytes(tree):
    (tree / "in" / "big").write_bytes(b"\0" * (MAX_READ_BYTES + 5))
    with DirectoryFiles({"in": DirectoryGrant(path=tree / "in")}) as files:
        reader = files.open("in/big")
        assert [len(reader.read(2**32 - 1)) for _ in range(3)] == [MAX_READ_BYTES, 5, 0]
        reader.close_handle()


def test_full_disk_is_no_space_and_leaves_whole_writes(tree):
    # A limit of the process on the size of files stands for the disk.
    program = """
import resource, signal, sys
from dataflare.capabilities.directory_files import DirectoryFiles
from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.grants import DirectoryGrant
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
writer = DirectoryFiles({"out": DirectoryGrant(path=sys.argv[1], access="write")}).create("out/x", False)
writer.write(b"a" * 600)
try:
    writer.write(b"b" * 600)
except CapabilityFailure as failure:
    print(failure.case, writer.tell())
writer.write(b"c" * 400)
writer.publish()
"""
    run = subprocess.run([sys.executable, "-c", program, tree / "out"], capture_output=True, text=True, check=True)
    assert run.stdout == "no-space 600\n"
    assert (tree / "out" / "x").read_bytes() == b"a" * 600 + b"c" * 400


def test_directory_with_too_many_entries_is_not_listed(tree):
    with DirectoryFiles({"in": DirectoryGrant(path=tree / "in")}, limits=FileLimits(entries=2)) as files:
        assert Calls(files).case("list-entries", "in") == "other"


def test_no_descriptor_is_left_open(tree):
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    (tree / "in" / "link").symlink_to("../out")
    grants = {"in": DirectoryGrant(path=tree / "in"), "out": DirectoryGrant(path=tree / "out", access="write")}
    with DirectoryFiles(grants) as files:
        calls = Calls(files)
        for path in ("in/a.txt", "in/sub/b.bin"):
            calls.contents(path)
        for path in ("in/absent", "in/sub/absent/x", "in/link/x", "in/a.txt/x", "in/sub"):
            calls.functions["open"](path)
        calls.put("out/x", b"1")
        calls.good("create", "out/y", False).close_handle()
        calls.names("in/sub")
    assert descriptors() == before


def test_granted_directory_that_is_absent_is_refused(tree):
    before = len(os.listdir("/proc/self/fd"))
    grants = {"a": DirectoryGrant(path=tree / "in"), "b": DirectoryGrant(path=tree / "absent")}
    with pytest.raises(ConfigError, match=r"grants\.files\.b"):
        DirectoryFiles(grants)
    assert len(os.listdir("/proc/self/fd")) == before


def test_closed_directories_open_nothing(tree):
    files = DirectoryFiles({"in": DirectoryGrant(path=tree / "in")})
    files.close()
    files.close()
    assert Calls(files).case("open", "in/a.txt") == "other"


@pytest.mark.parametrize("name", ["open_files", "file_bytes", "entries"])
def test_limit_below_one_is_refused(name):
    with pytest.raises(ConfigError, match=rf"files\.{name}"):
        FileLimits(**{name: 0})
