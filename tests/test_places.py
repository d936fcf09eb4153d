"""The stages by their plain names, whichever way the package lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import kits_submit
from kits_submit.places import DEFAULT_MODEL
from tests.conftest import ROOT


def test_the_shipped_model_is_where_a_checkout_has_it():
    assert DEFAULT_MODEL == ROOT / "models" / "kits.onnx"
    assert DEFAULT_MODEL.is_file()


def test_scoring_is_reached_through_the_package(tmp_path: Path):
    """From another folder, in a process that has not called a command."""
    code = "from kits_submit import evaluation; print(evaluation.score.__module__.split('.')[0])"
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "evaluation\n"


def test_what_is_not_there_is_told_as_python_does():
    with pytest.raises(AttributeError, match="module 'kits_submit' has no attribute 'nothing'"):
        kits_submit.nothing  # noqa: B018
