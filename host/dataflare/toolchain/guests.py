"""Guests: the plugins of a repository, or the one of any folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from dataflare.errors import ConfigError
from dataflare.real_paths import real_path
from dataflare.toolchain.manifest_file import PLUGIN_FILE, WORLD, PluginFile, read_plugin_file
from dataflare.wit.standard import standard_folder

__all__ = ["Guest", "Project", "find_root", "guest_of", "load_project", "sdks_folder"]

_SDKS: Final = "guest-sdks"
_ALONE: Final = ("conformance/probes", "plugins")
_PACKAGE: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A plugin's project, with all that a driver needs.

    Args:
        name: The plugin's name.
        language: What it is written in.
        folder: Its folder, absolute.
        output: Where its component is written to, absolute.
        committed: Whether the component is kept in the repository, byte for byte as one pinned toolchain makes it.
        wit: The folder of the standard's packages `data`, `host` and `plugin`.
        sdk: The folder of the language's SDK.
        file: What its `plugin.yaml` says; `None` for one that has a world of its own in the folder `wit`.
        own_world: The name of that world.
        debug: Whether it is built to be tried at once: without optimization where that saves time, and with the names
            and lines of its sources, which a trap then shows.
    """

    name: str
    language: str
    folder: Path
    output: Path
    committed: bool
    wit: Path
    sdk: Path
    file: PluginFile | None
    own_world: str = ""
    debug: bool = False

    @property
    def world(self) -> str:
        """The name of its world."""
        return self.own_world if self.file is None else WORLD

    def roots(self) -> dict[str, Path]:
        """The folders that its sources are in, by the names that stand for them in a digest."""
        return {"guest": self.folder, "sdk": self.sdk, "wit": self.wit, "sdks": sdks_folder()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A repository with guests, by name."""

    root: Path
    guests: dict[str, Guest]

    def select(self, names: list[str]) -> list[Guest]:
        """The guests of these names.

        Raises:
            ConfigError: There is no such guest.
        """
        for name in names:
            if name not in self.guests:
                raise ConfigError(
                    f"there is no guest {name!r}", where=_SDKS, hint=f"there are {', '.join(self.guests)}"
                )
        return [self.guests[name] for name in dict.fromkeys(names)]

    def locally(self, guest: Guest) -> Guest:
        """The guest, to be built into `build/guests` with any toolchain, even where its component is committed."""
        return replace(guest, output=self.root / "build" / "guests" / f"{guest.name}.wasm", committed=False)


def sdks_folder() -> Path:
    """The folder of all SDKs: of the repository, or of the installed package.

    Raises:
        ConfigError: Neither is there: the installation is damaged.
    """
    for folder in (_PACKAGE.parent.parent / _SDKS, _PACKAGE / "_sdks"):
        if (folder / "python").is_dir():
            return folder
    raise ConfigError("the SDKs are missing", hint="install the package again: pip install dataflare")


def guest_of(folder: Path, *, output: Path | None = None, debug: bool = False) -> Guest:
    """The plugin of a folder with a `plugin.yaml`, wherever it is; built into its folder `build`.

    Raises:
        ConfigError: There is no `plugin.yaml`, or it is wrong.
    """
    folder = real_path(folder)
    file = read_plugin_file(folder)
    return Guest(
        name=file.name,
        language=file.language,
        folder=folder,
        output=output or folder / "build" / ("debug" if debug else "") / f"{file.name}.wasm",
        committed=False,
        wit=standard_folder(),
        sdk=sdks_folder() / file.language,
        file=file,
        debug=debug,
    )


def find_root(start: Path) -> Path:
    """The nearest folder, from `start` upwards, that has guests in `guest-sdks`.

    Raises:
        ConfigError: There is none.
    """
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / _SDKS).is_dir():
            return folder
    raise ConfigError(f"no {_SDKS} in {start} or above", hint="run this inside the repository, or give --root")


def load_project(root: Path) -> Project:
    """Find the guests of a repository: each folder `guest-sdks/LANGUAGE/examples/NAME` with a `plugin.yaml`.

    Where the language has a folder `components`, the components are committed there; others go to `build/guests`.
    Each folder `conformance/probes/NAME` and `plugins/NAME` is one too: a workspace of its own, whose component is
    committed beside it.

    Raises:
        ConfigError: A `plugin.yaml` is wrong, or says another language or name than its folders; the error names it.
    """
    root = root.resolve()
    files = sorted((root / _SDKS).glob(f"*/examples/*/{PLUGIN_FILE}"), key=lambda path: path.parent.name)
    alone = sorted(path for folder in _ALONE for path in (root / folder).glob(f"*/{PLUGIN_FILE}"))
    found = [*(_guest(root, path) for path in files), *(_guest_alone(root, path) for path in alone)]
    return Project(root=root, guests=_by_name(found))


def _by_name(guests: Iterable[Guest]) -> dict[str, Guest]:
    found: dict[str, Guest] = {}
    for guest in guests:
        if guest.name in found:
            where = str(guest.folder / PLUGIN_FILE)
            raise ConfigError(f"the name {guest.name!r} is taken by {found[guest.name].folder}", where=where)
        found[guest.name] = guest
    return found


def _guest(root: Path, path: Path) -> Guest:
    folder = path.parent
    file = read_plugin_file(folder)
    sdk = folder.parent.parent
    for key, wanted in (("name", folder.name), ("language", sdk.name)):
        if getattr(file, key) != wanted:
            raise ConfigError(f"{key}: it is {getattr(file, key)!r} in the folder {wanted!r}", where=str(path))
    components = sdk / "components"
    committed = components.is_dir()
    return Guest(
        name=file.name,
        language=file.language,
        folder=folder,
        output=(components if committed else root / "build" / "guests") / f"{file.name}.wasm",
        committed=committed,
        wit=root / "wit",
        sdk=sdk,
        file=file,
    )


def _guest_alone(root: Path, path: Path) -> Guest:
    file = read_plugin_file(path.parent)
    return Guest(
        name=file.name,
        language=file.language,
        folder=path.parent,
        output=path.parent.parent / f"{file.name}.wasm",
        committed=True,
        wit=root / "wit",
        sdk=path.parent,
        file=file,
    )
