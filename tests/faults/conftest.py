"""The real entrypoint as a process, on small scans whose masks are known by hand."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from kits_submit.cli import main
from kits_submit.engine.model import Model, load_model
from tests.conftest import ROOT, write_threshold_model

ENTRYPOINT = ROOT / "entrypoint.py"
PREFIXES = ("failed: ", "error: ", "kept: ", "note: ")


@dataclass(frozen=True)
class Ended:
    """How a process ended: its code, its stdout and the lines of its stderr."""

    code: int
    out: str
    lines: list[str]

    @property
    def last(self) -> str:
        return self.lines[-1] if self.lines else ""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_threshold_model(tmp_path_factory.mktemp("model") / "threshold.onnx")


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(ENTRYPOINT), *(str(argument) for argument in arguments)]


def drive(*arguments: object, wrapper: tuple[str, ...] = (), timeout: float = 120) -> Ended:
    """Run the entrypoint to its end; nothing that it says may be a traceback or a warning."""
    done = subprocess.run(
        [*wrapper, *command(*arguments)], capture_output=True, text=True, timeout=timeout, check=False, env=clean()
    )
    lines = done.stderr.splitlines()
    assert all(line.startswith(PREFIXES) for line in lines), done.stderr
    return Ended(done.returncode, done.stdout, lines)


def inside(*arguments: object, command: str = "run") -> Ended:
    """`kits-submit run`, or another command, in this process, which starts no interpreter."""
    out, err = io.StringIO(), io.StringIO()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main([command, *map(str, arguments)])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    lines = err.getvalue().splitlines()
    assert all(line.startswith(PREFIXES) for line in lines), err.getvalue()
    assert isinstance(ended.value.code, int)
    return Ended(ended.value.code, out.getvalue(), lines)


def clean() -> dict[str, str]:
    """The environment without a model of the developer's own."""
    return {name: value for name, value in os.environ.items() if name != "KITS_MODEL"}


def scan(shape: tuple[int, int, int] = (6, 10, 8), tumor: bool = True) -> np.ndarray:
    """HU, axes as stored: air, water, a kidney block, a tumor in it."""
    hu = np.zeros(shape, np.int16)
    hu[:, 0] = -1000
    hu[1:5, 2:8, 2:6] = 150
    if tumor:
        hu[2:4, 4:6, 3:5] = 300
    return hu


def labels_of(hu: np.ndarray) -> np.ndarray:
    """What the threshold network says of it."""
    return (hu > 100).astype(np.uint8) + (hu > 200).astype(np.uint8)


def mask(output: Path, name: str) -> np.ndarray:
    return np.asanyarray(nib.load(output / name).dataobj)


def manifest(output: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((output / "run.json").read_bytes())
    return document


def rows(output: Path) -> dict[str, dict[str, Any]]:
    return {entry["case"]: entry for entry in manifest(output)["cases"]}


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


@pytest.fixture(scope="session")
def loaded(model: Path) -> Model:
    return load_model(model)
