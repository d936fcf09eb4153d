"""How cuDNN chooses its convolutions: tried once a GPU by `kits-submit gpu-check`, taken by every later run.

ONNX Runtime lets cuDNN measure every algorithm (EXHAUSTIVE) or ask its heuristics (HEURISTIC), with the workspace that
the fastest wants or with 32 MB. Which is fastest depends on the GPU, the driver and the network, so the choice is kept
in the user's cache under all three.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from kits_submit.engine.protocol import Engine
from kits_submit.errors import DeviceError
from kits_submit.nvidia import Gpu
from kits_submit.types import Batch

Settings = Mapping[str, str]
_RUNS = 3


def _settings(search: str, workspace: str) -> Settings:
    return MappingProxyType({"cudnn_conv_algo_search": search, "cudnn_conv_use_max_workspace": workspace})


CHOICES = tuple(_settings(search, workspace) for search in ("EXHAUSTIVE", "HEURISTIC") for workspace in ("1", "0"))


def cache_folder() -> Path:
    """Where what was found or built for this machine is kept: XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kits-submit"


def tried(start: Callable[[Settings], Engine], batch: Batch) -> dict[int, float]:
    """Seconds that a batch takes with each of `CHOICES`, by index; those that do not run are left out.

    The first run of each is not counted: it is the one in which cuDNN searches.
    """
    seconds = {}
    for index, settings in enumerate(CHOICES):
        try:
            engine = start(settings)
            engine.run(batch)
            seconds[index] = min(_seconds(engine, batch) for _ in range(_RUNS))
        except DeviceError:
            continue
    return seconds


def remember(content: bytes, gpus: Sequence[Gpu], settings: Settings) -> bool:
    """Keep a choice for this network on these GPUs; False where the cache cannot be written."""
    path = _path(content, gpus)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dict(settings)))
    except OSError:
        return False
    return True


def remembered(content: bytes, gpus: Sequence[Gpu]) -> Settings:
    """What `remember` was told; nothing, which is ONNX Runtime's own choice, where it was not or cannot be read."""
    try:
        stored = json.loads(_path(content, gpus).read_text())
    except (OSError, ValueError):
        return {}
    return next((settings for settings in CHOICES if settings == stored), {})


def words(settings: Settings) -> str:
    """`HEURISTIC, workspace 1`."""
    return ", workspace ".join(settings.values())


def _path(content: bytes, gpus: Sequence[Gpu]) -> Path:
    key = hashlib.sha256(content + repr([tuple(gpu) for gpu in gpus]).encode()).hexdigest()[:16]
    return cache_folder() / f"cudnn-{key}.json"


def _seconds(engine: Engine, batch: Batch) -> float:
    started = time.perf_counter()
    engine.run(batch)
    return time.perf_counter() - started
