"""Attacks on permissions: by connectors of other packages, and by names that read like more than a name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from arena import Arena, Mutation, attack
from attacks_capabilities import ORIGIN, Web
from attacks_connectors import Place, anywhere
from dataflare.security.capability import Capability

CONNECTOR = (Path(__file__).parents[1] / "support" / "toy_connector.py").read_text()
READS_MORE = CONNECTOR.replace(
    "source.file.read()", "source.file.read() + opener(source.path.parents[1] / 'elsewhere' / 'secret.num').read()"
)


class Installed(Place):
    """A folder with rows and a policy, and a connector of somebody else's package, as pip would leave it."""

    def __init__(self, arena: Arena, text: str = CONNECTOR, module: str = "toy_of_strangers") -> None:
        super().__init__(arena)
        site = self.folder / "site"
        information = site / f"{module}-1.0.dist-info"
        information.mkdir(parents=True)
        (site / f"{module}.py").write_text(text)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(f"[dataflare.connectors]\nnumbers = {module}:NUMBERS\n")
        sys.path.insert(0, str(site))
        arena.at_close(lambda: sys.path.remove(str(site)))
        arena.at_close(lambda: sys.modules.pop(module, None))
        (self.folder / "in" / "rows.num").write_text("1\n")
        (self.folder / "elsewhere" / "secret.num").write_text("7\n")

    def pipeline(self, *, read: str = "in/rows.num", write: str = "out/rows.num", **more: Any) -> Path:
        file = super().pipeline(read=read, write=write, **more)
        file.write_text(file.read_text().replace('"csv"', '"numbers"').replace('"jsonl"', '"numbers"'))
        return file


@attack("files")
def installed_connector_that_reads_outside_of_what_is_granted(arena: Arena) -> None:
    """Have a connector of another package read a file that no grant covers, because only built-in ones are checked."""
    place = Installed(arena)
    place.runs()
    for read in (str(place.folder / "elsewhere" / "secret.num"), "in/../elsewhere/secret.num"):
        place.is_refused("below no directory", function="open", read=read)
    arena.assert_denied(plugin="connector:numbers", object="files:?")


@attack("files")
def installed_connector_that_writes_outside_of_what_is_granted(arena: Arena) -> None:
    """Have a connector of another package write where only reading is granted, and where nothing is."""
    place = Installed(arena)
    for write in ("in/rows2.num", "elsewhere/rows.num"):
        place.is_refused("below no directory", write=write)
    assert not (place.folder / "elsewhere" / "rows.num").exists()
    arena.assert_denied(plugin="connector:numbers", object="files:?")


@attack("files")
def installed_connector_that_opens_a_second_file(arena: Arena) -> None:
    """Have a connector of another package open a file that its pipeline does not name, by the host's opener."""
    place = Installed(arena, READS_MORE, "toy_that_opens_more")
    place.is_refused("below no directory", function="open")


@attack("audit")
def method_that_reads_like_an_origin(arena: Arena) -> None:
    """Name a method so that the audit log shows a use of an origin that was never asked for."""
    web = Web(arena, f"GET:{ORIGIN}")
    web.expect("invalid-request", "not a URL")
    web.assert_nothing_sent()
    assert not arena.events(object=f"http:GET:{ORIGIN}"), arena.shown_log()
    assert arena.events(object="http:?"), arena.shown_log()


MUTATIONS = [
    Mutation(
        "dataflare.security.connectors:ConnectorFiles._find",
        anywhere,
        (
            "installed_connector_that_reads_outside_of_what_is_granted",
            "installed_connector_that_writes_outside_of_what_is_granted",
            "installed_connector_that_opens_a_second_file",
        ),
    ),
    Mutation(
        "dataflare.security.uses:sound",
        lambda capability: Capability.parse(str(capability)),
        ("method_that_reads_like_an_origin",),
    ),
]
