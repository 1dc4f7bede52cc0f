"""Sources that are written with the SDKs, the same in several languages: built, and opened."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dataflare.authoring.building import build_plugin
from dataflare.authoring.templates import new_plugin
from dataflare.runtime.host import Host
from dataflare.testing import native
from dataflare_plugin.component import find_plugin

__all__ = ["built_sources", "opened_source"]


def built_sources(folder: Path, mains: Mapping[str, str], made_in: pytest.TempPathFactory) -> dict[str, Path]:
    """Build a source in each language; returns the components by language.

    Args:
        folder: Where the source's file is in each language.
        mains: The file's place in what `dataflare new` writes, by language.
        made_in: Where plugins are written.
    """
    made = {}
    with Host() as host:
        for language, main in mains.items():
            plugin = made_in.mktemp(language) / "a-plugin"
            new_plugin(plugin, kind="source", language=language)
            (plugin / "plugin_test.go").unlink(missing_ok=True)
            (plugin / main).write_text((folder / Path(main).name).read_text())
            built, _ = build_plugin(plugin, host)
            made[language] = built.guest.output
    return made


@contextmanager
def opened_source(
    folder: Path, components: Mapping[str, Path], language: str, config: Mapping[str, Any]
) -> Iterator[Any]:
    """Open a source as a component, or where it has none, natively: `plugin.py` in the folder."""
    if language in components:
        with Host() as host, host.load(components[language], name="a-plugin", config=config) as plugin:
            yield plugin.start()
        return
    spec = importlib.util.spec_from_file_location(folder.name, folder / "plugin.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with native(find_plugin(module, "source"), config=config) as plugin:
        yield plugin
