from __future__ import annotations

import bz2
import gzip
import lzma
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest

from dataflare.errors import ConfigError
from dataflare.pipeline.readers import describe, guess_connector
from dataflare.pipeline.reading.inputs import find_files
from dataflare.pipeline.run_errors import DataError
from reading_kit import NODES, read, source_of

ROWS = {"a": [1, 2], "b": ["x", "é"]}
TEXT = {"csv": "a,b\n1,x\n2,é\n".encode(), "jsonl": '{"a":1,"b":"x"}\n{"a":2,"b":"é"}\n'.encode()}


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACK = {"gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zstd": zstd}


@pytest.fixture
def fill(tmp_path):
    def make(data: str | bytes, name: str = "in") -> Path:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return make


@pytest.mark.parametrize("connector", ["csv", "jsonl"])
@pytest.mark.parametrize("kind", PACK)
def test_a_compressed_file_is_known_by_its_bytes(fill, connector, kind):
    path = fill(PACK[kind](TEXT[connector]))
    assert read(connector, path).to_pydict() == ROWS
    assert read(connector, path, compression=kind).to_pydict() == ROWS
    assert read(connector, path, sample="all").to_pydict() == ROWS


@pytest.mark.parametrize("kind", PACK)
def test_members_of_a_compressed_file_are_one_text(fill, kind):
    data = TEXT["csv"]
    assert read("csv", fill(PACK[kind](data[:9]) + PACK[kind](data[9:]))).to_pydict() == ROWS


@pytest.mark.parametrize("first", [0x50, 0x5F])
def test_frames_of_zstd_that_are_skipped_may_come_first(fill, first):
    frame = bytes([first]) + b"\x2a\x4d\x18" + b"\x04\0\0\0" + b"none"
    assert read("csv", fill(frame + zstd(TEXT["csv"]) + frame)).to_pydict() == ROWS


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("second", [False, True])
def test_a_compressed_file_that_is_cut_off_anywhere_is_an_error(fill, kind, second):
    whole = PACK[kind](TEXT["csv"])
    begin = whole if second else b""
    for size in range(12 if not second else 1, len(whole)):
        with pytest.raises(DataError, match=r"cut off or damaged|Empty CSV"):
            read("csv", fill(begin + whole[:size]), compression=kind)


@pytest.mark.parametrize("kind", PACK)
def test_rubbish_after_a_compressed_file_is_an_error(fill, kind):
    with pytest.raises(DataError, match="cut off or damaged"):
        read("csv", fill(PACK[kind](TEXT["csv"]) + b"rubbish" * 10))


def test_a_file_that_is_not_compressed_as_the_options_say_is_an_error(fill):
    with pytest.raises(DataError, match="is not gzip: it begins with") as caught:
        read("csv", fill(TEXT["csv"]), compression="gzip")
    assert "compression" in caught.value.hint
    with pytest.raises(DataError, match="gzip data") as caught:
        read("csv", fill(gzip.compress(TEXT["csv"])), compression="none")
    assert "compression: none" in caught.value.hint


def test_a_text_that_only_begins_like_bz2_is_text(fill):
    assert read("csv", fill("BZh9,b\n1,x\n")).column_names == ["BZh9", "b"]


@pytest.mark.parametrize("kind", PACK)
def test_what_a_compressed_file_expands_to_is_not_in_memory_at_once(tmp_path, kind):
    """Half a gibibyte of rows in a file of some kilobytes, read in 450 MiB: Arrow would hold 32 blocks of 8 MiB."""
    path = tmp_path / "bomb"
    line = b"1,x\n" * 2**18
    if kind == "gzip":
        packed = gzip.compress(b"a,b\n") + gzip.compress(line, 1) * 512
    elif kind == "zstd":
        packed = zstd(b"a,b\n") + zstd(line) * 512
    else:
        packed = PACK[kind](b"a,b\n") + PACK[kind](line) * 48
    path.write_bytes(packed)
    script = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[1] / "support")!r})
        from pathlib import Path
        from reading_kit import source_of
        source = source_of("csv", Path({str(path)!r}))
        rows = sum(batch.num_rows for batch in source.batches())
        source.close()
        status = Path("/proc/self/status").read_text()  # the kernel's own maximum counts what was there before exec
        print(rows, int(status.partition("VmHWM:")[2].split()[0]) // 1024)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=300, check=True
    )
    rows, mebibytes = map(int, done.stdout.split())
    assert rows == 2**18 * (512 if kind in ("gzip", "zstd") else 48)
    assert mebibytes < 450


