"""Bills of materials: what locks and drivers say, in bytes that follow from the sources alone."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dataflare.authoring.templates import new_plugin
from dataflare.cli.app import app
from dataflare.errors import ConfigError
from dataflare.toolchain.guests import guest_of
from dataflare.toolchain.materials import bill_of_materials

CARGO = """version = 4
[[package]]
name = "plugin"
version = "0.1.0"
[[package]]
name = "serde"
version = "1.0.2"
source = "registry+https://example.org/index"
checksum = "00ff"
"""
NPM = {
    "packages": {
        "": {"name": "plugin"},
        "node_modules/@a/b": {"version": "1.0.0", "integrity": "sha512-AP8="},
        "node_modules/@a/b/node_modules/c": {"version": "2.0.0-rc.1+x"},
        "node_modules/tested": {"version": "3.0.0", "dev": True},
    }
}
GO = "example.org/a v1.2.3 h1:xx=\nexample.org/a v1.2.3/go.mod h1:yy=\n"


def bill(folder: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(bill_of_materials(guest_of(folder)))
    return made


def plugin(tmp_path: Path, language: str = "python") -> Path:
    if not (tmp_path / "a").exists():
        new_plugin(tmp_path / "a", kind="processor", language=language)
    return tmp_path / "a"


def purls(folder: Path) -> list[str]:
    return [each["purl"] for each in bill(folder)["components"]]


@pytest.mark.parametrize(
    ("language", "starts"),
    [
        ("python", "pkg:pypi/componentize-py@"),
        ("c", "pkg:pypi/ziglang@"),
        ("javascript", "pkg:npm/%40bytecodealliance/componentize-js@"),
        ("typescript", "pkg:npm/%40bytecodealliance/componentize-js@"),
    ],
)
def test_language_says_what_it_brings(tmp_path: Path, language: str, starts: str) -> None:
    assert any(each.startswith(starts) for each in purls(plugin(tmp_path, language)))


def test_locks_are_read_and_the_bytes_follow_from_them(tmp_path: Path) -> None:
    folder = plugin(tmp_path)
    before = bill_of_materials(guest_of(folder))
    (folder / "Cargo.lock").write_text(CARGO)
    (folder / "package-lock.json").write_text(json.dumps(NPM))
    (folder / "go.sum").write_text(GO)
    (folder / "requirements.txt").write_text("# why\nSome_Thing == 1.0  # pinned\nother>=2\n")
    found = bill(folder)
    assert [each["purl"] for each in found["components"]] == [
        "pkg:cargo/serde@1.0.2",
        "pkg:golang/example.org/a@v1.2.3",
        "pkg:npm/%40a/b@1.0.0",
        "pkg:npm/c@2.0.0-rc.1%2Bx",
        "pkg:pypi/componentize-py@0.25.1",
        "pkg:pypi/some-thing@1.0",
    ]
    assert found["components"][0]["hashes"] == [{"alg": "SHA-256", "content": "00ff"}]
    assert found["components"][2]["hashes"] == [{"alg": "SHA-512", "content": "00ff"}]
    assert found["metadata"]["component"]["name"] == "a" and found["bomFormat"] == "CycloneDX"
    assert bill_of_materials(guest_of(folder)) == bill_of_materials(guest_of(folder)) != before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Cargo.lock", "package = 1"),
        ("Cargo.lock", "[[package]]\nsource = 1"),
        ("Cargo.lock", "{"),
        ("package-lock.json", "{"),
        ("package-lock.json", "[]"),
        ("package-lock.json", '{"packages": {"node_modules/a": 1}}'),
        ("go.sum", "\xff"),
    ],
)
def test_lock_that_cannot_be_read_is_named(tmp_path: Path, name: str, text: str) -> None:
    (plugin(tmp_path) / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="is not a lock") as caught:
        bill(tmp_path / "a")
    assert caught.value.where.endswith(name)


def test_package_writes_it_and_inspect_shows_it(copied: Path) -> None:
    (copied / "Cargo.lock").write_text(CARGO)
    run = CliRunner().invoke
    component = copied / "dist" / "copied-1.0.0.wasm"
    beside = component.with_suffix(".cdx.json")
    said = []
    for _ in range(2):
        assert run(app, ["package", "--static", str(copied)]).exit_code == 0
        said.append((component.read_bytes(), beside.read_bytes()))
    assert said[0] == said[1]
    digest = f"sha256:{sha256(said[0][1]).hexdigest()}"
    shown = json.loads(run(app, ["inspect", "--static", "--json", str(component)]).stdout)
    assert shown["manifest"]["sbom"] == digest
    assert f"{digest}: copied-1.0.0.cdx.json" in run(app, ["inspect", "--static", str(component)]).stdout
    beside.write_text("{}")
    assert "copied-1.0.0.cdx.json is another file" in run(app, ["inspect", "--static", str(component)]).stdout
    beside.unlink()
    assert f"{digest} (CycloneDX)" in run(app, ["inspect", "--static", str(component)]).stdout
