"""A real S3 server on the loopback, whose answers can be made worse."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BUCKET = "bucket"
DENIED = b"<?xml version='1.0'?><Error><Code>InvalidAccessKeyId</Code><Message>no</Message></Error>"


@dataclass
class Server:
    """- `requests`: (method, path, range) of each.
    - `fault`: asked of each; a status that is answered in its place. `before`: called with each, as it comes.
    - `slow`: seconds that reads take longer, the last one first. `web`: files of a plain web server, by path.
    """

    url: str = ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    fault: Callable[[str, str], int | None] = lambda method, path: None
    before: Callable[[str, str], None] = lambda method, path: None
    slow: list[float] = field(default_factory=list)
    app: Any = None
    web: dict[str, bytes] = field(default_factory=dict)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path, environ.get("HTTP_RANGE", "")))
        self.before(method, path)
        if path in self.web:
            return _web(self.web[path], environ, start_response)
        status = self.fault(method, path)
        if status is not None:
            start_response(f"{status} no", [("Content-Type", "application/xml"), ("Content-Length", str(len(DENIED)))])
            return [DENIED]
        if method == "GET" and self.slow:
            time.sleep(self.slow.pop())
        answer: Iterable[bytes] = self.app(environ, start_response)
        return answer

    def asked(self, method: str, ending: str) -> int:
        return sum(m == method and path.endswith(ending) for m, path, _ in self.requests)


def _web(content: bytes, environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start, _, stop = environ.get("HTTP_RANGE", "").removeprefix("bytes=").partition("-")
    part = content[int(start) : int(stop) + 1] if start else content
    headers = [("Content-Length", str(len(part))), ("ETag", '"1"'), ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")]
    if start:
        headers.append(("Content-Range", f"bytes {start}-{int(start) + len(part) - 1}/{len(content)}"))
    start_response("206 Partial" if start else "200 OK", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [part]


@contextmanager
def serving() -> Iterator[Server]:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Silent(WSGIRequestHandler):
        def log(self, *_: Any) -> None:
            pass

    server = Server(app=DomainDispatcherApplication(create_backend_app))
    made = make_server("127.0.0.1", 0, server, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{made.server_port}"
    try:
        yield server
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


def environment(url: str) -> dict[str, str]:
    """What leads a client to the server."""
    keys = {"AWS_ACCESS_KEY_ID": "KEYKEYKEY", "AWS_SECRET_ACCESS_KEY": "SECRETSECRET"}
    return keys | {"AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}


class Bucket:
    def __init__(self, url: str) -> None:
        from obstore.store import from_url

        request = urllib.request.Request(f"{url}/{BUCKET}", method="PUT")
        urllib.request.urlopen(request).close()  # one that is there already is no fault
        self.store: Any = from_url(f"s3://{BUCKET}", client_options={"allow_http": True})

    def put(self, key: str, content: bytes | Path) -> None:
        import obstore

        obstore.put(self.store, key, content)

    def put_folder(self, folder: Path, prefix: str) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder)}", path.read_bytes())

    def get(self, key: str) -> bytes:
        import obstore

        return bytes(obstore.get(self.store, key).bytes())

    def keys(self, prefix: str = "") -> list[str]:
        import obstore

        return sorted(found["path"] for batch in obstore.list(self.store, prefix or None) for found in batch)

    def clear(self) -> None:
        import obstore

        if keys := self.keys():
            obstore.delete(self.store, keys)