@pytest.mark.parametrize("connector", ["csv", "jsonl"])
@pytest.mark.parametrize("encoding", ["latin-1", "windows-1252", "utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_encodings_are_read_by_their_names(fill, connector, encoding):
    data = TEXT[connector].decode().encode(encoding)
    assert read(connector, fill(data), encoding=encoding).to_pydict() == ROWS
    assert read(connector, fill(gzip.compress(data)), encoding=encoding).to_pydict() == ROWS


@pytest.mark.parametrize("connector", ["csv", "jsonl"])
def test_a_byte_order_mark_is_left_out(fill, connector):
    assert read(connector, fill(b"\xef\xbb\xbf" + TEXT[connector])).to_pydict() == ROWS


@pytest.mark.parametrize("connector", ["csv", "jsonl"])
def test_another_byte_order_mark_names_its_encoding(fill, connector):
    with pytest.raises(DataError, match="byte order mark") as caught:
        read(connector, fill(TEXT[connector].decode().encode("utf-16")))
    assert "encoding: utf-16" in caught.value.hint


@pytest.mark.parametrize(
    ("connector", "data", "line"),
    [
        ("csv", b"a,b\xff\n1,x\n", 1),
        ("csv", b"a,b\n1,x\n2,\xff\n", 3),
        ("jsonl", b'{"a":"x"}\n{"a":"\xff"}\n', 2),
    ],
)
def test_what_is_not_utf_8_is_an_error_with_its_line_and_a_hint(fill, connector, data, line):
    with pytest.raises(DataError) as caught:
        read(connector, fill(data))
    assert caught.value.line == line
    assert "encoding: latin-1" in caught.value.hint


def test_bytes_that_an_encoding_does_not_have_are_an_error_with_their_line(fill):
    with pytest.raises(DataError, match=r"81 .*is not a character in windows-1252") as caught:
        read("csv", fill(b"a,b\n1,x\n2,\x81\n"), encoding="windows-1252")
    assert caught.value.line == 3


def test_an_encoding_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="no encoding of text 'klingon'"):
        NODES.validate_python({"connector": "csv", "read": "x", "options": {"encoding": "klingon"}})
    with pytest.raises(ValueError, match="no encoding of text 'base64'"):
        NODES.validate_python({"connector": "csv", "read": "x", "options": {"encoding": "base64"}})


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("1,x\n2,y\n", {"header": False}, {"column_1": [1, 2], "column_2": ["x", "y"]}),
        ("1,x\n2,y\n", {"header": False, "names": ["a", "b"]}, {"a": [1, 2], "b": ["x", "y"]}),
        ("old,new\n1,x\n", {"header": False, "names": ["a", "b"], "skip_lines": 1}, {"a": [1], "b": ["x"]}),
        ("made by\nsomebody\na,b\n1,x\n", {"skip_lines": 2}, {"a": [1], "b": ["x"]}),
        ("# about\na,b\n# more\n1,x\n#\n2,y\n", {"comment": "#"}, {"a": [1, 2], "b": ["x", "y"]}),
        ('a,b\n1,"x\n# in quotes"\n', {"comment": "#"}, {"a": [1], "b": ["x\n# in quotes"]}),
        ("a;b\n1;'x;''y'\n", {"delimiter": ";", "quote": "'"}, {"a": [1], "b": ["x;'y"]}),
        ('a,b\n1,5"\n', {"quote": ""}, {"a": [1], "b": ['5"']}),
        ('a,b\n1,"x\\"y"\n', {"escape": "\\"}, {"a": [1], "b": ['x"y']}),
        ("a\tb\n1\tx\n", {"delimiter": "\t"}, {"a": [1], "b": ["x"]}),
        ("\n\na,b\n\n1,x\n", {}, {"a": [1], "b": ["x"]}),
        ("a,b\r1,x\r2,y\r", {}, {"a": [1, 2], "b": ["x", "y"]}),
        ('"a\nb",c\n1,2\n', {}, {"a\nb": [1], "c": [2]}),
        ("a,b\n1,NA\n2,-\n", {"nulls": ["NA", "-"]}, {"a": [1, 2], "b": [None, None]}),
    ],
)
def test_forms_of_csv(fill, text, options, expected):
    assert read("csv", fill(text), **options).to_pydict() == expected
    assert read("csv", fill(text), sample="all", **options).to_pydict() == expected


