"""`dataflare compile`: compile plugins ahead of their first use."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

from dataflare.cli.figures import byte_count, duration
from dataflare.cli.options import AsJson, CacheDir, compiled_folder
from dataflare.cli.output import by_the_way, error_json, exit_code, printed_errors, show_error, write_json
from dataflare.cli.screen import stderr, stdout
from dataflare.engine.engine import Engine
from dataflare.errors import DataflareError
from dataflare.user_files import read_component

__all__ = ["command"]


def command(
    components: Annotated[list[Path], typer.Argument(help="Components (.wasm).", show_default=False)],
    fuel: Annotated[bool, typer.Option(help="Also for runs that limit fuel.")] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Compile components into the cache, several at a time, so that their first use starts at once.

    None of their code is run. Exit codes: 0 all compiled, or compiled already; 2 a file cannot be read; 3 one is no
    component.
    """
    with printed_errors(as_json=as_json), Engine(cache_dir=compiled_folder(cache_dir)) as engine:
        jobs = [(path, with_fuel) for path in components for with_fuel in ((False, True) if fuel else (False,))]
        with stderr().status("compiling"), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            results = list(pool.map(lambda job: _compile(engine, *job), jobs))
        for _, error in results:
            if error is not None:
                show_error(error)
        with by_the_way():
            if as_json:
                write_json({"components": [result for result, _ in results]})
            else:
                _show([result for result, error in results if error is None])
        failed = next((error for _, error in results if error is not None), None)
        if failed is not None:
            raise typer.Exit(exit_code(failed))


def _show(results: list[dict[str, Any]]) -> None:
    screen = stdout()
    for result in results:
        how = "compiled already" if result["from_cache"] else f"compiled in {duration(result['seconds'])}"
        screen.say(f"{result['file']}: {how}, {byte_count(result['size_bytes'])}")


def _compile(engine: Engine, path: Path, fuel: bool) -> tuple[dict[str, Any], DataflareError | None]:
    began = time.perf_counter()
    try:
        binary = read_component(path)
        component = engine.load(binary, name=path.stem, file=str(path), fuel=fuel)
    except DataflareError as error:
        return {"file": str(path), "fuel": fuel, "error": error_json(error)}, error
    return {
        "file": str(path),
        "fuel": fuel,
        "digest": component.digest,
        "size_bytes": len(binary),
        "from_cache": component.from_cache,
        "flattened": component.flattened,
        "seconds": round(time.perf_counter() - began, 6),
    }, None
