"""Attacks on whoever reads what the command line says, and by files that are not what their names promise."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from arena import Arena, Mutation, answers, attack, bystander, key
from dataflare.errors import ConfigError, DataflareError
from dataflare.security.signatures import sign_file
from dataflare.user_files import read_file


def ends_soon(call: Callable[[], Any]) -> DataflareError:
    """The error that a call raises within a few seconds."""
    results: list[Any] = []

    def body() -> None:
        try:
            results.append(call())
        except DataflareError as error:
            results.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(3)
    assert results, "it waits"
    assert isinstance(results[0], DataflareError), f"it was let through, and returned {results[0]!r}"
    return results[0]


@attack("files-in")
def pipe_as_a_signature(arena: Arena) -> None:
    """Put a pipe beside a component, under the name of its signature, so that verifying it waits without end."""
    component = arena.folder / "plugin.wasm"
    component.write_bytes(bystander().binary)
    os.mkfifo(arena.folder / "plugin.wasm.sig")
    error = ends_soon(lambda: arena.host(trust=arena.trust()).load(component))
    assert isinstance(error, ConfigError) and "it is a pipe" in str(error)


@attack("files-in")
def device_as_a_component(arena: Arena) -> None:
    """Name a device as a component: its bytes have no end."""
    component = arena.folder / "plugin.wasm"
    component.symlink_to("/dev/zero")
    error = ends_soon(lambda: arena.host().inspect(component))
    assert isinstance(error, ConfigError) and "it is a device" in str(error)


@attack("files-in")
def signature_of_great_length(arena: Arena) -> None:
    """Fill a signature's file with blanks, so that reading it takes all memory."""
    component = arena.folder / "plugin.wasm"
    component.write_bytes(arena.package().binary)
    path = sign_file(component, key("acme"))
    with path.open("ab") as file:
        file.write(b" " * 2**20)
    arena.raises(ConfigError, lambda: arena.trust().verify_file(component, now=_now()), says="is longer than")


@attack("files-in")
def file_that_grows_while_it_is_read(arena: Arena) -> None:
    """Append to a file after its length was looked at."""
    path = arena.folder / "policy.yaml"
    path.write_bytes(b"x")

    def grow(_: object) -> None:
        path.write_bytes(b"x" * 100_000)

    arena.raises(ConfigError, lambda: read_file(path, 1000, check=grow), says="is longer than 1000 bytes")


def _now() -> Any:
    from dataflare.security.audit import utc_now

    return utc_now()


MUTATIONS = [
    Mutation("dataflare.user_files:_FLAGS", os.O_RDONLY, ("pipe_as_a_signature",)),
    Mutation("dataflare.user_files:stat.S_ISREG", answers(True), ("pipe_as_a_signature", "device_as_a_component")),
    Mutation("dataflare.security.signatures:MAX_SIGNATURE_BYTES", 2**30, ("signature_of_great_length",)),
]
