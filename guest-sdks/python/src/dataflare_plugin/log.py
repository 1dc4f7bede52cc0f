"""Python's own logging, sent to the host: `log.info("read %d pages", count)`."""

from __future__ import annotations

import logging

from dataflare_plugin.bindings import logging as host

__all__ = ["log"]

_LEVELS = ((logging.ERROR, host.Level.ERROR), (logging.WARNING, host.Level.WARN), (logging.INFO, host.Level.INFO))


class _HostHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        level = next((theirs for ours, theirs in _LEVELS if record.levelno >= ours), host.Level.DEBUG)
        if host.is_enabled(level):
            host.log(level, self.format(record), [("logger", record.name)])


log = logging.getLogger("plugin")
"""The plugin's logger."""

log.setLevel(logging.DEBUG)
log.addHandler(_HostHandler())
# Run natively, the process has other loggers, which do not get the plugin's events.
log.propagate = False
