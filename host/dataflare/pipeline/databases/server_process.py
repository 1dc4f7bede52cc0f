"""Connects to a PostgreSQL server, in the process that `confined_process` serves.

The process confines itself twice. Before the driver reads the first byte from the server, it gives up all that
connecting does not need: it keeps sockets of the server's kind, by TCP only to the server's port, and reads the files
with keys and certificates. Once it is connected, it gives up these too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import adbc_driver_manager
import adbc_driver_postgresql

from dataflare.runtime.isolation import landlock
from dataflare.runtime.isolation.jail import JailIncomplete, confine_to_server, leave_connected

__all__ = ["connect"]

_OWN_FILES: Final = (
    *("/dev/urandom", ".pgpass", ".postgresql", ".postgresql/root.crt", ".postgresql/root.crl"),
    *(".postgresql/postgresql.crt", ".postgresql/postgresql.key"),
)
"""Files that it finds without a variable; a link among them leads anywhere."""
_LEAST_S: Final = 2
"""The shortest time that the driver waits for an address."""
_LOOK_AFTER_CLIENT: Final = (
    "SELECT set_config(name, '1000', false) FROM (VALUES ('client_connection_check_interval')) AS given(name) "
    "WHERE current_setting(name, true) IS NOT NULL"
)
"""Has the server end a query whose client has ended; PostgreSQL 14 and later can."""


def connect(request: Mapping[str, Any], execute: Callable[[Any, str], None]) -> tuple[Any, Any, tuple[str, ...]]:
    """Connect to a server, and keep nothing but the connection.

    Args:
        request: The URI with the password, its host and port, and the variables that the driver knows, those that
            name files apart; `connect_s`: the seconds that connecting may take, 0 for no limit.
        execute: Runs a statement on a connection.

    Returns:
        The database, its connection, and the parts of the jail that are in force.

    Raises:
        OSError: The host has no address, or the kernel let the process keep more than the connection.
        adbc_driver_manager.Error: The server cannot be reached, or refuses.
    """
    files, host, port = request["files"], request["host"], request["port"]
    variables = {**request["environment"], **files}
    os.environ.update(variables)
    driver = adbc_driver_postgresql._driver_path()
    ctypes.CDLL(driver)  # once the process is confined, nothing can be loaded
    uri, family, ports = request["uri"], (socket.AF_UNIX,), ()
    if host and host[0] not in "/@":
        addresses = _addresses(host, port)
        # The driver needs no resolver, which reads files and makes other sockets.
        uri += "&" + urlencode({"host": ",".join([host] * len(addresses)), "hostaddr": ",".join(addresses)})
        if request["connect_s"]:  # one that is silent leaves time for the next one
            uri += f"&connect_timeout={max(_LEAST_S, request['connect_s'] // len(addresses))}"
        family, ports = (socket.AF_INET, socket.AF_INET6), (port,)  # type: ignore[assignment]
    in_force = confine_to_server(_kept(variables["HOME"], files), family, ports)
    database = adbc_driver_manager.AdbcDatabase(driver=driver, uri=uri)
    connection = adbc_driver_manager.AdbcConnection(database)
    for name in variables:
        del os.environ[name]
    try:
        leave_connected(in_force)
    except JailIncomplete as error:
        raise OSError(f"the process that uses it could not give up what connecting needed: {error}") from error
    with contextlib.suppress(adbc_driver_manager.Error):  # of a system on which a server cannot do so
        execute(connection, _LOOK_AFTER_CLIENT)
    return database, connection, in_force


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise OSError(f"failed to connect: could not translate host name {host!r} to address: {error}") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _kept(home: str, files: Mapping[str, str]) -> dict[str, int]:
    paths = [*(os.path.join(home, each) for each in _OWN_FILES), *files.values()]
    there = filter(os.path.exists, paths)
    return {each: landlock.READ if os.path.isdir(each) else landlock.READ_FILE for each in there}
