"""Bridges: they connect a plugin's typed functions to the host, which reads and writes memory.

For each component two bridges are generated. The *imports bridge* gives the plugin its typed imports; each of them
puts its arguments into the bridge's memory, in the canonical ABI's layout, and calls the host with a number. The
*exports bridge* has one function, `call`: it takes the arguments of the plugin's export with that number from its
memory, and leaves the result there. What lies in a plugin's memory gets into a bridge's, and back, through wasmtime's
own adapters. The two cannot be one, since a component that is on the stack cannot be entered again.

Handles of the host's resources are numbers of the host's choosing within memory, and become real handles on the way
into the plugin. Handles of the plugin's own resources are the exports bridge's, and are numbers to the host.

Everything is written as text around a placeholder for the plugin, whose bytes are then put in unchanged.
"""

from __future__ import annotations

from typing import Final

import wasmtime

from dataflare.component_binary import COMPONENT_HEADER, section, sections, u32
from dataflare.engine.abi.types import ComponentType
from dataflare.engine.bridges.call_table import export_links
from dataflare.engine.bridges.exports import ExportsBridge
from dataflare.engine.bridges.imports import ImportsBridge
from dataflare.engine.bridges.poll import PollImports
from dataflare.engine.bridges.type_names import TypeNames, nominal_types
from dataflare.engine.bridges.wasi import WasiImports
from dataflare.engine.bridges.wat import quote
from dataflare.errors import UnsupportedComponent

__all__ = ["BRIDGE_VERSION", "CALL_EXPORT", "HOST_IMPORT", "compose"]

BRIDGE_VERSION: Final = 4
"""To be raised with every change of what is generated, since compiled components are kept."""
HOST_IMPORT: Final = "dataflare:raw/host"
CALL_EXPORT: Final = "call"


def compose(plugin: bytes, shape: ComponentType, *, component: str) -> bytes:
    """Join a plugin with its bridges.

    Args:
        plugin: The component.
        shape: What it imports and exports.
        component: Its name, for errors.

    Returns:
        A component that imports `HOST_IMPORT` and WASI, and exports `CALL_EXPORT`.

    Raises:
        UnsupportedComponent: It has something that cannot be bridged.
    """
    text = f"(component\n{chr(10).join(_outer(shape, component))}\n)"
    try:
        frame = bytes(wasmtime.wat2wasm(text))
    except wasmtime.WasmtimeError as error:
        raise UnsupportedComponent(f"cannot be bridged: {str(error).splitlines()[0]}", component=component) from error
    return _put_plugin(frame, plugin)


def _outer(shape: ComponentType, component: str) -> list[str]:
    def resource(index: int) -> str:
        found = shape.resources[index]
        return f"$g{index}" if not found.imported else f"$w{index}" if found.interface in shape.wasi else f"$r{index}"

    names = TypeNames(resource)
    hosted = [i for i, r in enumerate(shape.resources) if r.imported and r.interface not in shape.wasi]
    imports = ImportsBridge(shape, names, hosted)
    poll = PollImports(shape)
    wasi = [f"(with {quote(name)} (instance {poll.instance_of(number)}))" for number, name in enumerate(shape.wasi)]
    out = [
        *WasiImports(shape).text(),
        *poll.imports(),
        f'(import "{HOST_IMPORT}" (instance $host'
        ' (export "call" (func (param "index" u32))) (export "release" (func))))',
        *imports.text(),
        *imports.instances(),
        *poll.instances(),
        "(component $plugin)",
        f"(instance $p (instantiate $plugin {' '.join([*wasi, *imports.arguments()])}))",
    ]
    own: list[int] = []
    holders: dict[str, str] = {}
    for number, (name, interface) in enumerate(shape.exports.items()):
        holders[name] = f"$pe{number}" if name else "$p"
        if name:
            out.append(f"(alias export $p {quote(name)} (instance $pe{number}))")
        for n, index in interface.resources.items():
            if not shape.resources[index].imported and index not in own:
                out.append(f"(alias export {holders[name]} {quote(n)} (type $g{index}))")
                own.append(index)
    if len(own) != sum(not r.imported for r in shape.resources):
        raise UnsupportedComponent("uses a resource that it does not export", component=component)
    nominal = nominal_types(shape.exports.values())
    out += names.define(nominal, {*hosted, *own}, imported=False)
    for number, link in enumerate(export_links(shape)):
        if not link.drops:
            out.append(f"(alias export {holders[link.interface]} {quote(link.name)} (func $pf{number}))")
    out += ExportsBridge(shape, names, hosted, own, nominal).text()
    out.append(f'(alias export $e "call" (func $ecall)) (export "{CALL_EXPORT}" (func $ecall))')
    return out


def _put_plugin(frame: bytes, plugin: bytes) -> bytes:
    """Put the plugin in place of the only component that is empty."""
    out = [COMPONENT_HEADER]
    found = 0
    for part in sections(memoryview(frame)):
        if part.id == 4 and all(inner.id == 0 for inner in sections(part.payload)):
            found += 1
            out += [b"\x04", u32(len(plugin)), plugin]
        elif part.id != 0:
            out.append(section(part.id, part.payload))
    if found != 1:
        raise AssertionError(f"{found} placeholders in the bridge")
    return b"".join(out)
