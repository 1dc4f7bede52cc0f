"""What a confined process can still do."""

from __future__ import annotations

import errno
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dataflare.runtime.isolation import landlock, seccomp
from dataflare.runtime.isolation.jail import JailIncomplete, confine

if sys.platform != "linux":
    pytest.skip("the jail is Linux's", allow_module_level=True)

from jailed import jailed, syscall

MACHINE = platform.machine()
NAMES = {number: name for name, number in seccomp.NUMBERS[MACHINE].items()}
ENDS = {number for number, name in NAMES.items() if name in ("exit", "exit_group", "rt_sigreturn")}
"""What goes through, and would end the walk."""
if MACHINE == "x86_64":
    # uretprobe and uprobe: the kernel asks no filter, and ends a process that is not being probed.
    ENDS |= {335, 336}


def walked() -> list[int]:
    """What each system call answers to arguments that are of no use; EPERM for what is not tried."""
    return [-errno.EPERM if number in ENDS else syscall(number, *[-1] * 6) for number in range(601)]


def test_every_system_call_that_is_not_listed_is_refused():
    found = jailed(walked)
    assert len(found) == 601
    refusals = {-errno.EPERM, -errno.ENOSYS}
    answered = {NAMES.get(number, str(number)) for number, result in enumerate(found) if result not in refusals}
    assert answered <= {*seccomp.ALLOWED, "openat"}
    # The walk itself works: what asks for nothing answers.
    assert {"getpid", "gettid", "sched_yield", "clock_gettime", "read", "write", "close", "munmap"} <= answered


@pytest.mark.parametrize("number", [335, 336])
def test_calls_about_which_the_kernel_asks_no_filter_do_nothing(number):
    if MACHINE != "x86_64":
        pytest.skip("only x86-64 has them")
    refusals = {-errno.EPERM, -errno.ENOSYS, -errno.ENXIO}
    # True: it was refused; or the signal that ended the process.
    answered = jailed(lambda: syscall(number, *[-1] * 6) in refusals)
    assert answered in {True, -signal.SIGILL, -signal.SIGSEGV}


def test_calls_of_another_abi_end_the_process():
    if MACHINE != "x86_64":
        pytest.skip("x32 is of x86_64")
    assert jailed(lambda: syscall(0x40000000 + seccomp.NUMBERS[MACHINE]["getpid"])) == -signal.SIGSYS


HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),
}


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_those_of_the_kernels_headers(machine):
    header = next((path for path in map(Path, HEADERS[machine]) if path.exists()), None)
    if header is None:
        pytest.skip("the kernel's headers are not installed")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
    known.setdefault("newfstatat", known.get("fstatat", ""))  # what the generic header calls it
    assert {name: int(known[name]) for name in seccomp.NUMBERS[machine]} == seccomp.NUMBERS[machine]
    assert {"poll", "time"} - set(seccomp.NUMBERS[machine]) <= {"poll", "time"} - set(known)


@pytest.mark.parametrize("machine", seccomp.NUMBERS)
def test_filter_is_well_formed(machine):
    made = seccomp.program(machine, pid=1234, allowed=seccomp.ALLOWED)
    assert len(made) < 4096
    for at, (code, holds, fails, value) in enumerate(made):
        assert 0 <= value < 2**32 and max(holds, fails) < 256
        if code in (0x15, 0x35):
            assert at + 1 + max(holds, fails) < len(made)
    assert made[-1][0] == 0x06 and made[-1][3] & 0x7FFF0000 != 0x7FFF0000


def import_anew() -> None:
    # For an empty entry, which others may leave in the path, Python asks for the current folder: another refusal.
    sys.path[:] = [os.path.dirname(os.__file__)]
    __import__("tabnanny")


def attempts() -> dict[str, str]:
    """What is left of ordinary life."""
    tries: dict[str, Any] = {
        "read": lambda: open("/etc/passwd").close(),
        "write": lambda: open("/tmp/dataflare-jail", "w").close(),
        "list": lambda: os.listdir("/"),
        "ask": lambda: os.stat("/etc/passwd"),
        "fork": os.fork,
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "import": import_anew,
        "pipe": os.pipe,
        "allocate": lambda: bytearray(2**31),
        "compute": lambda: pc.sum(pa.array(range(1000))),
    }
    results = {}
    for name, attempt in tries.items():
        try:
            attempt()
            results[name] = "done"
        except (OSError, MemoryError, ImportError) as error:
            results[name] = type(error).__name__
    return results


def test_confined_process_reaches_nothing():
    assert jailed(attempts) == {
        **dict.fromkeys(("read", "write", "list", "ask", "fork", "exec", "pipe"), "PermissionError"),
        "import": "ModuleNotFoundError",
        "allocate": "MemoryError",
        "compute": "done",
    }


def test_threads_can_be_started():
    import threading

    def run() -> list[int]:
        found: list[int] = []
        threads = [threading.Thread(target=found.append, args=(n,)) for n in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return sorted(found)

    assert jailed(run) == [0, 1, 2, 3]


def test_guards_of_stacks_can_be_set():
    """As the threads of glibc 2.42 and later do; a kernel before 6.13 does not know them."""
    number = seccomp.NUMBERS[MACHINE]["madvise"]
    answers = jailed(lambda: [syscall(number, 0, 0, advice) for advice in (102, 103)])
    assert set(answers) <= {0, -errno.EINVAL}


def test_every_time_zone_is_known():
    # In a fresh process: a long one may have read some before.
    code = """
import pyarrow as pa
import pyarrow.compute as pc
from dataflare.data.expressions import times
from dataflare.runtime.isolation.worker import load_late
from jailed import jailed
load_late()
moments = pa.array([0], pa.timestamp("s"))
known = sorted(filter(times.is_zone, times.zones()))
def wrong():
    found = []
    for zone in known:
        try:
            pc.strftime(moments.cast(pa.timestamp("s", zone)))
        except Exception as error:
            found.append(f"{zone}: {error}")
    return found
print(len(known), jailed(wrong))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "" and done.stdout.endswith(" []\n"), done
    assert int(done.stdout.split()[0]) > 400


@pytest.mark.parametrize("version", range(8))
def test_landlock_names_what_each_version_has(version):
    names = landlock.parts(version)
    assert ("landlock-files" in names) == (version >= 1)
    assert ("landlock-truncate" in names) == (version >= 3)
    assert ("landlock-tcp" in names) == (version >= 4)
    assert ("landlock-devices" in names) == (version >= 5)
    assert ("landlock-signals" in names) == (version >= 6)


def test_part_that_is_missing_is_named(monkeypatch):
    def fail() -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("dataflare.runtime.isolation.privileges.no_new_privileges", fail)

    def attempt() -> str:
        return "confined"

    assert jailed(attempt) == "not confined: no-new-privileges: Invalid argument"
    assert jailed(attempt, best_effort=True) == "confined"


def test_parent_that_has_gone_is_noticed():
    assert jailed(lambda: 0, parent=1) == "not confined: parent-death: the parent has gone"
    assert issubclass(JailIncomplete, Exception) and callable(confine)
