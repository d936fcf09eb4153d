"""A bucket, fresh for each test, and the environment that leads to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.files.remote.s3 import BUCKET, Server, serving


@pytest.fixture(scope="session")
def process() -> Iterator[Server]:
    pytest.importorskip("obstore")
    with serving() as server:
        yield server


@pytest.fixture
def server(process: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    environment = {
        "AWS_ACCESS_KEY_ID": "KEYKEYKEY", "AWS_SECRET_ACCESS_KEY": "SECRETSECRET", "AWS_ENDPOINT_URL": process.url,
        "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    fresh = Server()
    process.requests, process.slow = fresh.requests, fresh.slow
    process.fault, process.before = (lambda method, path: None), (lambda method, path: None)
    return process


class Bucket:
    def __init__(self, url: str) -> None:
        from obstore.store import from_url

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


@pytest.fixture
def bucket(server: Server) -> Bucket:
    import urllib.request

    urllib.request.urlopen(
        urllib.request.Request(f"{server.url}/{BUCKET}", method="PUT")
    )  # one that is there is no fault
    found = Bucket(server.url)
    found.clear()
    server.requests.clear()
    return found
