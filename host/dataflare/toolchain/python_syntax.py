"""Reads modules in a process of its own: `python python_syntax.py LIST`. It imports nothing of this package.

Python's compiler gives up on some texts in ways that end a process, and warns of others on the terminal. `LIST` is a
JSON object: the paths of modules by what errors call them. What is printed is JSON too: the first error, or null, and
the imports within functions.
"""

from __future__ import annotations

import ast
import json
import sys
import warnings
from pathlib import Path
from typing import Any

__all__ = ["first_error", "late_imports"]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def first_error(modules: dict[str, str]) -> dict[str, Any] | None:
    """Compile modules; returns name, line, text and what is wrong of the first that is not Python."""
    for name, path in modules.items():
        found: dict[str, Any] = {"name": name, "line": None, "text": ""}
        try:
            text = Path(path).read_bytes()
            compile(text, name, "exec", dont_inherit=True)
            ast.parse(text)
        except SyntaxError as error:
            what = f"{type(error).__name__}: {error.msg}"
            return {**found, "line": error.lineno or 1, "text": (error.text or "").rstrip(), "what": what}
        except (MemoryError, RecursionError):
            return {**found, "what": "an expression is nested too deeply for Python's compiler"}
        except ValueError as error:
            return {**found, "what": str(error)}
    return None


def late_imports(modules: dict[str, str]) -> list[dict[str, Any]]:
    """The imports within functions of modules that are Python: the name of the module, the line, and what to import."""
    found = []
    for name, path in modules.items():
        for function in ast.walk(ast.parse(Path(path).read_bytes())):
            if isinstance(function, _FUNCTIONS):
                for each in ast.walk(function):
                    if isinstance(each, ast.Import | ast.ImportFrom):
                        found += [{"name": name, "line": each.lineno, "module": one} for one in _wanted(each, name)]
    return found


def _wanted(node: ast.Import | ast.ImportFrom, name: str) -> list[str]:
    """The modules that an import may mean: a name after `from` may be a module too."""
    if isinstance(node, ast.Import):
        return [each.name for each in node.names]
    package = name.removesuffix(".py").split("/")[: -node.level] if node.level else []
    base = ".".join([*package, *([node.module] if node.module else [])])
    return [each for each in (base, *(f"{base}.{part.name}".strip(".") for part in node.names)) if each]


def _printed(modules: dict[str, str]) -> dict[str, Any]:
    error = first_error(modules)
    return {"error": error, "late": [] if error else late_imports(modules)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(_printed(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
