"""Bridges: they connect a plugin's typed functions to the host, which reads and writes memory.

Two bridges are generated for each component. The *imports bridge* gives the plugin its typed imports. Each of them
writes its arguments to the bridge's memory, in the layout of the canonical ABI, and calls the host with a number. The
*exports bridge* has one function, `call`, which takes the number of an export. It reads the arguments from its memory,
calls the export, and writes the result there. wasmtime's own adapters copy values between the plugin's memory and the
bridge's. One bridge is not enough, since a component cannot be entered again while it is on the call stack.

In memory, handles of host resources are numbers that the host chose; they become real handles on the way into the
plugin. The exports bridge holds the handles of the plugin's own resources; the host knows them as numbers.

Everything is written as WebAssembly text around a placeholder, which is then replaced by the plugin's unchanged bytes.
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
"""Raise this with every change of the generated code, since compiled components are cached."""
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
    """Replace the only empty component by the plugin."""
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
