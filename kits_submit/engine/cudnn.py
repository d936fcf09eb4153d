"""How cuDNN chooses its convolutions: tried once a GPU by `kits-submit gpu-check`, taken by every later run.

ONNX Runtime passes on two options: a search (EXHAUSTIVE or HEURISTIC) and a workspace (the largest, or 32 MB). What
they change depends on its version, the GPU, the driver and the network; some kernels read neither. So they are timed,
and the choice is kept in the user's cache under all four.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType

from kits_submit.atomic import replacing
from kits_submit.errors import OutputError
from kits_submit.machine.nvidia import gpus

Settings = Mapping[str, str]


def _settings(search: str, workspace: str) -> Settings:
    return MappingProxyType({"cudnn_conv_algo_search": search, "cudnn_conv_use_max_workspace": workspace})


CHOICES = tuple(_settings(search, workspace) for search in ("HEURISTIC", "EXHAUSTIVE") for workspace in ("1", "0"))
"""The first is taken where nothing is remembered. ONNX Runtime's own, EXHAUSTIVE, took 2.8 times as long on an H100."""


def cache_folder() -> Path:
    """Where what was found or built for this machine is kept: XDG_CACHE_HOME, or ~/.cache.

    Raises:
        OSError: neither is set, and the user has no home.
    """
    named = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(named) if named else Path.home() / ".cache") / "kits-submit"
    except RuntimeError as error:
        raise OSError(str(error)) from error


def remember(content: bytes, settings: Settings) -> bool:
    """Keep a choice for this network on this machine's GPUs; False where it cannot be written or they are not told."""
    try:
        path = _path(content)
        if path is None:
            return False
        with replacing(path) as stream:
            stream.write(json.dumps(dict(settings)).encode())
    except (OSError, OutputError):
        return False
    return True


def remembered(content: bytes) -> Settings:
    """What `remember` was told; the first of `CHOICES` where it was not or cannot be read."""
    try:
        if not any(cache_folder().glob("cudnn-*.json")):
            return CHOICES[0]
        path = _path(content)
        stored = None if path is None else json.loads(path.read_text())
    except (OSError, ValueError):
        return CHOICES[0]
    return next((settings for settings in CHOICES if settings == stored), CHOICES[0])


def words(settings: Settings) -> str:
    """`HEURISTIC, workspace 1`."""
    return ", workspace ".join(settings.values())


def _path(content: bytes) -> Path | None:
    present = gpus()
    if not present:
        return None
    key = repr((present, _version())).encode() + content
    return cache_folder() / f"cudnn-{hashlib.sha256(key).hexdigest()[:16]}.json"


def _version() -> str:
    for package in ("onnxruntime-gpu", "onnxruntime"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""
