"""Attacks by code that runs in a worker's process, with all the system calls that it wants to make."""

from __future__ import annotations

import ctypes
import mmap
import os
import pty
import signal
import subprocess
import time
from typing import Any

from arena import Arena, Mutation, answers, attack
from dataflare.runtime.isolation import seccomp
from jailed import DENIED, ended_by, jailed, kill, started, syscall

ROOM = 128 * 2**20
HERE = -100  # AT_FDCWD
PRIVATE, SHARED, ANONYMOUS, GROWS_DOWN = 0x2, 0x1, 0x20, 0x100
READ, WRITE, EXECUTE = 1, 2, 4
NOWHERE = b"/nonexistent/dataflare"


def refused(*calls: tuple[Any, ...]) -> None:
    """Each of these calls is refused before the kernel looks at its arguments, which are wrong or harmless."""
    found = jailed(lambda: [syscall(*each) for each in calls])
    let_through = {str(call[0]): answer for call, answer in zip(calls, found, strict=True) if answer != -DENIED}
    assert not let_through, let_through


@attack("processes")
def command_typed_into_the_terminal(arena: Arena) -> None:
    """Insert characters into the operator's terminal input (TIOCSTI), so that the shell runs them."""
    ours, theirs = pty.openpty()
    try:
        refused(("ioctl", theirs, 0x5412, b"x"), ("ioctl", theirs, 0x5413, bytes(8)), ("ioctl", 0, 0x541C, b"\x03"))
    finally:
        os.close(ours)
        os.close(theirs)
    found = started("surroundings")
    assert [path for number, path in found["descriptors"] if number <= 2] == ["/dev/null"] * 3
    assert not found["terminal"]


@attack("processes")
def signal_from_the_terminals_session(arena: Arena) -> None:
    """Stay in the host's session and process group, to receive its signals and to send it signals."""
    found = started("surroundings")
    assert found["session"] == found["group"] == found["pid"]
    refused(("setsid",), ("kill", 0, 0))


@attack("processes")
def secret_in_the_environment(arena: Arena) -> None:
    """Read secrets from the environment that the process inherits."""
    os.environ["DATAFLARE_SECRET_TOKEN"] = "hunter2"
    try:
        found = started("surroundings")["environment"]
    finally:
        del os.environ["DATAFLARE_SECRET_TOKEN"]
    assert "hunter2" not in str(found)
    assert set(found) <= {
        *("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_DEFAULT_MEMORY_POOL"),
        *("JE_ARROW_MALLOC_CONF", "LC_CTYPE", "LD_LIBRARY_PATH"),
    }, "nothing but what Python needs"


@attack("processes")
def file_that_the_host_left_open(arena: Arena) -> None:
    """Use a descriptor that the process inherits, a connection of the host's or its resource tracker."""
    secret = arena.folder / "secret"
    secret.write_text("hunter2")
    with secret.open() as file:
        os.set_inheritable(file.fileno(), True)
        found = [path for number, path in started("surroundings")["descriptors"] if number > 2]
    assert len(found) == 1 and found[0].startswith("socket:"), found


@attack("processes")
def limits_of_the_host(arena: Arena) -> None:
    """Lower the host's limits, or raise those of the worker (`prlimit`)."""
    new = bytes(16)
    refused(("prlimit64", os.getpid(), 0, 0, 0), ("prlimit64", 0, 4, new, 0), ("prlimit64", 1, 0, new, 0))


@attack("processes")
def signals_to_the_host(arena: Arena) -> None:
    """Stop or end the host by a signal."""
    host = os.getpid()
    refused(
        ("tgkill", host, host, 0),
        ("tgkill", 2**31 - 16, 1, 0),
        ("kill", host, 0),
        ("tkill", host, 0),
        ("rt_sigqueueinfo", host, 0, 0),
        ("pidfd_open", host, 0),
        ("pidfd_send_signal", 0, 0, 0, 0),
    )


@attack("processes")
def priority_of_the_host(arena: Arena) -> None:
    """Take the processor away from the host, or keep all of it."""
    refused(
        ("setpriority", 0, 0, 0),
        ("sched_setaffinity", 0, 0, 0),
        ("sched_setscheduler", 0, -1, 0),
        ("ioprio_set", 1, 0, 0),
    )


