"""The host interface `plugins`, which `plugin.yaml` lists under `needs`: the functions and types of its bindings."""

from __future__ import annotations

from dataflare_plugin.bindings import interface

globals().update({name: value for name, value in vars(interface("plugins")).items() if not name.startswith("__")})
