"""Every committed Cargo.lock is of what its packages ask for: a build with `--locked` refuses it otherwise."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = subprocess.run(
    ["git", "ls-files", "*Cargo.lock"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()


def packages_below(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifests that a lock's workspace has, and those that they reach by their paths."""
    found: dict[str, dict[str, Any]] = {}
    first = tomllib.loads((folder / "Cargo.toml").read_text())
    members = [each for member in first.get("workspace", {}).get("members", []) for each in folder.glob(member)]
    places = [*members, *([folder] if "package" in first else [])]
    shared = first.get("workspace", {}).get("dependencies", {})
    while places:
        place = places.pop()
        manifest = tomllib.loads((place / "Cargo.toml").read_text())
        if found.setdefault(manifest["package"]["name"], manifest) is not manifest:
            continue
        for name, wanted in dependencies(manifest).items():
            base, entry = (
                (folder, shared[name]) if isinstance(wanted, dict) and wanted.get("workspace") else (place, wanted)
            )
            if isinstance(entry, dict) and "path" in entry:
                reached = (base / entry["path"]).resolve()
                # Into a template's folder, `dataflare build` writes the SDK.
                places.append(reached if reached.exists() else ROOT / "guest-sdks/rust/dataflare-plugin")
    return found


def dependencies(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a manifest depends on, whatever for."""
    kinds = ("dependencies", "build-dependencies", "dev-dependencies")
    tables = [manifest, *manifest.get("target", {}).values()]
    return {name: wanted for table in tables for kind in kinds for name, wanted in table.get(kind, {}).items()}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_what_its_packages_ask_for(lock: str) -> None:
    folder = (ROOT / lock).parent
    locked = {
        entry["name"]: entry for entry in tomllib.loads((ROOT / lock).read_text())["package"] if "source" not in entry
    }
    asked = packages_below(folder)
    assert asked
    for name, manifest in asked.items():
        wanted = {
            entry.get("package", key) if isinstance(entry, dict) else key
            for key, entry in dependencies(manifest).items()
        }
        names = {text.split(" ")[0] for text in locked[name].get("dependencies", [])}
        # A dependency of a path is asked for only by the packages that are built themselves, as `dev-dependencies` are.
        missing = wanted - names - set(manifest.get("dev-dependencies", {}))
        assert not missing, f"{lock}: {name} asks for {sorted(missing)}; run `cargo update --workspace` in its folder"
