"""The store of builds: its folder, digests of what goes into a build, locks, and files written in one step."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dataflare.errors import ConfigError
from dataflare.toolchain.guests import Guest
from dataflare.user_files import MAX_COMPONENT_BYTES, cache_folder, read_file
from dataflare.user_folders import require_within

__all__ = [
    "MAX_SOURCES_BYTES",
    "cache_root",
    "digest_bytes",
    "digest_files",
    "load_build",
    "locked",
    "once",
    "save_build",
    "stage_wit",
    "write_atomically",
    "write_changed",
]


MAX_SOURCES_BYTES: Final = 2**30
"""How long all files of a digest may be together; each may have `MAX_COMPONENT_BYTES`."""


def cache_root() -> Path:
    """The folder for builds and toolchains: the user's cache folder."""
    return cache_folder().resolve()


def digest_bytes(data: bytes) -> str:
    """SHA-256, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_files(roots: Mapping[str, Path], files: Iterable[Path], *extra: str) -> str:
    """SHA-256 of files with their paths, and of further texts.

    Args:
        roots: Folders by the names that stand for them: a digest does not depend on where they are. A file counts as
            below the first of them that it is in.
        files: The files.
        extra: The texts.

    Raises:
        ConfigError: A file cannot be read, is not a regular file, or is too long, or all of them together are.
    """
    digest = hashlib.sha256()
    for text in extra:
        digest.update(f"{len(text)}:{text}".encode())
    left = MAX_SOURCES_BYTES
    for name, path in sorted((_name_below(roots, path), path) for path in set(files)):
        data = read_file(path, min(MAX_COMPONENT_BYTES, left))
        left -= len(data)
        digest.update(f"{name}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def _name_below(roots: Mapping[str, Path], path: Path) -> str:
    for name, root in roots.items():
        if path.is_relative_to(root):
            return f"{name}/{path.relative_to(root).as_posix()}"
    raise ValueError(f"{path} is in none of {', '.join(map(str, roots.values()))}")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is complete or does not exist, and survives a crash once this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp's files are for their owner alone; a component is for everyone who may read the folder.
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_changed(folder: Path, name: Path | str, data: bytes) -> bool:
    """Write a file below a plugin's folder, unless it has these contents; returns whether it was written.

    A file that is a link is replaced, and the one that it leads to stays as it is.

    Raises:
        ConfigError: It cannot be written, or a link leads out of the folder.
    """
    path = folder / name
    try:
        # In this order: what is outside of the folder is not even looked at.
        require_within(path, folder)
        if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
            return False
        write_atomically(path, data)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(path)) from error
    return True


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Keep other processes from doing the same work until the block ends; the lock is released if the process dies.

    Windows has no such locks: there, two processes may do the same work twice.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    path = cache_root() / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def load_build(key: str) -> bytes | None:
    """Return the component that is stored under `key`; `None` if there is none, or only a damaged one."""
    for path in sorted((cache_root() / "guests").glob(f"{key}.*.wasm")):
        data = path.read_bytes()
        if path.name == f"{key}.{digest_bytes(data)}.wasm":
            return data
    return None


def save_build(key: str, component: bytes) -> None:
    """Store a component. Its digest is part of the file's name, so that damage is noticed."""
    write_atomically(cache_root() / "guests" / f"{key}.{digest_bytes(component)}.wasm", component)


def once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Make a folder with its contents unless it exists; nobody sees it incomplete.

    Args:
        folder: The folder.
        make: Fills the empty folder that it is given, which then gets the name `folder`.
    """
    with locked(folder.name):
        return folder if folder.is_dir() else _make_folder(folder, make)


def _make_folder(folder: Path, make: Callable[[Path], None]) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        make(made)
        made.chmod(0o755)
        try:
            made.rename(folder)
        except OSError:
            # Where there are no locks another process may have been faster; its folder is as good.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def stage_wit(guest: Guest, to: Path) -> Path:
    """Write a guest's WIT in the layout that tools want: the guest's package, and in `deps` those that it builds on.

    Args:
        guest: The guest.
        to: An existing folder, to write into.

    Returns:
        The folder to give to a tool.
    """
    staged = to / "wit"
    if guest.file is None:
        shutil.copytree(guest.folder / "wit", staged)
    else:
        staged.mkdir()
        (staged / "world.wit").write_text(guest.file.world(), encoding="utf-8")
    for package in ("data", "host", "plugin"):
        shutil.copytree(guest.wit / package, staged / "deps" / package)
    return staged
