"""The page and the pictures of a run: made before it is concluded, and never at the cost of its tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kits_submit.errors import OutputError
from kits_submit.labels import KITS19
from kits_submit.report.scene import read_scene
from tests.commands.test_run import run, scan
from tests.conftest import kits_affine, save

SHEARED = kits_affine() + np.array([[0, 0, 0, 0], [1.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


@pytest.fixture
def one(tmp_path: Path) -> Path:
    hu, labels = scan()
    save(tmp_path / "cases" / "case_00001" / "imaging.nii.gz", hu)
    save(tmp_path / "cases" / "case_00001" / "segmentation.nii.gz", labels)
    return tmp_path / "cases"


def test_a_report_and_the_pictures_beside_the_masks(one, tmp_path, threshold_model, capsys):
    out = tmp_path / "out"
    options = ("--model", threshold_model(), "--device", "cpu", "--pictures", "--report")
    assert run("run", one, out, *options) == 0
    page = (out / "report.html").read_text()
    assert (out / "case_00001.png").exists()
    assert f"report: {out / 'report.html'}" in capsys.readouterr().err
    assert 'id="case-0"' in page
    assert str(tmp_path) not in page  # a report is mailed, a machine's folders are not
    assert json.loads((out / "run.json").read_text())["cases"][0]["picture"] == "case_00001.png"


def test_a_page_that_cannot_be_written_costs_neither_the_tables_nor_the_record(
    one, tmp_path, threshold_model, capsys, monkeypatch
):
    def no_space(*_: object, **__: object) -> None:
        raise OutputError("no space left", fix="free some", path=out / "report.html")

    out = tmp_path / "out"
    monkeypatch.setattr("kits_submit.commands.report.report_of", no_space)
    monkeypatch.setattr("kits_submit.commands.views.report_of", no_space)
    code = run("run", one, out, "--model", threshold_model(), "--device", "cpu", "--report")
    told = capsys.readouterr()
    assert code == OutputError.exit_code
    assert "case_00001" in told.out
    assert f"failed: {out / 'report.html'}: no space left" in told.err
    assert json.loads((out / "run.json").read_text())["exit_code"] == code


def test_the_scene_of_a_shifted_scan_is_drawn_in_its_own_hu(one, tmp_path, threshold_model, monkeypatch):
    seen: list[float] = []

    def keep(*arguments: object, hu_offset: float = 0.0, **others: object) -> object:
        seen.append(hu_offset)
        return read_scene(*arguments, hu_offset=hu_offset, **others)  # type: ignore[arg-type]

    monkeypatch.setattr("kits_submit.report.page.build.read_scene", keep)
    options = ("--model", threshold_model(), "--device", "cpu", "--report", "--hu-offset", "-24")
    run("run", one, tmp_path / "out", *options)
    run("report", tmp_path / "out", "--images", one)
    assert seen == [-24.0, -24.0]


def test_volumes_of_a_sheared_scan_are_by_the_determinant(tmp_path):
    labels = scan()[1]
    mask = save(tmp_path / "mask.nii.gz", labels, SHEARED)
    scene = read_scene("a", None, mask, labels=KITS19)
    voxel_ml = abs(np.linalg.det(SHEARED[:3, :3])) / 1000
    measured = scene.volumes_ml(scene.predicted)
    assert measured == pytest.approx(
        {"kidney": (labels == 1).sum() * voxel_ml, "tumor": (labels == 2).sum() * voxel_ml}, rel=1e-6
    )
    assert sum(f.ml for f in scene.lesions) == pytest.approx(sum(measured.values()), rel=1e-6)