@pytest.mark.parametrize(
    ("text", "options", "line"),
    [
        ("# c\n\na,b\n# c\n1,2\n3\n", {"comment": "#"}, 6),
        ("junk\njunk\n1,2\n3\n", {"header": False, "skip_lines": 2}, 4),
        ("junk\na,b\n\n1,2\n3\n", {"skip_lines": 1}, 5),
        ("1,2\n3\n", {"header": False}, 2),
    ],
)
def test_lines_that_are_left_out_are_counted_in_errors(fill, text, options, line):
    with pytest.raises(DataError, match="Expected 2 columns, got 1") as caught:
        read("csv", fill(text), **options)
    assert caught.value.line == line


@pytest.mark.parametrize(
    "options",
    [
        {"names": ["a"]},
        {"delimiter": '"'},
        {"quote": "'", "escape": "'"},
        {"delimiter": "\n"},
        {"max_record": "3GiB"},
        {"sample": "some"},
        {"escape": "\\", "nulls": ["", "\\N"]},
    ],
)
def test_options_that_contradict_each_other_are_refused(options):
    with pytest.raises(ValueError):
        NODES.validate_python({"connector": "csv", "read": "x", "options": options})


def test_a_record_longer_than_the_limit_is_an_error_and_the_limit_can_be_raised(fill):
    path = fill("a,b\n1," + "x" * 5000 + "\n2,y\n")
    with pytest.raises(DataError, match="longer than max_record = 1kB") as caught:
        read("csv", path, max_record="1kB")
    assert "max_record" in caught.value.hint
    assert read("csv", path, max_record="10kB").num_rows == 2


def test_a_line_longer_than_the_limit_is_an_error_and_the_limit_can_be_raised(fill, monkeypatch):
    monkeypatch.setattr("dataflare.pipeline.reading.json_parts.PART_BYTES", 64)
    path = fill('{"a":1}\n{"a":' + " " * 5000 + "1}\n")
    with pytest.raises(DataError, match="longer than max_line") as caught:
        read("jsonl", path, max_line="1kB")
    assert (caught.value.line, "max_line" in caught.value.hint) == (2, True)
    assert read("jsonl", path, max_line="10kB").num_rows == 2


@pytest.mark.parametrize("part", [4, 16, 64, 2**20])
def test_a_file_of_one_array_is_read(fill, monkeypatch, part):
    monkeypatch.setattr("dataflare.pipeline.reading.json_parts.PART_BYTES", part)
    text = '\n [\n  {"a": 1,\n   "b": "]},{\\"[\\\\"},\n  {"a": 2, "b": "x"} ,{"a":3,"b":null}\n]\n '
    assert read("jsonl", fill(text), sample="16B").to_pydict() == {"a": [1, 2, 3], "b": [']},{"[\\', "x", None]}


