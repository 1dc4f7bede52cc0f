"""The host interface `shared`, which `plugin.yaml` lists under `needs`: the functions and types of its bindings."""

from __future__ import annotations

from dataflare_plugin.bindings import interface

globals().update({name: value for name, value in vars(interface("shared")).items() if not name.startswith("__")})
