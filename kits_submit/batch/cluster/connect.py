"""The way into a cluster, and what stands in it, told in one line."""

from __future__ import annotations

import atexit
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kits_submit.errors import DeviceError, UsageError, first_line

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_FIX = "start one by `ray start --head`, and give its HOST:PORT"
_SECONDS = 5.0
_ATTEMPTS, _BETWEEN_SECONDS = 3, 1.0  # before a head that answered once is given up


@dataclass(frozen=True)
class Node:
    """- `memory`: bytes that Ray gives to workers there."""

    key: str
    host: str
    cpus: float
    gpus: float
    memory: float


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module `ray`, connected while the block runs. Its own usage report is off, as is its dashboard.

    Args:
        address: HOST:PORT of the cluster's head, or `auto` for the one that this machine is a node of.

    Raises:
        UsageError: no address.
        DeviceError: the extra is not installed, no Ray is there, or one of another version.
    """
    if "://" in address or (address != "auto" and not address.rpartition(":")[2].isdigit()):
        raise UsageError(f"--cluster {address} is no address of a Ray head", fix="give HOST:PORT, or auto")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise DeviceError("--cluster needs Ray", fix="pip install 'kits-submit[cluster]'") from None
    if address != "auto":
        _refuse_unreachable(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="critical")
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise _no_cluster(address, error) from None
    finally:
        for number, handler in handlers.items():  # Ray has put its own in their place
            signal.signal(number, handler)
    with suppress(Exception):  # "(raylet) A worker died": told by us, of the case that it had
        setattr(importlib.import_module("ray._private.worker"), "print_to_stdstream", lambda *_, **__: None)  # noqa: B010
    try:
        yield ray
    finally:
        _leave(ray)


def _leave(ray: Any) -> None:
    """Disconnect.

    From a head that is gone Ray takes its leave for a minute and then aborts, and an interpreter that ends with Ray
    still in it crashes. So the process ends at once where it would end anyway, with the code of what is under way.

    Raises:
        DeviceError: it is gone, and nothing else is under way.
    """
    ending = sys.exc_info()[1]
    try:
        _refuse_lost_head(ray)
    except Exception as lost:
        atexit.unregister(ray.shutdown)
        atexit.register(_end, getattr(ending or lost, "exit_code", 1))
        if ending is None:
            raise
    else:
        with suppress(Exception):
            ray.shutdown()


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def nodes(ray: Any) -> dict[str, Node]:
    """Those that are there now, by their key.

    Raises:
        DeviceError: the head does not answer any more.
    """
    _refuse_lost_head(ray)
    return {
        found["NodeID"]: Node(
            found["NodeID"], found["NodeManagerHostname"], found["Resources"].get("CPU", 0.0),
            found["Resources"].get("GPU", 0.0), found["Resources"].get("memory", 0.0),
        )
        for found in ray.nodes() if found["Alive"]
    }  # fmt: skip


def _refuse_lost_head(ray: Any) -> None:
    """Tell a head that is gone before Ray does, which ends the whole process after a minute of asking for it.

    Raises:
        DeviceError: it does not answer any more.
    """
    address = str(ray.get_runtime_context().gcs_address)
    for attempt in range(_ATTEMPTS):
        try:
            _reach(address)
        except OSError:
            time.sleep(_BETWEEN_SECONDS * (attempt + 1 < _ATTEMPTS))
        else:
            return
    what = f"the cluster's head at {address} no longer answers"
    raise DeviceError(what, fix="start it again and give the same command: what is done is kept")


def _reach(address: str) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), _SECONDS).close()


def _refuse_unreachable(address: str) -> None:
    try:
        _reach(address)
    except (OSError, OverflowError) as error:
        what = f"no Ray answers at {address} ({getattr(error, 'strerror', None) or 'no answer'})"
        raise DeviceError(what, fix=_FIX) from None


def _no_cluster(address: str, error: Exception) -> DeviceError:
    if "ersion" in str(error):
        what = f"the cluster's Ray or Python is of another version ({first_line(error)})"
        return DeviceError(what, fix="install one version on every node")
    if address == "auto":
        return DeviceError("no Ray runs on this machine", fix=_FIX)
    return DeviceError(f"no Ray answers at {address} ({type(error).__name__})", fix=_FIX)
