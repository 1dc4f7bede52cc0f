"""WebAssembly features that the engine turns off, and the error for a component that needs one.

The features are recognised by the messages of wasmtime 50's validator, which has no error codes.
"""

from __future__ import annotations

import re
from typing import Final

import wasmtime
from wasmtime import _bindings as raw

from dataflare.errors import ComponentError, NotAComponent, UnsupportedComponent

__all__ = ["causes_of", "refusal", "turn_off"]

_ASYNC: Final = (
    "wasm_component_model_async",
    "wasm_component_model_async_stackful",
    "wasm_component_model_more_async_builtins",
    "concurrency_support",
)

_MAX_TEXT: Final = 300
_NUMBER: Final = re.compile(r"^\d+: ")
_PLACE: Final = re.compile(r"\(?at offset (0x[0-9a-f]+|\d+)\)?")
_NEEDS: Final = tuple(
    (re.compile(pattern), prefix)
    for pattern, prefix in (
        (r"requires? the component model ([\w -]+?) feature", "component-model-"),
        (r"component model `(value)`s is not enabled", "component-model-"),
        (r"requires the `cm-([\w-]+)` feature", "component-model-"),
        (r"the `cm-([\w-]+)` feature is not active", "component-model-"),
        (r"requires? (?:the )?`?([\w -]+?)`? (?:feature|proposal)", ""),
        (r"without the ([\w -]+?) (?:feature|proposal)", ""),
        (r"(?:because the|with) ([\w -]+?) proposal (?:is )?disabled", ""),
        (r"when ([\w -]+?) (?:is|are) disabled", ""),
        (r"(?:^|: )([\w -]+?) required for (?:exact|index|non-nullable) ", ""),
        (r"(?:^|: )(?:the )?([\w -]+?)(?: proposal)? must be enabled", ""),
        (r"(?:^|: )(?:the )?([\w -]+?)(?: proposal| support)?(?: is| are)? not (?:enabled|active|supported)", ""),
    )
)
_ANNOTATION: Final = re.compile(rb"[\x00\x01].\x01?\[(implements|async)\b", re.DOTALL)
"""A name, with its form and its length before it, that is annotated for a feature, as wasmtime does not write it."""
_NOT_CARRIED: Final = tuple(
    (re.compile(pattern), hint)
    for pattern, hint in (
        (r"is a reexport of an imported function", "let a core module of the component call the imported function"),
        (r"unsupported type export", "import and export types of values and resources alone"),
        (r"exceeds (?:the )?limit|nesting is too deep", "make it smaller; the limit is wasmtime's"),
    )
)
_HINTS: Final = {
    "component-model-async": "build it without async functions, streams and futures",
    "threads": "build it for one thread",
}


def turn_off(config: wasmtime.Config) -> None:
    """Turn off the features that plugins cannot have."""
    config.wasm_threads = False  # a plugin has one thread
    # Both have heaps that the memory limit does not count.
    config.wasm_gc = False
    config.wasm_exceptions = False
    # A call is one task: without these, no guest reaches the parts of wasmtime that serve several.
    for switch in _ASYNC:
        getattr(raw, f"_wasmtime_config_{switch}_set")(config.ptr(), False)


def refusal(error: wasmtime.WasmtimeError, component: str, binary: bytes) -> ComponentError:
    """Make the error for a component that wasmtime refuses.

    Args:
        error: wasmtime's error.
        component: The component's name.
        binary: The component.

    Returns:
        `UnsupportedComponent`, with the feature's name and place, if a feature is turned off, or with what wasmtime
        itself cannot carry; otherwise `NotAComponent`.
    """
    causes = causes_of(error)
    cause = causes[-1]
    for pattern, hint in _NOT_CARRIED:
        if pattern.search(cause):
            return UnsupportedComponent(f"cannot be carried: {cause[:_MAX_TEXT]}", component=component, hint=hint)
    place = _PLACE.search(cause)
    offset = int(place[1], 0) if place else None
    detail = _PLACE.sub("", cause).strip()
    feature = next((prefix + found[1] for pattern, prefix in _NEEDS if (found := pattern.search(cause))), None)
    if feature is None and offset is not None and (named := _ANNOTATION.match(binary, offset)):
        # The message only says that the name is malformed.
        feature, detail = f"component-model-{named[1].decode()}", f"a name begins with `[{named[1].decode()}`"
    if feature is not None:
        feature = re.sub(r"[ _]", "-", feature.strip()).replace("GC", "gc")
        where = "" if offset is None else f" at byte {offset}"
        return UnsupportedComponent(
            f"needs the feature {feature}{where}, which is off in this host: {detail[:_MAX_TEXT]}",
            component=component,
            hint=_HINTS.get(feature, "build it without this feature"),
        )
    return NotAComponent(
        f"is not a valid component: {': '.join([*causes[:-1][:1], cause])[:_MAX_TEXT]}",
        component=component,
        hint="build it again; the file may be damaged",
    )


def causes_of(error: wasmtime.WasmtimeError) -> list[str]:
    """Return what wasmtime's error says, from what failed to the innermost cause; at least one text."""
    lines = (line.strip() for line in str(error)[:10_000].splitlines())
    return [_NUMBER.sub("", line) for line in lines if line and line != "Caused by:"] or ["no reason was given"]
