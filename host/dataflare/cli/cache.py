"""`dataflare cache`: what is kept of compiled plugins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from dataflare.cli.figures import byte_count
from dataflare.cli.options import AsJson, CacheDir, compiled_folder
from dataflare.cli.output import by_the_way, printed_errors, write_json
from dataflare.cli.screen import stdout
from dataflare.cli.security_options import GuardedTyper
from dataflare.engine.cache import Cache, CacheEntry, default_folder
from dataflare.errors import ConfigError

__all__ = ["app"]

app = GuardedTyper(help="List and remove compiled plugins.", no_args_is_help=True)


@app.command("list")
def list_entries(as_json: AsJson = False, cache_dir: CacheDir = None) -> None:
    """List compiled plugins, the last used first.

    Once they take more than `DATAFLARE_CACHE_BYTES` (4 GiB), those that were not used for longest are removed. Exit
    codes: 0 listed; 2 the folder cannot be used.
    """
    with printed_errors(as_json=as_json):
        cache = Cache(compiled_folder(cache_dir) or default_folder())
        found = cache.entries()
        total = sum(each.size_bytes for each in found)
        if as_json:
            write_json(
                {
                    "folder": str(cache.folder),
                    "size_bytes": total,
                    "entries": [
                        {
                            "key": each.key,
                            "plugin": each.plugin,
                            "digest": each.digest,
                            "size_bytes": each.size_bytes,
                            "used": _moment(each.used_s),
                        }
                        for each in found
                    ],
                }
            )
            return
        _show(found, total, cache.folder)


def _show(entries: Sequence[CacheEntry], total_bytes: int, folder: Path) -> None:
    screen = stdout()
    for each in entries:
        line = f"{_moment(each.used_s)}  {byte_count(each.size_bytes):>10}  {each.plugin or '(damaged)'}"
        screen.say(f"{line}  {each.digest[:19]}".rstrip())
    screen.say(f"{len(entries)} compiled plugins, {byte_count(total_bytes)}, in {folder}")


@app.command("clear")
def clear(as_json: AsJson = False, cache_dir: CacheDir = None) -> None:
    """Remove all compiled plugins; they are compiled again at their next use. Running plugins are not affected.

    Exit codes: 0 removed; 2 the folder cannot be used, or one cannot be removed.
    """
    with printed_errors(as_json=as_json):
        cache = Cache(compiled_folder(cache_dir) or default_folder())
        count = len(cache.entries())
        try:
            freed = cache.clear()
        except OSError as error:
            raise ConfigError(f"cannot be cleared: {error.strerror}", where=str(cache.folder)) from error
        with by_the_way():
            if as_json:
                write_json({"folder": str(cache.folder), "removed": count, "size_bytes": freed})
            else:
                _say_cleared(count, freed, cache.folder)


def _say_cleared(count: int, freed_bytes: int, folder: Path) -> None:
    stdout().say(f"removed {count} compiled plugins, {byte_count(freed_bytes)}, from {folder}")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