def test_an_empty_array_has_no_rows(fill):
    assert read("jsonl", fill("[]")).num_rows == 0


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[{"a":1},\n2]', 2, "something other than an object"),
        ('[{"a":1}\n{"a":2}]', 2, "something other than an object"),
        ('[\n{"a":1},\n', 3, "not closed"),
        ('[{"a":1}]\n{"a":2}', 1, "follows the array"),
        ('[{"a":1},\n\n{"a":\n"x"}]', 3, "changed from number to string"),
        ('[{"a":1},]', 1, "something other than an object"),
        ("[1]", 1, "something other than an object"),
        ("[[1]]", 1, "something other than an object"),
    ],
)
def test_a_broken_array_is_named_with_its_line(fill, text, line, words):
    with pytest.raises(DataError) as caught:
        read("jsonl", fill(text))
    assert words in str(caught.value)
    assert caught.value.line == line


def test_an_object_over_several_lines_gets_a_hint(fill):
    with pytest.raises(DataError, match="does not end on its line") as caught:
        read("jsonl", fill('{\n"a":1\n}\n'))
    assert "array" in caught.value.hint


@pytest.mark.parametrize("format", ["file", "stream"])
@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_arrow_files_and_streams_are_told_apart(tmp_path, format, compression):
    table = pa.table(ROWS)
    new = pa.ipc.new_file if format == "file" else pa.ipc.new_stream
    with new(str(tmp_path / "in"), table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    assert read("arrow", tmp_path / "in").equals(table)


def test_several_files_are_one(fill, tmp_path):
    first, second = fill("a,b\n1,x\n", "1.csv"), fill("b,a\ny,2\n", "2.csv")
    assert find_files(tmp_path, "*.csv") == [first, second]
    assert find_files(tmp_path, ["2.csv", "?.csv"]) == [second, first]
    assert read("csv", [first, second]).to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    many = [fill('{"a":1}\n', "1.jsonl"), fill('{"a":2}\n', "2.jsonl")]
    assert read("jsonl", many).to_pydict() == {"a": [1, 2]}


def test_a_name_with_the_marks_of_a_pattern_is_taken_literally(fill, tmp_path):
    path = fill("a\n1\n", "[1].csv")
    assert find_files(tmp_path, "[1].csv") == [path]


def test_a_pattern_without_a_match_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no file matches"):
        find_files(tmp_path, "*.csv")
    assert find_files(tmp_path, "*.csv", some=False) == []


@pytest.mark.parametrize(
    ("connector", "second", "words"),
    [
        ("csv", "a,c\n1,2\n", "lacks 'b' and also has 'c'"),
        ("csv", "a,b\nx,y\n", "'x' is not a value of int64"),
        ("jsonl", '{"a":"x","b":"y"}\n', "'a'"),
        ("jsonl", '{"a":1,"c":"y"}\n', "'c' comes up here first"),
    ],
)
def test_files_that_differ_are_an_error_that_names_the_file(fill, connector, second, words):
    paths = [fill(TEXT[connector], "first"), fill(second, "second")]
    with pytest.raises(DataError) as caught:
        read(connector, paths)
    assert words in str(caught.value)
    assert caught.value.file == str(paths[1])


def test_stored_types_that_differ_between_files_are_an_error(tmp_path):
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"a": [1]}), tmp_path / "1")
    parquet.write_table(pa.table({"a": ["x"]}), tmp_path / "2")
    with pytest.raises(DataError, match="column 'a' is string, and int64 in the first file"):
        read("parquet", [tmp_path / "1", tmp_path / "2"])
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    parquet.write_table(pa.table([[2]], schema), tmp_path / "2")
    with pytest.raises(DataError, match="column 'a' is int64 not null, and int64 in the first file"):
        read("parquet", [tmp_path / "1", tmp_path / "2"])


