"""The container's contracts, with a judge's folders in a temporary place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kits_submit.container import Mounts, choose_model, kits_submit_arguments, set_model
from kits_submit.errors import InputError, ModelError, OutputError
from tests.conftest import ROOT


@pytest.fixture
def mounts(tmp_path: Path) -> Mounts:
    (tmp_path / "input" / "case_00000").mkdir(parents=True)
    (tmp_path / "output").mkdir()
    return Mounts(tmp_path / "baked.onnx", tmp_path / "input", tmp_path / "output", tmp_path / "model")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], ["run", "IN", "OUT"]),
        (["--device", "cpu"], ["run", "IN", "OUT", "--device", "cpu"]),
        (["predict", "--zip"], ["run", "IN", "OUT", "--zip"]),
        (["predict", "/a", "/b", "--zip"], ["run", "/a", "/b", "--zip"]),
        (["/a", "/b"], ["run", "/a", "/b"]),
        (["evaluate"], ["evaluate", "OUT", "IN"]),
        (["evaluate", "/p", "/l", "--protocol", "kits23"], ["evaluate", "/p", "/l", "--protocol", "kits23"]),
        (["doctor"], ["doctor", "--output", "OUT"]),
        (["doctor", "--output", "/x"], ["doctor", "--output", "/x"]),
        (["rehearse", "--memory", "8g"], ["rehearse", "IN", "--memory", "8g"]),
        (["rehearse", "/a"], ["rehearse", "/a"]),
        (["run", "/a", "/b"], ["run", "/a", "/b"]),
        (["--help"], ["--help"]),
        (["--version"], ["--version"]),
        (["predict", "--help"], ["run", "--help"]),
        (["rehearse", "--help"], ["rehearse", "--help"]),
    ],
)  # fmt: skip
def test_each_call_is_one_of_kits_submit(mounts, given, expected):
    names = {"IN": str(mounts.input), "OUT": str(mounts.output)}
    assert kits_submit_arguments(given, mounts) == [names.get(word, word) for word in expected]


def test_without_an_output_predictions_go_beside_the_cases(mounts, capsys):
    mounts.output.rmdir()
    beside = mounts.input / "predictions"
    assert kits_submit_arguments([], mounts) == ["run", str(mounts.input), str(beside)]
    assert capsys.readouterr().err == f"note: nothing is mounted at {mounts.output}: predictions are in {beside}\n"
    assert kits_submit_arguments(["doctor"], mounts) == ["doctor"]


def test_without_an_output_and_with_a_read_only_input_the_missing_mount_is_named(mounts, monkeypatch):
    mounts.output.rmdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match=rf"nothing is mounted there, .* add -v RESULTS:{mounts.output} "):
        kits_submit_arguments([], mounts)


def test_without_cases_the_missing_mount_is_named(mounts):
    (mounts.input / "case_00000").rmdir()
    with pytest.raises(InputError, match=f"nothing is mounted there; add -v CASES:{mounts.input}:ro"):
        kits_submit_arguments([], mounts)
    mounts.input.rmdir()
    with pytest.raises(InputError, match="nothing is mounted there"):
        kits_submit_arguments(["rehearse"], mounts)


def test_a_mounted_model_comes_before_the_baked_one_and_a_named_one_before_both(mounts, monkeypatch):
    assert choose_model(mounts) == mounts.baked_model
    mounts.model.mkdir()
    assert choose_model(mounts) == mounts.baked_model
    (mounts.model / "notes.txt").touch()
    with pytest.raises(ModelError, match=r"it holds 0 ONNX files \(notes.txt\); put one model there"):
        choose_model(mounts)
    (mounts.model / "mine.onnx").touch()
    assert choose_model(mounts) == mounts.model / "mine.onnx"
    monkeypatch.setenv("KITS_MODEL", "/named.onnx")
    set_model(mounts)
    assert os.environ["KITS_MODEL"] == "/named.onnx"
    monkeypatch.delenv("KITS_MODEL")
    set_model(mounts)
    assert os.environ["KITS_MODEL"] == str(mounts.model / "mine.onnx")
    (mounts.model / "other.onnx").touch()
    with pytest.raises(ModelError, match="it holds 2 ONNX files"):
        choose_model(mounts)


@pytest.mark.parametrize(("runtime", "has", "lacks"), [
    ("gpu", ["onnxruntime-gpu[cuda,cudnn]"], ["openvino", "torch", "pandas"]),
    ("cpu", ["onnxruntime", "openvino>="], ["onnxruntime-gpu", "torch", "pandas"]),
])  # fmt: skip
def test_each_image_has_its_runtime_alone(runtime, has, lacks):
    told = subprocess.run(
        [sys.executable, ROOT / "docker" / "requirements.py", runtime], capture_output=True, text=True, check=True
    ).stdout
    assert all(any(line.startswith(name) for line in told.splitlines()) for name in has)
    assert not any(line.startswith(name) for line in told.splitlines() for name in lacks)
