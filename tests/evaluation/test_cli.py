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
from tests.conftest import ROOT, kits_affine
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
        (("rank", "a", "a", "b"), 3, "error: a: given twice"),
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
    csv = tmp_path / "out.csv"
    assert kits_eval("compare", first, second, labels, "--csv", csv, "--json", out[0], "--markdown", out[1]) == 0
    assert csv.read_text().splitlines()[1].startswith("case_00001,")
    assert "A = first, B = predictions" in capsys.readouterr().out
    assert json.loads(out[0].read_text())["changes"]["tumor_dice"]["better"] == 2
    assert kits_eval("rank", first, second, labels, "--json", out[0], "--markdown", out[1]) == 0
    assert json.loads(out[0].read_text())["ranking"][0]["name"] == "predictions"
    assert "| predictions |" in out[1].read_text()


def test_every_file_and_table_on_request(
    kits_eval: Callable[..., int], folders: Folders, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    moved = np.roll(LABELS, 1, axis=2)
    paths = folders({1: LABELS, 2: moved, 3: moved}, dict.fromkeys((1, 2, 3), LABELS))
    about = tmp_path / "about.csv"
    about.write_text("case,centre\n1,A\n2,B\n3,B\n")
    out = {name: tmp_path / name for name in ("s.csv", "s.json", "s.md", "lesions.csv", "volumes.csv")}
    files = ("--csv", "--json", "--markdown", "--lesions", "--volumes")
    options = ("--also", "iou", "--also", "cyst", "--by", f"{about}:centre", "--lesion-iou", "0.9")
    written = [word for pair in zip(files, out.values(), strict=True) for word in pair]
    assert kits_eval(*paths, "--protocol", "kits23", *options, *written) == 0
    text = capsys.readouterr().out
    assert "By centre" in text
    assert "centre B: 2 cases" in text
    assert {"tumor_iou", "cyst_dice"} <= set(out["s.csv"].read_text().splitlines()[0].split(","))
    document = json.loads(out["s.json"].read_text())
    assert document["cases"][0]["volumes_ml"]["tumor"] == pytest.approx({"truth": 0.03456, "prediction": 0.03456})
    assert np.array(document["cases"][1]["confusion_ml"]).shape == (4, 4)
    assert document["strata"][0]["strata"]["B"]["cases"] == ["case_00002", "case_00003"]
    assert document["settings"]["lesion_iou"] == 0.9
    assert "**By centre**" in out["s.md"].read_text()
    assert out["volumes.csv"].read_text().splitlines()[1].startswith("case_00001,kidney_and_mass,")
    assert out["lesions.csv"].read_text().startswith("case,side,lesion,size,volume_ml")


def test_lesions_by_their_own_threshold(kits_eval: Callable[..., int], folders: Folders, tmp_path: Path) -> None:
    """18 voxels of 1.92 mm3 are 0.035 mL, by default no lesion; moved by one of three columns, an IoU of a half."""
    paths = folders({1: np.roll(LABELS, 1, axis=2)}, {1: LABELS})
    for iou, partner in ((0.49, "1"), (0.51, "")):
        out = tmp_path / "lesions.csv"
        assert kits_eval(*paths, "--lesions", out, "--lesion-ml", "0.01", "--lesion-iou", iou) == 0
        header, first, _ = out.read_text().splitlines()
        assert dict(zip(header.split(","), first.split(","), strict=True))["partner"] == partner


@pytest.mark.parametrize(("asked", "code"), [("tumor_dice=0.5", 0), ("tumor_dice=0.9", 12), ("tumour=1", 3)])
def test_worse_than_asked_has_its_own_exit_code(
    kits_eval: Callable[..., int], folders: Folders, capsys: pytest.CaptureFixture[str], asked: str, code: int
) -> None:
    """A third of the tumor is missed, as much too much: a Dice of 2/3."""
    predictions, labels = folders({1: np.roll(LABELS, 1, axis=2)}, {1: LABELS})
    for command in ((predictions, labels), ("compare", labels, predictions, labels)):
        assert kits_eval(*command, "--protocol", "paper", "--fail-under", asked) == code
        error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
        assert len(error) == (code > 0)
        assert code != 12 or "tumor_dice 0.6667, wanted at least 0.9" in error[0]


def test_a_folder_with_itself_is_perfect_and_says_so(
    kits_eval: Callable[..., int], folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    _, labels = folders({}, dict.fromkeys((1, 2), LABELS))
    assert kits_eval(labels, labels, "--protocol", "kits23") == 0
    printed = capsys.readouterr()
    assert "note: predictions that are the label maps themselves (2): case_00001, case_00002" in printed.err
    assert "1.0000<" not in printed.out
    assert kits_eval("compare", labels, labels, labels) == 0
    assert "A better" not in (text := capsys.readouterr().out)
    assert "B better" not in text


def test_many_missing_cases_are_one_line(
    kits_eval: Callable[..., int], folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = folders({0: LABELS}, dict.fromkeys(range(60), LABELS))
    assert kits_eval(*paths, "--protocol", "kits19") == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: 59 cases: no prediction; predict it, or say --missing background")
    assert "(case_00001, case_00002," in lines[0]
    assert lines[0].endswith("and 51 more)")


def test_the_official_code_for_rank_and_compare(
    kits_eval: Callable[..., int], folders: Folders, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A header of another spacing is a failure of ours and a score of KiTS23's code."""
    first, labels = folders({1: (LABELS, kits_affine((5.0, 0.8, 0.8)))}, {1: LABELS})
    first = first.rename(tmp_path / "first")
    second, _ = folders({1: LABELS}, {})
    for command in ("rank", "compare"):
        assert kits_eval(command, first, second, labels) == 3
        assert "no case was scored in" in capsys.readouterr().err
        assert kits_eval(command, first, second, labels, "--official-compat") == 0
        assert "1 case" in capsys.readouterr().out
    assert kits_eval(first, labels, "--protocol", "paper", "--official-compat") == 3


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_the_terminals_width_is_kept(
    kits_eval: Callable[..., int], folders: Folders, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, columns: int,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", str(columns))
    paths = folders(dict.fromkeys((1, 2), LABELS), dict.fromkeys((1, 2), LABELS))
    assert kits_eval(*paths) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= columns
    assert "…" not in text
    assert kits_eval(*paths, "--wide", "--columns", "tumor_*,composite") == 0
    header = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("case"))
    assert header.split()[1:5] == ["Dice", "recall", "precision", "SD"]


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