@attack("processes")
def metadata_of_files(arena: Arena) -> None:
    """Change the mode, owner, times, name or length of a file, which Landlock does not see."""
    path = str(arena.folder / "nothing").encode()
    refused(
        ("fchmodat", HERE, path, 0o777),
        ("fchownat", HERE, path, 0, 0, 0),
        ("utimensat", HERE, path, 0, 0),
        ("setxattr", path, b"user.x", b"", 0, 0),
        ("unlinkat", HERE, path, 0),
        ("renameat2", HERE, path, HERE, path, 0),
        ("linkat", HERE, path, HERE, path, 0),
        ("symlinkat", path, HERE, path),
        ("mkdirat", -1, b"x", 0o700),
        ("truncate", path, 0),
        ("fchmod", -1, 0),
        ("fchown", -1, 0, 0),
        ("ftruncate", -1, 0),
    )


@attack("processes")
def names_and_sizes_of_files(arena: Arena) -> None:
    """Learn which files there are, how large and whose."""
    refused(("newfstatat", HERE, NOWHERE, bytes(256), 0), ("statx", HERE, NOWHERE, 0, 0, 0), ("getdents64", -1, 0, 0))


@attack("processes")
def file_opened_for_writing(arena: Arena) -> None:
    """Open a file to write to it, to make it, to cut it, or without a name in shared memory."""
    flags = (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_APPEND, os.O_TMPFILE, os.O_PATH)
    refused(*(("openat", HERE, NOWHERE, each, 0o600) for each in flags))
    refused(("openat", HERE, b"/dev/shm/dataflare", os.O_CREAT | os.O_RDWR, 0o600))


@attack("processes")
def file_of_somebody_else(arena: Arena) -> None:
    """Read the files of the user, of the machine, of other processes, or Python's own."""
    secret = arena.folder / "secret"
    secret.write_text("hunter2")
    for parent in (secret, *secret.parents[:3]):
        parent.chmod(0o755)
    paths = [str(secret), "/etc/passwd", "/proc/self/environ", f"/proc/{os.getpid()}/environ", os.__file__]
    found = jailed(lambda: [_reads(each) for each in paths])
    assert found == ["PermissionError"] * len(paths), found


