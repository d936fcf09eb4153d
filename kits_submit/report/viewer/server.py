"""A server for one viewer: on the loopback alone, a token in its address, and a fixed list of what it hands out.

It never turns a request's path into a file's: what is served is in memory under names that it made itself. A page of
another site cannot read it, for it does not know the token; nor by a name of its own that resolves to the loopback, for
the Host header must be ours.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Content:
    """What one name serves."""

    kind: str
    body: bytes


class LocalServer(ThreadingHTTPServer):
    """Serves `contents` below a token's path; `""` is the page.

    Args:
        port: 0 for any free one.

    Raises:
        OSError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, contents: Mapping[str, Content], port: int = 0) -> None:
        self.contents = contents
        self.token = secrets.token_urlsafe(24)
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def address(self) -> str:
        """What to open."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"

    def find(self, host: str | None, path: str) -> Content | HTTPStatus:
        """What a request gets: 403 for another host, 404 without the token or for any other name."""
        if host not in (f"127.0.0.1:{self.server_port}", f"localhost:{self.server_port}"):
            return HTTPStatus.FORBIDDEN
        parts = path.split("/")
        if len(parts) != 3 or parts[0] or not hmac.compare_digest(parts[1].encode(), self.token.encode()):
            return HTTPStatus.NOT_FOUND
        return self.contents.get(parts[2], HTTPStatus.NOT_FOUND)


class _Handler(BaseHTTPRequestHandler):
    server: LocalServer
    server_version, sys_version = "kits-submit", ""
    timeout = 60

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: an address holds the token."""

    def _answer(self, *, with_body: bool) -> None:
        found = self.server.find(self.headers.get("Host"), self.path)
        if isinstance(found, HTTPStatus):
            self.send_error(found)
            return
        self.send_response(HTTPStatus.OK)
        for name, value in ({"Content-Type": found.kind, "Content-Length": str(len(found.body))} | _HEADERS).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(found.body)
