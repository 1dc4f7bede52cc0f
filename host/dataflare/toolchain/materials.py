"""A plugin's bill of materials: what its component is made of, as CycloneDX JSON (https://cyclonedx.org).

It follows from the locks in the plugin's folder (`Cargo.lock`, `package-lock.json`, `go.sum`, `requirements.txt`) and
from what the language's driver puts into each component. It has neither a date nor a random name, so that the same
sources give the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from dataflare.errors import ConfigError
from dataflare.toolchain.guests import Guest
from dataflare.toolchain.languages import load_driver
from dataflare.toolchain.manifest_file import PluginFile
from dataflare.user_files import find_file

__all__ = ["Material", "bill_of_materials"]

_MAX_BYTES: Final = 64 * 2**20
_PINNED: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*==\s*([A-Za-z0-9.!+_-]+)")
_GO_SUM: Final = re.compile(r"(\S+) (v\S+?) h1:(\S+)")
_ALGORITHMS: Final = {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}


@dataclass(frozen=True, slots=True, order=True)
class Material:
    """A package that a component is made of.

    Args:
        type: Its package URL's type, such as `cargo` or `pypi`.
        name: Its name there, with the scope.
        version: Its version.
        hashes: Digests of its archive in hexadecimal digits, by CycloneDX's name of the algorithm.
    """

    type: str
    name: str
    version: str
    hashes: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    @property
    def purl(self) -> str:
        """The package URL."""
        return f"pkg:{self.type}/{quote(self.name, safe='/')}@{quote(self.version)}"

    def to_json(self) -> dict[str, Any]:
        """Write it as a component of CycloneDX."""
        made: dict[str, Any] = {"type": "library", "bom-ref": self.purl, "name": self.name, "version": self.version}
        made["purl"] = self.purl
        if self.hashes:
            made["hashes"] = [{"alg": name, "content": digest} for name, digest in self.hashes]
        return made


def bill_of_materials(guest: Guest) -> bytes:
    """Write what a plugin's component is made of.

    A lock may name packages of which nothing is in the component, such as those of tests.

    Raises:
        ConfigError: A lock cannot be read.
    """
    file = guest.file
    assert file is not None
    driver = load_driver(guest.language)(guest)
    runtime: dict[str, str] = getattr(driver, "runtime", dict)()
    found = {*_locked(guest.folder)}
    for name, version in runtime.items():
        kind, _, package = name.partition(":")
        found.add(Material(kind, package, version))
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _plugin(file)},
        "components": [each.to_json() for each in sorted(found)],
    }
    return f"{json.dumps(document, indent=2, ensure_ascii=False)}\n".encode()


def _plugin(file: PluginFile) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "application", "name": file.name, "version": file.version}
    if file.description:
        made["description"] = file.description
    if file.publisher:
        made["publisher"] = file.publisher
    if file.license:
        made["licenses"] = [{"expression": file.license}]
    return made


def _locked(folder: Path) -> Iterator[Material]:
    yield from _of_cargo(folder / "Cargo.lock")
    yield from _of_npm(folder / "package-lock.json")
    yield from _of_go(folder / "go.sum")
    for name, version in _PINNED.findall(_text(folder / "requirements.txt")):
        yield Material("pypi", re.sub(r"[-_.]+", "-", name).lower(), version)


def _text(lock: Path) -> str:
    try:
        return (find_file(lock, _MAX_BYTES) or b"").decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not a lock: {error}", where=str(lock)) from error


def _of_cargo(lock: Path) -> Iterator[Material]:
    try:
        for each in tomllib.loads(_text(lock)).get("package", []):
            # Packages of the folder itself have no source.
            if "source" in each:
                hashes = (("SHA-256", str(each["checksum"])),) if "checksum" in each else ()
                yield Material("cargo", str(each["name"]), str(each["version"]), hashes)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(f"is not a lock of cargo: {error}", where=str(lock), hint="run `cargo update`") from error


def _of_npm(lock: Path) -> Iterator[Material]:
    try:
        for path, each in json.loads(_text(lock) or "{}").get("packages", {}).items():
            name = path.rpartition("node_modules/")[2]
            if name and "version" in each and not each.get("dev"):
                yield Material("npm", name, str(each["version"]), _integrity(str(each.get("integrity", ""))))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"is not a lock of npm: {error}", where=str(lock), hint="run `npm install`") from error


def _of_go(lock: Path) -> Iterator[Material]:
    for line in _text(lock).splitlines():
        found = _GO_SUM.fullmatch(line)
        # Lines of the go.mod alone are of modules that may be left out.
        if found and not found[2].endswith("/go.mod"):
            yield Material("golang", found[1], found[2])


def _integrity(text: str) -> tuple[tuple[str, str], ...]:
    name, _, digest = text.partition("-")
    if name not in _ALGORITHMS:
        return ()
    try:
        return ((_ALGORITHMS[name], base64.b64decode(digest, validate=True).hex()),)
    except binascii.Error:
        return ()
