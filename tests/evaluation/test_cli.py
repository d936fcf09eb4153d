from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluation import cli
from tests.conftest import ROOT
from tests.evaluation.conftest import kidney_with_tumor

Folders = Callable[..., tuple[Path, Path]]
LABELS = kidney_with_tumor()


@pytest.fixture
def kits_eval(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["kits-eval", *map(str, arguments)])
        return cli.main()

    return run


def test_predictions_and_labels_alone_are_scored(
    kits_eval: Callable[..., int], folders: Folders, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    paths = folders({1: LABELS}, {1: LABELS})
    out = [tmp_path / f"scores.{kind}" for kind in ("csv", "json", "md")]
    assert kits_eval(*paths, "--protocol", "paper", "--csv", out[0], "--json", out[1], "--markdown", out[2]) == 0
    assert "paper: 1 case" in capsys.readouterr().out
    assert json.loads(out[1].read_text())["cases"][0]["kidney_dice"] == 1.0
    assert out[0].read_text().startswith("case,kidney_dice,kidney_recall,kidney_precision,tumor_dice")
    assert "| case_00001 |" in out[2].read_text()


@pytest.mark.parametrize(
    "order", [("--protocol", "kits19", "{p}", "{l}"), ("score", "{p}", "{l}", "--protocol=kits19")]
)
def test_options_first_and_the_command_by_name(
    kits_eval: Callable[..., int], folders: Folders, order: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    predictions, labels = folders({1: LABELS}, {1: LABELS})
    assert kits_eval(*(word.format(p=predictions, l=labels) for word in order)) == 0
    assert "composite" in capsys.readouterr().out


def test_failures_are_the_last_lines_and_the_good_cases_are_written(
    kits_eval: Callable[..., int], folders: Folders, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    paths = folders({1: LABELS[:-1], 2: LABELS, 4: LABELS}, {1: LABELS, 2: LABELS, 3: LABELS})
    assert kits_eval(*paths, "--protocol", "kits19", "--json", tmp_path / "s.json") == 10
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["note", "error", "error"]
    assert "case_00004" in lines[0]
    assert "case_00003: no prediction" in lines[-1]
    cases = json.loads((tmp_path / "s.json").read_text())["cases"]
    assert [case["composite"] for case in cases] == [None, 1.0, None]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere", "nowhere else"), 3, "error: nowhere else: no such file or folder"),
        (("compare", "a", "a", "b"), 3, "error: a: given twice"),
        (("rank", "a", "b"), 3, "error: 1 submissions; give two or more folders, then LABELS"),
    ],
)
def test_a_failure_is_one_line(
    kits_eval: Callable[..., int], arguments: tuple[str, ...], code: int, message: str,
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    assert kits_eval(*arguments) == code
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1


def test_debug_shows_where(kits_eval: Callable[..., int]) -> None:
    from kits_submit.errors import InputError

    with pytest.raises(InputError, match="no such file or folder"):
        kits_eval("nowhere", "nowhere else", "--debug")


def test_a_wrong_option_is_code_2(kits_eval: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert kits_eval("a", "b", "--protocol", "kits20") == 2
    assert "kits20" in capsys.readouterr().err


def test_compare_and_rank(
    kits_eval: Callable[..., int], folders: Folders, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    worse = {number: np.roll(LABELS, 1, axis=2) for number in (1, 2)}
    first, labels = folders(worse, {1: LABELS, 2: LABELS})
    first = first.rename(tmp_path / "first")
    second, _ = folders({1: LABELS, 2: LABELS}, {})
    out = tmp_path / "out.json", tmp_path / "out.md"
    assert kits_eval("compare", first, second, labels, "--json", out[0], "--markdown", out[1]) == 0
    assert "A = first, B = predictions" in capsys.readouterr().out
    assert json.loads(out[0].read_text())["changes"]["tumor_dice"]["better"] == 2
    assert kits_eval("rank", first, second, labels, "--json", out[0], "--markdown", out[1]) == 0
    assert json.loads(out[0].read_text())["ranking"][0]["name"] == "predictions"
    assert "| predictions |" in out[1].read_text()


@pytest.mark.parametrize("command", [(), ("score",), ("compare",), ("rank",)])
def test_every_command_has_help(
    kits_eval: Callable[..., int], command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert kits_eval(*command, "--help") == 0
    assert "Usage:" in capsys.readouterr().out


def test_help_takes_less_than_half_a_second_and_scoring_loads_no_network(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    help_command = [
        sys.executable,
        "-c",
        "import sys; from evaluation.cli import main; sys.argv = ['', '--help']; main()",
    ]
    subprocess.run(help_command, check=True, capture_output=True, env=environment, cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    code = (
        "import sys, pkgutil, importlib, evaluation;"
        "[importlib.import_module(f'evaluation.{m.name}') for m in pkgutil.iter_modules(evaluation.__path__)];"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'train', 'export', 'kits_submit.cli', 'pandas', 'scipy', 'nibabel'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert loaded.stdout.strip() == "[]"


def test_pages(kits_eval: Callable[..., int], folders: Folders, tmp_path: Path) -> None:
    worse = {number: np.roll(LABELS, 1, axis=2) for number in (1, 2)}
    first, labels = folders(worse, {1: LABELS, 2: LABELS})
    first = first.rename(tmp_path / "first")
    second, _ = folders({1: LABELS, 2: LABELS}, {})
    page = tmp_path / "out.html"
    assert kits_eval(first, labels, "--html", page) == 0
    assert page.read_text().count('<section class="case"') == 2
    assert kits_eval("compare", first, second, labels, "--html", page) == 0
    assert "tumor Dice: B - A +" in page.read_text()
    assert kits_eval("rank", first, second, labels, "--html", page) == 0
    assert "predictions: rank 1" in page.read_text()
