"""A bucket, fresh for each test, and the environment that leads to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.files.remote.s3 import Bucket, Server, environment, serving


@pytest.fixture(scope="session")
def process() -> Iterator[Server]:
    pytest.importorskip("obstore")
    with serving() as server:
        yield server


@pytest.fixture
def server(process: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    for name, value in environment(process.url).items():
        monkeypatch.setenv(name, value)
    fresh = Server()
    process.requests, process.slow = fresh.requests, fresh.slow
    process.fault, process.before = (lambda method, path: None), (lambda method, path: None)
    return process


@pytest.fixture
def bucket(server: Server) -> Bucket:
    found = Bucket(server.url)
    found.clear()
    server.requests.clear()
    return found
