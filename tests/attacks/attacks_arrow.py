"""Attacks on the host through Arrow: streams, types, conversions and files that Arrow itself would trip over.

What could crash the host, or show its memory, is tried in a process of its own.
"""

from __future__ import annotations

import mmap
import os
import re
import signal
import struct
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa

from arena import Arena, Mutation, answers, attack
from dataflare.budgets import HostBudget, OverTime, serving
from dataflare.data.batches import Batch, imports
from dataflare.data.guard import types as guard_types
from dataflare.data.ipc import read_file
from dataflare.data.shapes import DataFailure
from dataflare.values import Err
from dataflare.wit_types.schemas import Field, Schema

MIB: Final = 2**20
FUNCTIONS: Final = imports(max_batch_bytes=64 * MIB)


def stream(*batches: pa.RecordBatch, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for each in batches:
            writer.write_batch(each)
    return bytes(sink.getvalue())


def one(array: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([array], names=["c"])


def method(name: str, *args: Any) -> Any:
    """Call a function of the host; what comes out of it is a result, or the attack has succeeded."""
    function = FUNCTIONS[name] if name in FUNCTIONS else FUNCTIONS[f"[method]batch.{name}"]
    try:
        return function(*args)
    except Exception as error:
        raise AssertionError(f"{name} raised {type(error).__name__}: {error}") from error


def refused(answer: Any, *cases: str) -> None:
    """Assert that a function of the host answered with one of these cases."""
    assert isinstance(answer, Err), f"it was let through: {answer!r}"
    assert answer.error.case in cases, answer.error


def refused_stream(encoded: bytes, *cases: str) -> None:
    refused(method("from-arrow", encoded), *(cases or ("malformed",)))


def column(array: pa.Array) -> Batch:
    """A batch that the host was given by somebody else than a plugin."""
    return Batch(one(array), max_bytes=64 * MIB)


def survives(run: Callable[[], None]) -> None:
    """Run what has to refuse something in a fork of this process, where a crash harms nobody."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a handler in Python would wait for what hangs
            signal.alarm(60)
            run()
            code = 0
        except BaseException as error:
            os.write(write, repr(error)[:600].encode())
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        words = said.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the child ended with {os.waitstatus_to_exitcode(status)}: {words}"


def offsets(*values: int) -> pa.Buffer:
    return pa.py_buffer(np.array(values, np.int32))


@attack("memory")
def scale_beyond_the_tables_in_a_stream(arena: Arena) -> None:
    """Send a decimal whose scale makes Arrow read past its table of powers of ten when it is converted."""
    for kind in (pa.decimal128(38, -66), pa.decimal128(5, 2**27), pa.decimal256(76, -77)):
        width = kind.bit_width // 8
        array = pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(b"\1" + bytes(width - 1))])
        refused_stream(stream(one(array)))


@attack("deny")
def zone_of_the_machine_in_a_stream(arena: Arena) -> None:
    """Send times of the zone `localtime`, or of one that is a path, to learn where the machine is, or which files it
    has."""
    for zone in ("localtime", "posixrules", "/etc/localtime", "../../../etc/localtime"):
        found = FUNCTIONS["from-arrow"](stream(one(pa.array([0], pa.timestamp("s", zone)))))
        assert isinstance(found, Err) and found.error.case == "malformed", zone


@attack("memory")
def scale_beyond_the_tables_in_a_name(arena: Arena) -> None:
    """Name a decimal of such a scale in a conversion, and in the schema of JSON Lines."""
    batch = column(pa.array([1], pa.decimal128(38, 0)))
    for name in ("decimal128(38, -66)", "decimal128(38, 66)", "decimal256(76, -77)", "list<item: decimal128(2, 3)>"):
        refused(method("cast-column", batch, "c", name), "malformed")
        refused(method("from-json-lines", b'{"c":"1"}\n', Schema((Field("c", name, True, ()),), ())), "malformed")


@attack("memory")
def scales_far_apart(arena: Arena) -> None:
    """Convert between two scales that are allowed each, and too far apart for the table."""
    for kind, target in (
        (pa.decimal128(38, -38), "decimal128(38, 38)"),
        (pa.decimal256(76, -76), "decimal256(76, 76)"),
        (pa.decimal128(38, -38), "decimal256(76, 76)"),
    ):
        array = pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(b"\1" + bytes(kind.bit_width // 8 - 1))])
        refused(method("cast-column", column(array), "c", target), "wrong-type")


@attack("memory")
def width_of_a_nested_extension(arena: Arena) -> None:
    """Hide a list of a fixed size within an extension type, with a null whose items are not there."""
    lists = pa.list_(pa.binary(3))
    hidden = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([None], pa.binary(16)))
    nested = pa.ExtensionArray.from_storage(pa.opaque(lists, "t", "v"), pa.nulls(1, lists))
    for array in (
        pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), hidden),
        pa.StructArray.from_arrays([nested], ["x"]),
    ):
        refused(method("cast-column", column(array), "c", "list<item: fixed_size_binary[1000000]>"), "wrong-type")
        refused(method("to-json-lines", column(array)), "wrong-type")


@attack("memory")
def null_list_as_one_of_a_fixed_size(arena: Arena) -> None:
    """Convert null lists to lists of a fixed size: Arrow copies items that are not there."""

    def run() -> None:
        for array in (pa.array([None], pa.list_(pa.int8())), pa.array([None], pa.map_(pa.int8(), pa.int8()))):
            refused(method("cast-column", column(array), "c", "fixed_size_list<item: int8>[1000000]"), "wrong-type")

    survives(run)


@attack("memory")
def offsets_of_no_rows(arena: Arena) -> None:
    """Hand over a list of no rows whose first offset lies far outside: Arrow ends the process, or reads there."""

    def run() -> None:
        for first in (1, 2**30, -1):
            child = pa.array([], pa.int8())
            array = pa.Array.from_buffers(pa.list_(pa.int8()), 0, [None, offsets(first)], children=[child])
            refused(method("concat", [column(array), column(array)]), "malformed")
            refused(method("cast-column", column(array), "c", "large_list<item: int8>"), "malformed")

    survives(run)


@attack("memory")
def offsets_that_lie(arena: Arena) -> None:
    """Send strings and lists whose offsets descend, are negative, or lead past the end, in rows that are null too."""
    good = stream(one(pa.array(["ab", "cd", "ef"])))
    honest = struct.pack("<4i", 0, 2, 4, 6)
    assert good.count(honest) == 1
    for lie in ((0, 4, 2, 6), (-2, 2, 4, 6), (0, 2, 4, 7), (0, 2, 4, 2**31 - 1), (6, 6, 6, 0), (2**30,) * 4):
        refused_stream(good.replace(honest, struct.pack("<4i", *lie)))
    good = stream(one(pa.array([[1, 2], None, [3, 4, 5, 6]], pa.list_(pa.int8()))))
    honest = struct.pack("<4i", 0, 2, 2, 6)
    assert good.count(honest) == 1
    for lie in ((0, 2, 2, 7), (0, 9, 2, 6), (-1, 2, 2, 6), (0, 2, 2, 2**31 - 1)):
        refused_stream(good.replace(honest, struct.pack("<4i", *lie)))


@attack("memory")
def dictionary_of_nulls(arena: Arena) -> None:
    """Use a dictionary of values that take no memory, of which Arrow reads what is not there."""

    def run() -> None:
        for values in (pa.nulls(1), pa.array([{}], pa.struct([]))):
            array = pa.DictionaryArray.from_arrays(pa.array([0]), values)
            for view in ("validity", "text-column", "to-json-lines"):
                arguments = () if view == "to-json-lines" else ("c",)
                refused(method(view, column(array), *arguments), "wrong-type")

    survives(run)


@attack("memory")
def index_past_its_dictionary(arena: Arena) -> None:
    """Point past the end of a dictionary, or before it, within a list too."""
    for index in (7, -1, 127):
        array = pa.DictionaryArray.from_arrays(pa.array([0, index], pa.int8()), pa.array(["a"]), safe=False)
        refused_stream(stream(one(array)))
        refused(method("text-column", column(array), "c"), "malformed")
        nested = pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), array)
        refused(method("to-json-lines", column(nested)), "malformed")


@attack("memory")
def compressed_buffer_that_is_shorter(arena: Arena) -> None:
    """Claim more bytes for a compressed buffer than there are: what is left over would be the host's memory."""

    def run() -> None:
        for codec in ("zstd", "lz4"):
            good = stream(one(pa.array(np.zeros(10_000))), compression=codec)
            honest = struct.pack("<q", 80_000)
            assert good.count(honest) == 1
            for claim in (80_008, 160_000, 79_992, -2, 0):
                refused_stream(good.replace(honest, struct.pack("<q", claim)))

    survives(run)


@attack("memory")
def number_of_nulls_that_lies(arena: Arena) -> None:
    """Claim nulls where there is no bitmap, or another number of them than it has."""
    good = stream(one(pa.array([1, None, 3, None], pa.int64())))
    honest = struct.pack("<qq", 4, 2)
    assert good.count(honest) == 1
    for nulls in (1, 3, 4, 5, -1):
        refused_stream(good.replace(honest, struct.pack("<qq", 4, nulls)))
    for rows in (5, 2**31, 2**40, -1):
        refused_stream(good.replace(honest, struct.pack("<qq", rows, 2)))


@attack("memory")
def views_behind_nulls(arena: Arena) -> None:
    """Hand over views of strings that lead anywhere, behind nulls, which Arrow does not check but reads."""

    def run() -> None:
        view = struct.pack("<iiii", 100, 0, 7, 2**30)
        for bitmap in (None, pa.py_buffer(b"\0")):
            array = pa.Array.from_buffers(pa.string_view(), 1, [bitmap, pa.py_buffer(view)])
            refused(method("text-column", column(array), "c"), "malformed")

    survives(run)


@attack("memory")
def types_off_the_list(arena: Arena) -> None:
    """Send types for which not every operation is known to be safe: unions, runs, list views, intervals, zero width."""
    arrays = [
        pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
        pa.RunEndEncodedArray.from_arrays([1], [1]),
        pa.array([[1]], pa.list_view(pa.int8())),
        pa.array([None], pa.month_day_nano_interval()),
        pa.array([[]], pa.list_(pa.int8(), 0)),
        pa.array([[None]], pa.list_(pa.null(), 1)),
        pa.Array.from_buffers(pa.binary(0), 1, [None, pa.py_buffer(b"")]),
    ]
    for array in arrays:
        refused(method("to-json-lines", column(array)), "wrong-type")
        refused(method("to-arrow", column(array)), "wrong-type")
        refused_stream(stream(one(array)))
        nested = pa.StructArray.from_arrays([array], ["x"])
        refused(method("to-json-lines", column(nested)), "wrong-type")
        refused_stream(stream(one(nested)))


@attack("memory")
def fields_of_the_same_name(arena: Arena) -> None:
    """Give two fields of a struct the same name, so that who reads it as JSON sees one value, and others the other."""
    struct = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"])
    for array in (struct, pa.ListArray.from_arrays([0, 1], struct), pa.StructArray.from_arrays([struct], ["y"])):
        refused(method("to-json-lines", column(array)), "wrong-type")
        refused(method("to-arrow", column(array)), "wrong-type")
        refused_stream(stream(one(array)))
    # The names within a map are not written.
    entries = pa.array([[("k", 1)]], pa.map_(pa.field("key", pa.string(), False), pa.field("key", pa.int64())))
    answer = method("to-json-lines", column(entries))
    assert answer.value.to_pybytes() == b'{"c":[{"key":"k","value":1}]}\n'


@attack("memory")
def text_that_is_not_utf8(arena: Arena) -> None:
    """Give a plugin text that is not UTF-8, or that is cut within a character, out of a stream or a file."""
    for ends, text in (((0, 1, 2), b"a\xff"), ((0, 1, 2), "é".encode()), ((0, 3, 3), b"\xed\xa0\x80")):
        array = pa.Array.from_buffers(pa.string(), 2, [None, offsets(*ends), pa.py_buffer(text)])
        refused_stream(stream(one(array)))
        refused(method("text-column", column(array), "c"), "malformed")
        refused(method("to-json-lines", column(array)), "malformed")


@attack("limits")
def dictionary_that_is_declared_large(arena: Arena) -> None:
    """Declare a dictionary of half a billion values of no width in a few hundred bytes, and use one of them."""
    nulls = pa.Array.from_buffers(pa.null(), 2**29, [None])
    refused_stream(stream(one(pa.DictionaryArray.from_arrays(pa.array([0]), nulls))))


@attack("limits")
def buffer_that_many_columns_share(arena: Arena) -> None:
    """Point all columns of a stream to one buffer, so that a small stream becomes a large batch."""
    rows = np.zeros(MIB)
    batch = pa.RecordBatch.from_arrays([pa.array(rows)] * 2, names=["a", "b"])
    encoded = stream(batch)
    size = rows.nbytes
    for honest, lie in (((size, 0, size, size), (0, 0, 0, size)), ((2 * size,), (size,))):
        form = f"<{len(honest)}q"
        assert encoded.count(struct.pack(form, *honest)) == 1
        encoded = encoded.replace(struct.pack(form, *honest), struct.pack(form, *lie))
    shared = encoded[: -8 - size] + encoded[-8:]
    assert not isinstance(method("from-arrow", shared), Err), "within the limit it does no harm"
    refused(imports(max_batch_bytes=12 * MIB)["from-arrow"](shared), "too-large")


@attack("limits")
def crowd_of_tiny_batches(arena: Arena) -> None:
    """Put hundreds of thousands of empty batches into one stream: each takes a thousand times its bytes."""
    batch = one(pa.array([], pa.int8()))
    head, whole = len(stream(batch)), len(stream(batch, batch))
    encoded = stream(batch)
    part = stream(batch, batch)[head - 8 : whole - 8]
    refused(imports(max_batch_bytes=8 * MIB)["from-arrow"](encoded[:-8] + part * 20_000 + encoded[-8:]), "too-large")


@attack("limits")
def many_columns_many_times(arena: Arena) -> None:
    """Join one batch of ten thousand columns a hundred times, in a call that may take half a second."""
    wide = Batch(pa.record_batch({f"c{i}": [1] for i in range(10_000)}))
    began = time.monotonic()
    budget = HostBudget()
    budget.deadline_s = began + 0.5
    with serving(budget):
        arena.raises(OverTime, lambda: imports()["concat"]([wide] * 100))
    assert time.monotonic() - began < 3.0


@attack("limits")
def fields_that_are_shared(arena: Arena) -> None:
    """Have each field of a schema refer to one field twice, level by level: kilobytes become billions of fields."""
    kind: pa.DataType = pa.int8()
    for _ in range(16):
        kind = pa.struct([("a", kind), ("b", kind)])
        if kind.num_fields and guard_types.refusal(kind):
            break
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, pa.schema([("c", kind)])).close()
    refused_stream(bytes(sink.getvalue()))


@attack("files-in")
def arrow_file_cut_while_it_is_read(arena: Arena) -> None:
    """Truncate an input file while a pipeline reads it: mapped memory would be gone, and the process with it."""
    path = arena.folder / "rows.arrow"
    batch = pa.record_batch({"n": np.arange(500_000)})
    with pa.ipc.new_file(str(path), batch.schema) as writer:
        for _ in range(4):
            writer.write_batch(batch)

    def run() -> None:
        with open(path, "rb") as file:
            found = read_file(file, 64 * MIB)
            next(found), next(found)
            os.truncate(path, 5000)
            try:
                next(found)
            except DataFailure as error:
                assert error.error.case == "malformed"
            else:
                raise AssertionError("it was let through")

    survives(run)


@attack("files-in")
def arrow_file_whose_footer_lies(arena: Arena) -> None:
    """Let the footer of an Arrow file lead outside of it, or to another message."""
    path = arena.folder / "rows.arrow"
    batch = pa.record_batch({"n": [1, 2, 3]})
    with pa.ipc.new_file(str(path), batch.schema) as writer:
        writer.write_batch(batch)
    good = path.read_bytes()
    size = int.from_bytes(good[-10:-6], "little")
    for at in range(len(good) - 10 - size, len(good) - 10, 4):
        for lie in (b"\xff\xff\xff\xff", b"\0\0\0\x40", b"\x08\0\0\0"):
            path.write_bytes(good[:at] + lie + good[at + 4 :])
            try:
                with path.open("rb") as file:
                    for found in read_file(file, MIB):
                        assert isinstance(found, pa.Schema) or found.equals(batch) or found.num_rows <= 3
            except DataFailure as error:
                assert error.error.case in ("malformed", "too-large")
            except Exception as error:
                raise AssertionError(f"what came out is {type(error).__name__}: {error}") from error


def _anything(*_: object) -> str:
    return ""


def _as_long_as_claimed(_: object, packed: pa.Buffer, codec: str) -> pa.Buffer | None:
    if packed.size == 0:
        return None
    size = int.from_bytes(packed.slice(0, 8).to_pybytes(), "little", signed=True)
    with pa.CompressedInputStream(pa.BufferReader(packed.slice(8)), codec) as unpacking:
        return pa.py_buffer(unpacking.read().ljust(max(size, 0), b"?"))


def _mapped(file: Any, offset: int, size: int) -> bytes:
    if not hasattr(file, "mapped"):
        file.mapped = mmap.mmap(file._file.fileno(), 0, prot=mmap.PROT_READ)
    return bytes(file.mapped[offset : offset + size])


def _at_any_place(file: Any, offset: int, size: int) -> bytes:
    file._file.seek(offset)
    found: bytes = file._file.read(size)
    return found


GUARD = "dataflare.data.guard"
MUTATIONS = [
    Mutation(f"{GUARD}.types:_ZONE", re.compile(".+"), ("zone_of_the_machine_in_a_stream",)),
    Mutation(f"{GUARD}.types:first_repeated", answers(None), ("fields_of_the_same_name",)),
    Mutation("dataflare.data.ipc_schema:refusal", _anything, ("scale_beyond_the_tables_in_a_stream",)),
    Mutation(f"{GUARD}.types:_flat_refusal", _anything, ("scale_beyond_the_tables_in_a_name",)),
    Mutation(f"{GUARD}.arrays:refusal", _anything, ("width_of_a_nested_extension", "types_off_the_list")),
    Mutation("dataflare.data.casts:_check_scales", answers(None), ("scales_far_apart",)),
    Mutation(f"{GUARD}.arrays:_require", answers(None), ("offsets_that_lie", "index_past_its_dictionary")),
    Mutation("dataflare.data.ipc:_check_nulls", answers(None), ("number_of_nulls_that_lies",)),
    Mutation(f"{GUARD}.arrays:_check_text", answers(None), ("text_that_is_not_utf8",)),
    Mutation(
        "dataflare.data.ipc:_Decoder._add", answers(None), ("crowd_of_tiny_batches", "buffer_that_many_columns_share")
    ),
    Mutation("dataflare.data.builders:current", lambda: HostBudget(), ("many_columns_many_times",)),
    Mutation("dataflare.data.ipc_schema:MAX_COLUMNS", 10**9, ("fields_that_are_shared",)),
    Mutation("dataflare.data.casts:_list", lambda a, target: a.cast(target), ("null_list_as_one_of_a_fixed_size",)),
    Mutation(f"{GUARD}.arrays:_require", answers(None), ("offsets_of_no_rows",)),
    Mutation(f"{GUARD}.arrays:refusal", _anything, ("dictionary_of_nulls",)),
    Mutation("dataflare.data.ipc_schema:refusal", _anything, ("dictionary_that_is_declared_large",)),
    Mutation(f"{GUARD}.arrays:_unviewed", lambda array, seen, _: array.cast(seen), ("views_behind_nulls",)),
    Mutation("dataflare.data.ipc:_Decoder._unpacked", _as_long_as_claimed, ("compressed_buffer_that_is_shorter",)),
    Mutation("dataflare.data.ipc:_File.at", _mapped, ("arrow_file_cut_while_it_is_read",)),
    Mutation("dataflare.data.ipc:_File.at", _at_any_place, ("arrow_file_whose_footer_lies",)),
]
