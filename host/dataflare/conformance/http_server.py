"""A server for the cases about `http`: it answers as a case says, and remembers what came."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["CaseServer"]


class CaseServer:
    """Answers requests to `127.0.0.1` until it is closed.

    Args:
        answers: By path: `status` (200), `headers` (pairs), `body` (a text), `body-bytes` (its length instead), `gzip`
            (compress it), `wait-ms` (before the answer), `broken` (end the connection without an answer).
    """

    def __init__(self, answers: Mapping[str, Mapping[str, Any]]) -> None:
        self.requests: list[dict[str, Any]] = []
        """What came, in order: `method`, `path` with its query, `headers` as pairs with names in lower case, `body`."""
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(answers, self.requests, self._ended))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def origin(self) -> str:
        """Its address, as the beginning of a URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """End it."""
        self._ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(
    answers: Mapping[str, Mapping[str, Any]], requests: list[dict[str, Any]], ended: threading.Event
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = [[name.lower(), value] for name, value in self.headers.items()]
            told = {"method": self.command, "path": self.path, "headers": headers}
            requests.append({**told, "body": body.decode("utf-8", "backslashreplace")})
            due = answers.get(self.path.partition("?")[0], {"status": 404})
            self.close_connection = True
            if due.get("broken") or ended.wait(due.get("wait-ms", 0) / 1000):
                return
            content = due["body"].encode() if "body" in due else b"x" * due.get("body-bytes", 0)
            self.send_response_only(due.get("status", 200))
            if due.get("gzip"):
                content = gzip.compress(content)
                self.send_header("content-encoding", "gzip")
            for name, value in due.get("headers", ()):
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # the names that the base class looks for

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing: the case says what was wrong."""

    return Handler