def shorten(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\n")


def rewrite(path: Path) -> None:
    data = path.read_bytes()
    os.utime(path, ns=(1, 1))
    path.write_bytes(data)


def wait_for_a_later_time(path: Path) -> None:
    """Some systems know a file's times to a few milliseconds only."""
    clock = path.with_name("clock")
    clock.write_bytes(b"")
    while clock.stat().st_ctime_ns <= path.stat().st_ctime_ns:
        clock.write_bytes(b"")


def rewrite_and_set_back(path: Path) -> None:
    wait_for_a_later_time(path)
    before = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def link(path: Path) -> None:
    wait_for_a_later_time(path)
    path.with_name("other").hardlink_to(path)


def permit(path: Path) -> None:
    wait_for_a_later_time(path)
    path.chmod(0o600)


CHANGES = [shorten, replace, append, rewrite, rewrite_and_set_back, link, permit, Path.unlink]


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("connector", ["csv", "jsonl", "parquet", "arrow"])
def test_an_input_that_changes_while_it_is_read_is_an_error(tmp_path, connector, change):
    path = tmp_path / "in"
    if connector in TEXT:
        path.write_bytes(TEXT[connector])
    elif connector == "parquet":
        import pyarrow.parquet as parquet

        parquet.write_table(pa.table(ROWS), path)
    else:
        with pa.ipc.new_file(str(path), pa.table(ROWS).schema) as writer:
            writer.write_table(pa.table(ROWS))
    source = source_of(connector, path)
    change(path)
    with pytest.raises(DataError, match="changed while it was read"):
        list(source.batches())
    source.close()


def test_a_pipe_can_be_read(tmp_path):
    reader, writer = os.pipe()
    os.write(writer, TEXT["csv"])
    os.close(writer)
    try:
        assert read("csv", Path(f"/dev/fd/{reader}")).to_pydict() == ROWS
    finally:
        os.close(reader)


def test_a_description_says_what_a_run_would_read(fill):
    found = describe("csv", [fill("a,b\n1,x\n")], {"columns": {"b": "string"}})
    assert found.schema == pa.schema([("a", pa.int64()), ("b", pa.string())])
    with pytest.raises(ConfigError, match="no connector 'xml'"):
        describe("xml", [fill("")], {})
    with pytest.raises(ConfigError, match="unknown key") as caught:
        describe("csv", [fill("a\n1\n")], {"delimeter": ";"})
    assert "delimiter" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "connector"),
    [("x.csv", "csv"), ("x.tsv.gz", "csv"), ("x.json", "jsonl"), ("x.ndjson.zst", "jsonl"), ("a.b.parquet", "parquet")],
)
def test_a_connector_is_told_from_a_name(name, connector):
    assert guess_connector(Path(name)) == connector


def test_a_name_that_does_not_say_what_it_is_needs_a_connector():
    with pytest.raises(ConfigError, match="does not say"):
        guess_connector(Path("data.bin"))


@pytest.mark.parametrize("text", ["YR==", "YWJ=", "////YR=="])
def test_base64_with_bits_that_no_byte_takes_is_refused(fill, text):
    path = fill('{"x":"YQ=="}\n{"x":"YWI="}\n{"x":""}\n{"x":null}\n')
    assert read("jsonl", path, columns={"x": "binary"}).to_pydict() == {"x": [b"a", b"ab", b"", None]}
    with pytest.raises(DataError, match="Base64") as caught:
        read("jsonl", fill(f'{{"x":"YQ=="}}\n{{"x":"{text}"}}\n'), columns={"x": "binary"})
    assert caught.value.line == 2


def test_lines_that_end_with_a_carriage_return_alone_are_named(fill):
    with pytest.raises(DataError, match=r"more than one value; .* a carriage return stands alone"):
        read("jsonl", fill('{"x":1}\r{"x":2}\r'))
    with pytest.raises(DataError, match=r"more than one value, at character 9\n"):
        read("jsonl", fill('{"x":1} {"x":2}\n'))


def test_an_error_names_the_attributes_that_changed_while_a_file_was_read(fill):
    path = fill("a\n1\n")
    path.chmod(0o644)
    source = source_of("csv", path)
    permit(path)
    link(path)
    with pytest.raises(DataError, match="its permissions and number of hard links changed, or it was written to"):
        list(source.batches())
    source.close()
