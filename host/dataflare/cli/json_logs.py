"""Log events as JSON, one object a line, for programs that collect logs."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from dataflare.cli.output import json_text
from dataflare.cli.screen import stderr
from dataflare.run_ids import current_ids

__all__ = ["JsonLogHandler"]


class JsonLogHandler(logging.Handler):
    """Writes log events to standard error, each as one JSON object on a line of its own, in ASCII.

    `time`, `level`, `logger` and `message` are always there; `run`, `pipeline`, `node` and `batch` where the event
    belongs to a run; `plugin` and `fields` where a plugin logged it; `exception` where there is one.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = json_text(self._event(record))
        except RecursionError:
            raise
        except Exception as error:
            # A log event that cannot be written (an argument that has no text) must not end the run.
            message = f"a log event of {record.name!r} is lost: {error!r}"
            line = json_text({"level": "error", "logger": "dataflare.cli", "message": message})
        screen = stderr()
        screen.file.write(line + "\n")
        screen.file.flush()

    def _event(self, record: logging.LogRecord) -> dict[str, Any]:
        ids = current_ids.get()
        event: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **({} if ids is None else ids.fields()),
        }
        if (plugin := getattr(record, "plugin", None)) is not None:
            event["plugin"] = plugin
        if fields := getattr(record, "fields", None):
            event["fields"] = fields
        if record.exc_info and record.exc_info[0] is not None:
            event["exception"] = logging.Formatter().formatException(record.exc_info)
        return event
