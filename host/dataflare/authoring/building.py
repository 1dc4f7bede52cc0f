"""Builds the plugin of a folder, and checks that the result matches its `plugin.yaml`."""

from __future__ import annotations

from pathlib import Path

from dataflare.errors import ConfigError
from dataflare.runtime.host import Host
from dataflare.toolchain.build import Built, build
from dataflare.toolchain.guests import guest_of
from dataflare.toolchain.manifest_file import PLUGIN_FILE, PluginFile

__all__ = ["build_plugin"]


def build_plugin(folder: Path, host: Host, *, debug: bool = False) -> tuple[Built, PluginFile]:
    """Build the plugin of a folder, where its sources changed.

    Args:
        folder: A folder with a `plugin.yaml`.
        host: Looks at the component; runs none of it.
        debug: Whether to build it to be tried at once, into a place of its own.

    Raises:
        ConfigError: The `plugin.yaml` is wrong, or does not match the component.
        ToolchainMissing: A tool is not on this machine; the hint says how to install it.
        BuildFailed: The build failed; the message has the compiler's own words.
    """
    guest = guest_of(folder, debug=debug)
    built = build(guest)
    file = guest.file
    assert file is not None
    found = host.inspect(guest.output)
    where = str(guest.folder / PLUGIN_FILE)
    if found.kind != file.kind:
        what = f"the component is a {found.kind}" if found.kind else found.problems[0]
        raise ConfigError(f"kind: it says {file.kind}, but {what}", where=where)
    if unlisted := sorted(set(found.capabilities) - set(file.interfaces())):
        what = f"the plugin uses {', '.join(unlisted)}, which is not listed"
        raise ConfigError(
            f"needs: {what}", where=where, hint=f"write needs: [{', '.join((*file.interfaces(), *unlisted))}]"
        )
    return built, file