def _reads(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        return type(error).__name__
    return os.read(descriptor, 100).decode(errors="replace")


@attack("processes")
def keys_and_queues_of_the_kernel(arena: Arena) -> None:
    """Use what the kernel shares between processes: its keys, System V and POSIX queues, semaphores."""
    refused(
        ("add_key", 0, 0, 0, 0, 0),
        ("request_key", 0, 0, 0, 0),
        ("keyctl", -1, 0, 0, 0, 0),
        ("msgget", 0, 0),
        ("semget", 0, -1, 0),
        ("mq_open", 0, 0, 0, 0),
    )


@attack("processes")
def shared_memory_over_the_limit(arena: Arena) -> None:
    """Fill twice the memory limit with shared mappings, which no limit of private memory counts."""

    def fill() -> int:
        held = []
        for _ in range(2 * ROOM // (16 * 2**20)):
            held.append(mmap.mmap(-1, 16 * 2**20))
            held[-1].write(bytes(16 * 2**20))
        return len(held)

    assert jailed(fill, room_bytes=ROOM) in ("PermissionError", "OSError")


@attack("processes")
def memory_files_over_the_limit(arena: Arena) -> None:
    """Fill memory with files that have no name (`memfd_create`), or hide it (`memfd_secret`)."""
    refused(("memfd_create", 0, 0), ("memfd_secret", -1), ("userfaultfd", -1))


@attack("processes")
def system_v_memory_over_the_limit(arena: Arena) -> None:
    """Fill memory with segments that outlive the process."""
    refused(("shmget", 0, 0, 0), ("shmat", -1, 0, 0))


@attack("processes")
def stack_that_is_no_stack(arena: Arena) -> None:
    """Map memory that grows downwards, or huge pages, or locked ones: limits of private memory leave them out."""
    flags = (GROWS_DOWN, 0x40000, 0x2000, 0x100000000)
    refused(*(("mmap", 0, 4096, READ | WRITE, PRIVATE | ANONYMOUS | each, -1, 0) for each in flags))
    refused(("mmap", 0, 4096, READ | WRITE, SHARED | ANONYMOUS, -1, 0), ("mlock", 0, 0), ("mmap", 0, 4096, 3, 3, 0, 0))


@attack("processes")
def private_memory_over_the_limit(arena: Arena) -> None:
    """Fill twice the memory limit with the process's own memory."""
    assert jailed(lambda: len(bytearray(2 * ROOM)), room_bytes=ROOM) == "MemoryError"


@attack("processes")
def addresses_without_end(arena: Arena) -> None:
    """Map terabytes that are only read, so that the kernel fills its own memory with page tables."""
    size = 2**42
    found = jailed(lambda: syscall("mmap", 0, size, READ, PRIVATE | ANONYMOUS | 0x4000, -1, 0) < 0)
    assert found is True


@attack("processes")
def code_made_at_run_time(arena: Arena) -> None:
    """Write machine code into memory, and run it."""
    refused(
        ("mmap", 0, 4096, READ | EXECUTE, PRIVATE | ANONYMOUS, -1, 0),
        ("mprotect", 0, 0, READ | EXECUTE),
        ("mprotect", 0, 0, READ | WRITE | EXECUTE),
    )


@attack("processes")
def program_in_place_of_the_worker(arena: Arena) -> None:
    """Start another program, or a process of its own."""
    refused(
        ("execve", NOWHERE, 0, 0),
        ("execveat", -1, NOWHERE, 0, 0, 0),
        ("clone", 0x01200011 | 0x100, 0, 0, 0, 0),  # as `fork` does, except for the memory that it shares
        ("clone", 0x50B00, 0, 0, 0, 0),  # a thread without the other one's files
    )


@attack("processes")
def namespaces_of_its_own(arena: Arena) -> None:
    """Become root in new namespaces, to reach parts of the kernel that only root does."""
    thread = 0x3D0F00
    refused(
        ("unshare", 0),
        ("setns", -1, 0),
        *(("clone", thread | each, 0, 0, 0, 0) for each in (0x10000000, 0x20000, 0x40000000, 0x80, 0x2000, 0x1000)),
        ("mount", 0, 0, 0, 0, 0),
        ("pivot_root", 0, 0),
        ("chroot", 0),
    )


@attack("processes")
def connection_to_the_network(arena: Arena) -> None:
    """Open a socket, to the network or to a service of the machine."""
    refused(
        *(("socket", family, kind, 0) for family in (1, 2, 10, 16, 17, 40) for kind in (1, 2, 3)),
        ("socketpair", 1, 1, 0, 0),
        ("connect", -1, 0, 0),
        ("bind", -1, 0, 0),
        ("sendmsg", -1, 0, 0),
        ("recvmsg", -1, 0, 0),
        ("sendto", -1, b"", 0, 0, b"address", 7),
    )


@attack("processes")
def memory_of_the_host(arena: Arena) -> None:
    """Read or write the host's memory, or take its descriptors."""
    host = os.getpid()
    refused(
        ("ptrace", -1, host, 0, 0),
        ("process_vm_readv", host, 0, 0, 0, 0, -1),
        ("process_vm_writev", host, 0, 0, 0, 0, -1),
        ("pidfd_getfd", -1, 0, 0),
    )


@attack("processes")
def seldom_used_parts_of_the_kernel(arena: Arena) -> None:
    """Look for holes in parts of the kernel that hold many."""
    refused(
        ("bpf", -1, 0, 0),
        ("io_uring_setup", 0, 0),
        ("perf_event_open", 0, 0, -1, -1, -1),
        ("open_by_handle_at", -1, 0, 0),
        ("init_module", 0, 0, 0),
        ("kexec_load", 0, 0, 0, -1),
        ("splice", -1, 0, -1, 0, 0, 0),
        ("timer_create", -1, 0, 0),
        ("pipe2", 0, 0),
        ("dup", -1),
        ("seccomp", -1, 0, 0),
        ("landlock_create_ruleset", 0, 0, 0),
        ("prctl", 4, 1, 0, 0, 0),  # PR_SET_DUMPABLE
        ("prctl", 1, 0, 0, 0, 0),  # PR_SET_PDEATHSIG
        ("fcntl", 0, 8, 0),  # F_SETOWN
        ("fcntl", 0, 1031, 0),  # F_SETPIPE_SZ
        ("madvise", 0, 0, 9),  # MADV_REMOVE
        ("mremap", 0, 0, 0, 4, 0),  # MREMAP_DONTUNMAP
    )


@attack("processes")
def root_in_a_process_of_its_own(arena: Arena) -> None:
    """Keep the rights of the host, who is root."""

    def rights() -> list[Any]:
        low = ctypes.create_string_buffer(24)
        head = ctypes.create_string_buffer(b"\x22\x05\x08\x20\0\0\0\0", 8)
        ctypes.CDLL(None).capget(head, low)
        return [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), low.raw == bytes(24)]

    _rights_are_gone(rights)
    refused(("setresuid", -1, -1, -1), ("capset", 0, 0))


def _rights_are_gone(rights: Any) -> None:
    # `capget` is asked before the filter is there.
    found = _before_the_filter(rights)
    assert 0 not in found[:4] and found[4] is True, found


def _before_the_filter(attempt: Any) -> Any:
    noted: list[Any] = []
    install = seccomp.install

    def note(*arguments: Any) -> None:
        noted.append(attempt())
        install(*arguments)

    seccomp.install = note
    try:
        return jailed(lambda: noted[0])
    finally:
        seccomp.install = install


@attack("processes")
def worker_that_outlives_its_host(arena: Arena) -> None:
    """Go on computing when the host has been killed."""
    out, into = os.pipe()
    host = os.fork()
    if host == 0:
        try:
            jailed(lambda: (os.write(into, b"x"), time.sleep(60)))
        finally:
            os._exit(0)
    os.close(into)
    assert os.read(out, 1) == b"x"
    with open(f"/proc/{host}/task/{host}/children", encoding="ascii") as file:
        worker = int(file.read().split()[0])
    kill(host)
    ended = ended_by(worker, 2)
    os.close(out)
    if not ended:
        os.kill(worker, signal.SIGKILL)
    assert ended, "the worker went on"


@attack("processes")
def files_and_threads_without_end(arena: Arena) -> None:
    """Use up the files and the threads that the machine has."""
    found = _before_the_filter(lambda: [_open_files(), _threads()])
    assert found[0] <= 32 and found[1] <= 64, found


def _open_files() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def _threads() -> int:
    import resource

    own = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    # Where the user is neither root nor in a namespace, threads are the user's, whom others share.
    return own if own != resource.RLIM_INFINITY else 0


_Popen = subprocess.Popen


def _with_all_files(*args: Any, pass_fds: Any, **options: Any) -> Any:
    for each in pass_fds:
        os.set_inheritable(each, True)
    return _Popen(*args, **options, close_fds=False)


_OPEN = seccomp._ALLOW


def _open_all(*_: object) -> None:
    """Confine nothing: neither the paths nor the calls, each of which is enough. Runs in the worker."""
    seccomp._REFUSE = _OPEN


MUTATIONS = [
    Mutation(
        "dataflare.runtime.isolation.seccomp:_REFUSE",
        _OPEN,
        (
            "command_typed_into_the_terminal",
            "signals_to_the_host",
            "priority_of_the_host",
            "metadata_of_files",
            "file_opened_for_writing",
            "names_and_sizes_of_files",
            "keys_and_queues_of_the_kernel",
            "memory_files_over_the_limit",
            "system_v_memory_over_the_limit",
            "program_in_place_of_the_worker",
            "namespaces_of_its_own",
            "connection_to_the_network",
            "memory_of_the_host",
            "seldom_used_parts_of_the_kernel",
        ),
    ),
    Mutation(
        "dataflare.runtime.isolation.seccomp:_checks",
        answers([]),
        (
            "limits_of_the_host",
            "signals_to_the_host",
            "shared_memory_over_the_limit",
            "stack_that_is_no_stack",
            "code_made_at_run_time",
            "namespaces_of_its_own",
        ),
    ),
    Mutation(
        "dataflare.runtime.isolation.jail:_limit",
        answers(None),
        ("private_memory_over_the_limit", "addresses_without_end", "files_and_threads_without_end"),
    ),
    Mutation("dataflare.runtime.isolation.landlock:restrict", _open_all, ("file_of_somebody_else",)),
    Mutation("dataflare.runtime.isolation.privileges:die_with", answers(None), ("worker_that_outlives_its_host",)),
    Mutation(
        "dataflare.runtime.isolation.spawn:_INHERITED", ("DATAFLARE_SECRET_TOKEN",), ("secret_in_the_environment",)
    ),
    Mutation(
        "dataflare.runtime.isolation.spawn:subprocess.Popen",
        _with_all_files,
        ("file_that_the_host_left_open",),
    ),
    Mutation(
        "dataflare.runtime.isolation.spawn:subprocess.Popen",
        lambda *args, **options: _Popen(*args, **{**options, "start_new_session": False}),
        ("signal_from_the_terminals_session",),
    ),
    Mutation(
        "dataflare.runtime.isolation.privileges:drop_capabilities", answers(None), ("root_in_a_process_of_its_own",)
    ),
]
