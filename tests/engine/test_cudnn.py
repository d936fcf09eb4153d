"""What is found best or built for one GPU and kept: cuDNN's settings, TensorRT's engines; what nvidia-smi tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from kits_submit.checks import gpu_check
from kits_submit.checks.gpu_check import Candidate, Check, check_engines
from kits_submit.engine.crop import Cells
from kits_submit.engine.cudnn import CHOICES, Settings, remember, remembered, words
from kits_submit.engine.model import Model
from kits_submit.engine.onnxruntime import provider_options
from kits_submit.engine.protocol import Engine, OutOfMemory
from kits_submit.machine.nvidia import Gpu, gpu_bytes, gpus
from kits_submit.types import Batch, Logits
from tests.checks.test_gpu_check import Standin, block


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return block()


def test_what_tensorrt_builds_is_kept_by_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = [provider_options("tensorrt", content)["trt_engine_cache_path"] for content in (b"a", b"b", b"a")]
    assert kept[0] == kept[2] != kept[1]
    assert all(Path(folder).is_dir() for folder in kept)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    assert provider_options("tensorrt", b"a") == {}


SMI = Gpu("NVIDIA A10G", "550.1", "23028 MiB")


@dataclass
class Clock:
    """A time that passes by what a `Paced` engine takes, and a hair at each look."""

    now: float = 0.0

    def monotonic(self) -> float:
        self.now += 1e-6
        return self.now


class Paced(Standin):
    """A stand-in whose every batch takes so long, by a clock of its own."""

    def __init__(self, model: Model, clock: Clock, seconds: float, fault: str = "") -> None:
        super().__init__(model, fault)
        self._clock, self._seconds = clock, seconds

    def run(self, batch: Batch, cells: Cells | None = None, /) -> Logits:
        self._clock.now += self._seconds
        return super().run(batch, cells)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(gpu_check, "time", clock)
    return clock


def settings_check(model: Model, image: np.ndarray, start: Callable[[Settings], Engine]) -> Check:
    checks = check_engines(model, (Candidate("it", start, model.content),), image)
    return next(check for check in checks if check.name == "settings")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("kits_submit.engine.cudnn.gpus", lambda: [SMI])
    return tmp_path / "kits-submit"


def test_the_fastest_of_cudnns_settings_that_answers_is_remembered_by_gpu_and_model(
    cache: Path, clock: Clock, model: Model, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dict(CHOICES[0]).items() <= provider_options("cuda", model.content).items()

    def start(settings: Settings) -> Engine:
        if settings == CHOICES[1]:
            raise OutOfMemory("no room for it", fix="")
        fault = "other labels" if settings == CHOICES[3] else ""
        return Paced(model, clock, 0.9 if settings == CHOICES[2] else 1.0, fault)

    check = settings_check(model, image, start)
    assert check.verdict == "PASS"
    tried = [choice for choice in CHOICES if f"{words(choice)}: " in check.finding]
    assert tried == [CHOICES[0], CHOICES[2]]
    assert check.finding.endswith(f"{words(CHOICES[2])} is remembered")
    assert dict(CHOICES[2]).items() <= provider_options("cuda", model.content).items()
    assert provider_options("cuda", model.content, CHOICES[0]).items() >= dict(CHOICES[0]).items()
    assert provider_options("cpu", model.content) == {}
    assert remembered(b"another") == CHOICES[0]
    monkeypatch.setattr("kits_submit.engine.cudnn.gpus", lambda: [SMI._replace(driver="551.0")])
    assert remembered(model.content) == CHOICES[0]
    monkeypatch.setattr("kits_submit.engine.cudnn.gpus", lambda: [SMI])
    for path in cache.iterdir():
        path.write_text('{"cudnn_conv_algo_search": "GUESS"}')
    assert remembered(model.content) == CHOICES[0]


def test_settings_that_are_no_faster_leave_the_first(
    cache: Path, clock: Clock, model: Model, image: np.ndarray
) -> None:
    check = settings_check(model, image, lambda settings: Paced(model, clock, 1.0 if settings == CHOICES[0] else 0.99))
    assert check.finding.endswith(f"{words(CHOICES[0])} is remembered")


@pytest.mark.parametrize("missing", ["cache", "home", "nvidia-smi"])
def test_settings_that_cannot_be_kept_hinder_nothing(
    tmp_path: Path, cache: Path, model: Model, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    if missing == "cache":
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    elif missing == "home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", homeless)
    else:
        monkeypatch.setattr("kits_submit.engine.cudnn.gpus", list)
    assert not remember(model.content, CHOICES[2])
    assert remembered(model.content) == CHOICES[0]
    assert provider_options("cuda", model.content)["use_tf32"] == "0"
    assert provider_options("tensorrt", model.content).keys() <= {"trt_engine_cache_enable", "trt_engine_cache_path"}


def test_nvidia_smi_is_not_asked_where_nothing_was_kept(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("kits_submit.engine.cudnn.gpus", lambda: pytest.fail("asked"))
    assert remembered(model.content) == CHOICES[0]


def test_settings_none_of_which_answers_as_the_cpu(model: Model, image: np.ndarray) -> None:
    assert settings_check(model, image, lambda _: Standin(model, "other labels")).verdict == "FAIL"


@pytest.mark.parametrize(
    ("script", "seen", "held"),
    [
        ("case $1 in *name,driver_version,memory.total) echo 'NVIDIA A10G, 550.1, 23028 MiB';; esac", [SMI], None),
        ("case $1 in *=memory.used) echo 900; echo 124;; esac", [], 1 << 30),
        ("echo '[N/A]'", [], None),
        ("exit 9", [], None),
    ],
)
def test_what_nvidia_smi_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, seen: list[Gpu], held: int | None
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert gpus() == seen
    assert gpu_bytes() == held


def test_without_nvidia_smi_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus() == []
    assert gpu_bytes() is None
