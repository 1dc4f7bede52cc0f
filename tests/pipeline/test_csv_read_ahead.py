"""Arrow's thread that reads a CSV file ahead: it outlives its reader, and must not need Python while Python ends."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time

import pytest

from dataflare.pipeline.reading.csv_records import RowBytes

SLOW = """
import sys, time
from dataflare.pipeline.reading.csv_records import DataBytes

quick = DataBytes.read

def slow(self, size=-1):
    if size != 1:  # the first byte is read before there is a reader
        time.sleep({seconds})
    return quick(self, size)

DataBytes.read = slow
"""
LIBRARY = """
from pathlib import Path
from dataflare.errors import DataflareError
from dataflare.pipeline.readers import describe
try:
    print(describe("csv", [Path(sys.argv[1])], {}))
except DataflareError as error:
    print(error)
"""
COMMAND = """
from dataflare.cli.main import main
sys.argv = ["dataflare", "schema", sys.argv[1]]
main()
"""


@pytest.mark.parametrize(
    ("program", "seconds", "text", "code"),
    [
        # A read of the next part is under way when the first one is found to be wrong, and when it is enough.
        (LIBRARY, 0.1, "a,b\n1,2,3\n", 0),
        (LIBRARY, 0.1, "a,b\n" + "1,2\n" * 6_000_000, 0),
        (COMMAND, 0.5, "a,b\n1,2,3\n", 1),
    ],
)
def test_program_ends_while_a_file_is_read_ahead(tmp_path, program, seconds, text, code):
    path = tmp_path / "in.csv"
    path.write_text(text)
    source = SLOW.format(seconds=seconds) + program
    done = subprocess.run([sys.executable, "-c", source, path], capture_output=True, text=True, timeout=120)
    assert (done.returncode, "terminate" in done.stderr) == (code, False), done.stderr
    assert done.stdout or "Expected 2 columns" in done.stderr


def test_stopped_rows_end_and_stopping_waits_for_the_read_that_is_under_way():
    begun, go_on = threading.Event(), threading.Event()

    class Slow(io.RawIOBase):
        def read(self, size=-1):
            begun.set()
            go_on.wait(10)
            return b"x" * size

    rows = RowBytes(b"", Slow())
    parts = []

    def read_all():
        while (part := rows.read(4)) and len(parts) < 9:
            parts.append(part)

    thread = threading.Thread(target=read_all, daemon=True)
    thread.start()
    begun.wait(10)
    threading.Timer(0.02, go_on.set).start()
    rows.stop()
    thread.join(0.1)
    assert (parts, thread.is_alive()) == ([b"xxxx"], False)


def test_stopping_what_nobody_reads_takes_no_longer_than_a_moment():
    rows = RowBytes(b"", io.BytesIO(b"1,2\n"))
    begin = time.monotonic()
    rows.stop()
    assert time.monotonic() - begin < 5
    assert rows.read(4) == b""
