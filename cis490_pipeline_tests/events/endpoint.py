"""An endpoint that stands where a dashboard does."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Dashboard(http.server.HTTPServer):
    """Answers what a test wants it to, and keeps what it was sent."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.status = 200
        self.answer = b'{"delivered": 2}'
        self.location: str | None = None
        self.received: list[tuple[str, dict[str, str], Any]] = []
        self.older = False
        """Whether it knows single events alone, as the older dashboard does."""
        self.health = 200
        """Status of its page ``/healthz``."""
        self.n_asked = 0
        """How often that page was asked for."""
        self.may_answer = threading.Event()
        """Cleared, it takes what it is sent and does not answer."""
        self.may_answer.set()

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events that were taken, in order."""
        bodies = [body for _, _, body in self.received if body is not None]
        return [e for body in bodies for e in (body if isinstance(body, list) else [body])]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/publish"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Dashboard

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.may_answer.wait(60)
        refused = self.server.older and isinstance(body, list)
        status = 500 if refused else self.server.status
        if status == 200 or not self.server.older:
            self.server.received.append((self.path, dict(self.headers), body))
        self.send_response(status)
        self.send_header("Content-Length", str(len(self.server.answer)))
        if self.server.location is not None:
            self.send_header("Location", self.server.location)
        self.end_headers()
        self.wfile.write(self.server.answer)

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self.server.n_asked += 1
            self.send_response(self.server.health)
            self.end_headers()
            return
        self.server.received.append((self.path, dict(self.headers), None))
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@contextmanager
def serving(server: Dashboard | None = None) -> Iterator[Dashboard]:
    with server or Dashboard() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()
