"""The viewer's server: this machine, this token, these names; nothing else."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator

import pytest

from kits_submit.report.viewer.server import Content, LocalServer


@pytest.fixture
def server() -> Iterator[LocalServer]:
    one = LocalServer({"": Content("text/html", b"page"), "scan.nii": Content("application/octet-stream", b"scan")})
    thread = threading.Thread(target=one.serve_forever)
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


def asked(server: LocalServer, path: str, host: str | None = None, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_it_serves_its_names_below_its_token(server: LocalServer) -> None:
    assert asked(server, f"/{server.token}/") == (200, b"page")
    assert asked(server, f"/{server.token}/scan.nii") == (200, b"scan")
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/", "/scan.nii", "/wrong/", "/wrong/scan.nii", "//scan.nii"])
def test_without_the_token_there_is_nothing(server: LocalServer, path: str) -> None:
    assert asked(server, path)[0] == 404


@pytest.mark.parametrize("name", ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "other.nii", "."])
def test_paths_outside_are_nothing(server: LocalServer, name: str) -> None:
    assert asked(server, f"/{server.token}/{name}")[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1"])
def test_another_host_is_refused(server: LocalServer, host: str) -> None:
    assert asked(server, f"/{server.token}/", host=host)[0] == 403


def test_it_takes_nothing(server: LocalServer) -> None:
    assert asked(server, f"/{server.token}/", method="POST")[0] == 501
