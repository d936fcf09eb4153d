"""The page as text: its numbers are the CSV's, names are text, many cases become a folder, no network is asked."""

from __future__ import annotations

import csv
import html
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from kits_submit.commands.report import report_command
from kits_submit.errors import InputError
from kits_submit.labels import KIDNEY, KITS19, TUMOR
from kits_submit.report.findings import errors_of, lesions_of
from kits_submit.report.page.case_page import view_case
from kits_submit.report.page.cohort import Cohort
from kits_submit.report.page.page import CasePages, write_report
from kits_submit.report.page.training import write_training
from kits_submit.report.scene import Scene
from kits_submit.report.viewer.packing import majority, pack
from tests.report.scenes import EVIL, SPACING, volumes, write_run


def made(tmp_path: Path) -> tuple[Path, str]:
    output, source = write_run(tmp_path)
    report_command(output, images=source, labels=None, out=None, protocol=None, full=False, watch=False)
    return output, (output / "report.html").read_text()


def test_numbers_are_those_of_the_csv(tmp_path: Path) -> None:
    output, page = made(tmp_path)
    rows = re.findall(r'<tr data-status="done"><th scope="row"><a[^>]*>(.*?)</a></th>(.*?)</tr>', page, re.S)
    told = {html.unescape(name): [float(v) for v in re.findall(r'data-value="([^"]*)"', row)] for name, row in rows}
    with (output / "scores.csv").open(newline="") as stream:
        expected = {row["case"]: row for row in csv.DictReader(stream)}
    assert told.keys() == expected.keys()
    for case, row in expected.items():
        assert float(row["kidney_dice"]) in told[case]
        assert float(row["tumor_dice"]) in told[case]
    assert "the gzip stream ends early" in page


def test_a_name_that_is_code_is_text(tmp_path: Path) -> None:
    _, page = made(tmp_path)
    assert EVIL not in page
    assert html.escape(EVIL) in page
    assert "<script>alert" not in page
    assert "default-src &#x27;none&#x27;" in page


def test_nothing_is_asked_of_a_network(tmp_path: Path) -> None:
    _, page = made(tmp_path)
    shown = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', shown)


def test_many_cases_are_a_folder(tmp_path: Path) -> None:
    image, predicted, truth = volumes()
    pages = CasePages(tmp_path / "r.html", most_bytes=1)
    for number in range(3):
        scene = Scene(f"case_{number}", image.astype(np.float32), predicted, truth, SPACING, KITS19)
        pages.add(view_case(number, scene))
    write_report(Cohort("many", [], []), pages)
    assert sorted(path.name for path in (tmp_path / "r_cases").iterdir()) == ["00000.html", "00001.html", "00002.html"]
    assert pages.link("case_2") == "r_cases/00002.html"
    assert (tmp_path / "r.html").stat().st_size < 20_000


def test_a_missed_tumor_comes_before_a_rim_around_the_kidney() -> None:
    predicted, truth = np.zeros((2, 20, 60, 60), np.uint8)
    truth[2:18, 5:45, 5:45] = KIDNEY
    predicted[2:18, 6:45, 5:45] = KIDNEY  # a rim of one row is missed
    truth[5:9, 48:55, 48:55] = TUMOR
    errors = errors_of(predicted, truth, KITS19, (1.0, 1.0, 1.0))
    assert errors[0].what == "missed tumor"
    assert errors[0].ml == pytest.approx(4 * 45 / 1000)  # the corners of a square are no neighbours of its core
    z, y, x = errors[0].at
    assert truth[z, y, x] == TUMOR


def test_a_lesion_has_its_diameter_and_its_volume() -> None:
    mask = np.zeros((10, 40, 40), np.uint8)
    mask[5, 5, 5:26] = TUMOR
    mask[5, 6:12, 5:15] = TUMOR
    (found,) = lesions_of(mask, KITS19, (2.0, 1.0, 1.0), "label")
    assert found.diameter_mm == pytest.approx(np.hypot(20, 6), rel=0.01)
    assert found.ml == pytest.approx((21 + 60) * 2 / 1000)


def test_a_block_is_its_most_frequent_class_and_a_tie_the_higher() -> None:
    block = np.array([[[1, 2], [2, 0]], [[0, 0], [1, 1]]], np.uint8)
    assert majority(block, (1, 2, 2), 3).ravel().tolist() == [2, 1]


def test_packed_voxels_keep_their_place() -> None:
    image, predicted, truth = volumes()
    packed = pack(Scene("a", image.astype(np.float32), predicted, truth, SPACING, KITS19), full=True, compress=False)
    import nibabel as nib

    loaded = nib.Nifti1Image.from_bytes(packed.predicted)
    assert np.array_equal(np.asarray(loaded.dataobj).T, predicted)
    np.testing.assert_allclose(loaded.affine, np.diag([-2.0, -2.0, -4.0, 1.0]))
    assert "".join(nib.aff2axcodes(loaded.affine)) == "LPI"


def test_a_training_has_curves_and_its_held_out_cases(tmp_path: Path) -> None:
    (tmp_path / "loss.csv").write_text("step,epoch,loss,tversky,focal,learning_rate\n1,0,2,1,1,0.1\n2,0,1,.5,.5,0.1\n")
    (tmp_path / "validation.csv").write_text("step,epoch,case_id,kidney_dice,tumor_dice\n2,0,case_1,0.75,nan\n")
    write_training(tmp_path, tmp_path / "t.html", refresh=True)
    page = (tmp_path / "t.html").read_text()
    assert "0.7500" in page
    assert page.count("<polyline") == 5
    assert 'http-equiv="refresh"' in page


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        report_command(tmp_path / "no", images=None, labels=None, out=None, protocol=None, full=False, watch=False)


def test_what_the_page_adds_to_the_package_is_small() -> None:
    assets = files("kits_submit.report").joinpath("assets")
    assert sum(len(file.read_bytes()) for file in assets.iterdir() if file.is_file()) < 2_000_000
