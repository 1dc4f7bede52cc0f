"""Generation of a world's bindings as files."""

from __future__ import annotations

from dataflare.bindgen.interface_module import ModuleText
from dataflare.bindgen.plan import make_plan, plan_of_types
from dataflare.bindgen.text import HEADER, docstring
from dataflare.bindgen.world_module import abi_text, errors_text, world_text
from dataflare.wit.catalog import Catalog

__all__ = ["generate", "generate_types"]


def generate(catalog: Catalog, world: str) -> dict[str, str]:
    """Generate the bindings of a world; return the text of each file by its name. The same world gives the same text.

    Args:
        catalog: The resolved packages.
        world: Its full name.

    Raises:
        WitError: The world does not exist, or has something that the engine does not support.
        ConfigError: A name cannot be written.
    """
    plan = make_plan(catalog, world)
    files = {f"{module.name}.py": ModuleText(plan, module).interface() for module in plan.modules}
    if plan.anonymous:
        files["errors.py"] = errors_text(plan)
    files["_abi.py"] = abi_text(plan)
    files["__init__.py"] = world_text(plan)
    files["py.typed"] = ""
    return files


def generate_types(catalog: Catalog, world: str | None = None, *, where: str = "the WIT") -> dict[str, str]:
    """Generate only types, in the form of `dataflare.values`; return the text of each file by its name.

    Args:
        catalog: The resolved packages.
        world: The full name of the world whose types are written; `None` for those of all packages.
        where: The file or folder that was read, for errors.

    Raises:
        WitError: The world does not exist, or the engine does not support a type.
        ConfigError: A name cannot be written, or there are no types.
    """
    plan = plan_of_types(catalog, world, where=world or where)
    files = {f"{module.name}.py": ModuleText(plan, module).interface() for module in plan.modules}
    files["__init__.py"] = HEADER + "\n".join(docstring(["Types of WIT, a module for each interface."], 0)) + "\n"
    files["py.typed"] = ""
    return files
