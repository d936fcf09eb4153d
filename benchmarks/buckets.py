"""How fast a large object is read from a server on the loopback: by our reader (obstore), and by s3fs.

    pip install s3fs    # into a second environment, whose s3fs may want other libraries than ours
    python benchmarks/buckets.py

200 MB from memory, in blocks of 8 MB, three times. Seconds of this process's processors are of the client alone.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import IO, Any

from kits_submit.errors import InputError

CONTENT_BYTES = 200 << 20
READ_BYTES = 4 << 20
BLOCK_BYTES = 8 << 20


class Object(BaseHTTPRequestHandler):
    """Answers every path by one object, or a range of it."""

    protocol_version = "HTTP/1.1"
    content = memoryview(b"")

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> memoryview:
        start, _, stop = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        size = len(self.content)
        part = self.content[int(start) : min(size, int(stop) + 1 if stop else size)] if start else self.content
        self.send_response(206 if start else 200)
        for name, value in (
            ("Content-Length", str(len(part))), ("ETag", '"1"'), ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ):  # fmt: skip
            self.send_header(name, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{int(start) + len(part) - 1}/{size}")
        self.end_headers()
        return part


def serve(told: Connection) -> None:
    Object.content = memoryview(os.urandom(1 << 20) * (CONTENT_BYTES >> 20))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Object)
    told.send(server.server_port)
    server.serve_forever()


def ours(url: str) -> Callable[[], IO[bytes]]:
    from kits_submit.files.remote.reader import open_object
    from kits_submit.files.remote.store import Store
    from kits_submit.files.remote.urls import Url

    os.environ |= {"AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    store = Store(Url("s3", "bucket", ""))
    return lambda: open_object(store, "x", CONTENT_BYTES, '"1"')


def theirs(url: str) -> Callable[[], IO[bytes]]:
    import s3fs

    keys = dict.fromkeys(("key", "secret"), "any")
    files = s3fs.S3FileSystem(**keys, client_kwargs={"endpoint_url": url, "region_name": "us-east-1"})
    return lambda: files.open("bucket/x", "rb", block_size=BLOCK_BYTES, cache_type="readahead")


def main() -> None:
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}"
    for name, client in (("obstore", ours), ("s3fs", theirs)):
        try:
            opened = client(url)
        except (ImportError, InputError):
            print(f"{name}: not installed here")
            continue
        for _ in range(3):
            start, busy = time.perf_counter(), time.process_time()
            with opened() as stream:
                while stream.read(READ_BYTES):
                    pass
            seconds, busy = time.perf_counter() - start, time.process_time() - busy
            print(
                f"{name}: {CONTENT_BYTES / 1e6 / seconds:.0f} MB/s, {busy / CONTENT_BYTES * 1e9:.2f} processor s a GB"
            )
    server.terminate()


if __name__ == "__main__":
    main()
