"""`dataflare cache`: what is kept of compiled plugins."""

from __future__ import annotations

from datetime import UTC, datetime

import typer
from rich.markup import escape

from dataflare.cli.figures import byte_count
from dataflare.cli.options import AsJson, CacheDir, compiled_folder
from dataflare.cli.output import printed_errors, stdout, write_json
from dataflare.engine.cache import Cache, default_folder
from dataflare.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(help="List and remove compiled plugins.", no_args_is_help=True)


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
        for each in found:
            line = f"{_moment(each.used_s)}  {byte_count(each.size_bytes):>10}  {each.plugin or '(damaged)'}"
            stdout().print(escape(f"{line}  {each.digest[:19]}".rstrip()))
        stdout().print(escape(f"{len(found)} compiled plugins, {byte_count(total)}, in {cache.folder}"))


@app.command("clear")
def clear(as_json: AsJson = False, cache_dir: CacheDir = None) -> None:
    """Remove all compiled plugins; they are compiled again when they are used next. Running ones go on.

    Exit codes: 0 removed; 2 the folder cannot be used, or one cannot be removed.
    """
    with printed_errors(as_json=as_json):
        cache = Cache(compiled_folder(cache_dir) or default_folder())
        count = len(cache.entries())
        try:
            freed = cache.clear()
        except OSError as error:
            raise ConfigError(f"cannot be cleared: {error.strerror}", where=str(cache.folder)) from error
        if as_json:
            write_json({"folder": str(cache.folder), "removed": count, "size_bytes": freed})
        else:
            stdout().print(escape(f"removed {count} compiled plugins, {byte_count(freed)}, from {cache.folder}"))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
