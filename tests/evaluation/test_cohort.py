from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.case import score_masks
from evaluation.cohort import score_pairs
from evaluation.masks.matching import match
from evaluation.report import Report
from kits_submit.errors import InputError
from tests.conftest import kits_affine, save
from tests.evaluation.conftest import kidney_with_tumor

Folders = Callable[..., tuple[Path, Path]]
LABELS = kidney_with_tumor()


def scored(folders: tuple[Path, Path], protocol: str = "kits19", **options: Any) -> Report:
    return score_pairs(match(*folders), protocol, **options)


def test_a_row_a_case_and_a_summary(folders: Folders) -> None:
    half = LABELS.copy()
    half[half == 2] = 1
    report = scored(folders({1: LABELS, 2: half}, {1: LABELS, 2: LABELS}))
    assert [dict(row.scores) for row in report.rows] == [
        {"tk_dice": 1.0, "tu_dice": 1.0, "composite": 1.0}, {"tk_dice": 1.0, "tu_dice": 0.0, "composite": 0.5},
    ]  # fmt: skip
    tumor = report.aggregate["tu_dice"]
    assert (tumor.mean, tumor.median, tumor.n) == (0.5, 0.5, 2)
    assert tumor.std == pytest.approx(math.sqrt(0.5))
    assert tumor.worst[0] == ("case_00002", 0.0)
    assert tumor.empty == {"both": 0, "prediction": 1, "truth": 0}
    assert report.exit_code == 0


def test_the_truths_spacing_is_used_and_never_the_headers_zooms(folders: Folders) -> None:
    moved = np.roll(LABELS, 1, axis=2)
    report = scored(folders({1: moved}, {1: LABELS}), "kits23")
    assert dict(report.rows[0].scores) == score_masks(moved, LABELS, (3.0, 0.8, 0.8), "kits23")


@pytest.mark.parametrize(
    ("prediction", "kind", "message"),
    [
        (
            np.full(LABELS.shape, 7, np.uint8),
            "LabelError",
            r"the prediction holds label 7 \(864 voxels\); allowed are 0, 1, 2",
        ),
        (np.full(LABELS.shape, 3, np.uint8), "LabelError", "score cysts with --protocol kits23"),
        (np.full(LABELS.shape, 0.5, np.float32), "LabelError", "are no label"),
        (np.full(LABELS.shape, np.nan, np.float32), "LabelError", "are no label"),
        (np.full(LABELS.shape, -1, np.int16), "LabelError", "are no label"),
        (np.zeros((*LABELS.shape, 3), np.uint8), "VolumeError", r"the volume has shape \(6, 12, 12, 3\)"),
        (LABELS[:-1], "GeometryError", "it was cropped or padded"),
        ((LABELS, np.eye(4)), "GeometryError", "the affine was lost"),
    ],
    ids=["label", "cyst", "float", "nan", "negative", "4-D", "shape", "affine"],
)
def test_a_bad_case_is_a_row_with_an_error_and_the_others_are_scored(
    folders: Folders, prediction: Any, kind: str, message: str
) -> None:
    report = scored(folders({1: prediction, 2: LABELS}, {1: LABELS, 2: LABELS}))
    bad, good = report.rows
    assert bad.error is not None
    assert bad.error.kind == kind
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(bad.error.message)
    assert "\n" not in bad.error.message
    assert good.scores["composite"] == 1.0
    assert report.aggregate["composite"].n == 1
    assert report.exit_code == {"LabelError": 6, "VolumeError": 4, "GeometryError": 5}[kind]


def test_whole_numbers_stored_as_floats_are_labels(folders: Folders) -> None:
    report = scored(folders({1: LABELS.astype(np.float64)}, {1: LABELS.astype(np.uint16)}))
    assert report.rows[0].scores["composite"] == 1.0


def test_a_truncated_file(folders: Folders) -> None:
    noise = np.random.default_rng(0).integers(0, 3, LABELS.shape).astype(np.uint8)
    predictions, labels = folders({1: noise, 2: LABELS}, {1: LABELS, 2: LABELS})
    path = predictions / "prediction_00001.nii.gz"
    path.write_bytes(path.read_bytes()[:-80])
    report = scored((predictions, labels))
    assert report.rows[0].error is not None
    assert "ends early" in report.rows[0].error.message
    assert report.exit_code == 4


def test_a_bad_truth_is_an_error_of_its_case(folders: Folders) -> None:
    report = scored(folders({1: LABELS}, {1: np.full(LABELS.shape, 9, np.uint8)}))
    assert report.rows[0].error is not None
    assert "the truth holds label 9" in report.rows[0].error.message
    assert "segmentation.nii.gz" in report.rows[0].error.message


def test_a_case_that_is_there_twice_is_a_row_with_an_error(folders: Folders) -> None:
    predictions, labels = folders({1: LABELS, 2: LABELS}, {1: LABELS, 2: LABELS})
    save(predictions / "case_00001.nii.gz", LABELS)
    bad, good = scored((predictions, labels)).rows
    assert bad.error is not None
    assert "case_00001 is there 2 times: case_00001.nii.gz and prediction_00001.nii.gz" in bad.error.message
    assert bad.error.exit_code == 3
    assert good.scores["composite"] == 1.0


def test_a_bug_fails_its_case_alone_unless_debugged(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    paths = folders({1: LABELS, 2: LABELS}, {1: LABELS, 2: LABELS})
    monkeypatch.setattr("evaluation.case._confusion", broken)
    report = scored(paths)
    assert [row.error.message for row in report.rows if row.error] == [
        f"case_0000{n}: unexpected ZeroDivisionError; run again with --debug and report it" for n in (1, 2)
    ]
    assert report.exit_code == 1
    with pytest.raises(ZeroDivisionError):
        scored(paths, debug=True)


def test_failures_of_several_kinds(folders: Folders) -> None:
    report = scored(folders({1: LABELS[:-1], 2: LABELS + 5}, {1: LABELS, 2: LABELS, 3: LABELS}))
    assert [row.error.exit_code for row in report.rows if row.error] == [5, 6, 3]
    assert report.exit_code == 10


@pytest.mark.parametrize(
    ("missing", "rows", "exit_code", "said"),
    [
        ("error", 2, 3, "case_00002: no prediction; predict it, or say --missing background"),
        ("background", 2, 0, "case_00002: no prediction; scored as background"),
        ("skip", 1, 0, "case_00002: no prediction; left out"),
    ],
)
def test_missing_cases(folders: Folders, missing: str, rows: int, exit_code: int, said: str) -> None:
    report = scored(folders({1: LABELS}, {1: LABELS, 2: LABELS}), missing=missing)
    assert len(report.rows) == rows
    assert report.exit_code == exit_code
    assert any(issue.message.startswith(said) for issue in report.issues)
    if missing == "background":
        assert set(report.rows[1].scores.values()) == {0.0}
        assert report.aggregate["composite"].mean == 0.5


def test_an_extra_prediction_is_named_and_not_scored(folders: Folders) -> None:
    report = scored(folders({1: LABELS, 2: LABELS}, {1: LABELS}))
    assert len(report.rows) == 1
    assert [(issue.case, issue.kind) for issue in report.issues] == [("case_00002", "extra")]
    assert report.exit_code == 0


def test_processes_give_the_same_rows(folders: Folders) -> None:
    cases = {number: np.roll(LABELS, number, axis=1) for number in range(3)}
    pairs = match(*folders(cases, dict.fromkeys(cases, LABELS)))
    seen: list[str] = []
    together = score_pairs(pairs, "kits23", jobs=2, on_row=lambda row: seen.append(row.case))
    assert together == score_pairs(pairs, "kits23")
    assert seen == ["case_00000", "case_00001", "case_00002"]


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        ([], {}, "no case to score"),
        ([("a", Path("a"), Path("a"))] * 2, {}, "a is given twice"),
        (
            [("a", Path("a"), Path("a"))],
            {"protocol": "kits20"},
            "protocol 'kits20'; use one of paper, kits19, kits23, all",
        ),
        ([("a", Path("a"), Path("a"))], {"missing": "zero"}, "missing 'zero'; use one of error, background, skip"),
    ],
)
def test_what_cannot_be_scored_at_all(pairs: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        score_pairs(pairs, **options)


class TestOfficialCompat:
    def test_both_empty_is_nan_in_kits19_and_one_in_kits23(self, folders: Folders) -> None:
        nothing = np.zeros_like(LABELS)
        paths = folders({1: nothing}, {1: nothing})
        assert all(math.isnan(v) for v in scored(paths, "kits19", official_compat=True).rows[0].scores.values())
        assert set(scored(paths, "kits23", official_compat=True).rows[0].scores.values()) == {1.0}

    def test_only_the_shape_is_compared_and_the_predictions_spacing_is_used(self, folders: Folders) -> None:
        moved = np.roll(LABELS, 1, axis=2)
        wrong = kits_affine((9.0, 2.4, 2.4))
        report = scored(folders({1: (moved, wrong)}, {1: LABELS}), "kits23", official_compat=True)
        expected = score_masks(moved, LABELS, (9.0, 2.4, 2.4), "kits23")
        assert dict(report.rows[0].scores) == pytest.approx(expected, abs=1e-6)
        assert expected["tumor_sd"] != score_masks(moved, LABELS, (3.0, 0.8, 0.8), "kits23")["tumor_sd"]

    def test_another_shape_still_fails(self, folders: Folders) -> None:
        report = scored(folders({1: LABELS[:-1]}, {1: LABELS}), "kits23", official_compat=True)
        assert report.exit_code == 5

    def test_floats_are_rounded_and_any_other_value_is_tumor_in_kits19(self, folders: Folders) -> None:
        odd = np.where(LABELS == 2, 4.8, LABELS * 0.6)
        assert set(scored(folders({1: odd}, {1: LABELS}), official_compat=True).rows[0].scores.values()) == {1.0}

    @pytest.mark.parametrize("value", [-1, 4, 258])
    def test_a_cast_integer_is_tumor_in_kits19_and_background_in_kits23(self, folders: Folders, value: int) -> None:
        odd = np.where(LABELS == 2, np.int16(value), LABELS.astype(np.int16))
        paths = folders({1: odd}, {1: LABELS})
        assert set(scored(paths, "kits19", official_compat=True).rows[0].scores.values()) == {1.0}
        assert scored(paths, "kits23", official_compat=True).rows[0].scores["tumor_dice"] == 0.0

    def test_kits23_compares_floats_and_does_not_round_them(self, folders: Folders) -> None:
        paths = folders({1: np.where(LABELS == 2, 2.0, LABELS * 1.2)}, {1: LABELS})
        scores = scored(paths, "kits23", official_compat=True).rows[0].scores
        assert scores["tumor_dice"] == 1.0
        assert scores["kidney_and_mass_dice"] == pytest.approx(2 * 18 / (18 + 4 * 7 * 7))

    def test_a_cyst_of_the_truth_is_tumor_in_kits19(self, folders: Folders) -> None:
        cyst = np.where(LABELS == 2, 3, LABELS).astype(np.uint8)
        assert scored(folders({1: LABELS}, {1: cyst}), official_compat=True).rows[0].scores["tu_dice"] == 1.0

    def test_one_last_axis_is_argmaxed_to_background_in_kits19(self, folders: Folders) -> None:
        report = scored(folders({1: LABELS[..., None]}, {1: LABELS}), official_compat=True)
        assert set(report.rows[0].scores.values()) == {0.0}

    def test_an_empty_mask_of_another_shape_is_zero_in_kits23_and_fails_in_kits19(self, folders: Folders) -> None:
        paths = folders({1: np.zeros_like(LABELS[1:])}, {1: LABELS})
        assert set(scored(paths, "kits23", official_compat=True).rows[0].scores.values()) == {0.0}
        assert scored(paths, "kits19", official_compat=True).exit_code == 5

    def test_probabilities_are_argmaxed_in_kits19(self, folders: Folders) -> None:
        logits = np.stack([value == LABELS for value in range(3)], axis=-1).astype(np.float32)
        assert set(scored(folders({1: logits}, {1: LABELS}), official_compat=True).rows[0].scores.values()) == {1.0}
        assert scored(folders({1: logits}, {1: LABELS}), "kits23", official_compat=True).exit_code == 4

    def test_missing_cases_are_left_out(self, folders: Folders) -> None:
        report = scored(folders({1: LABELS}, {1: LABELS, 2: LABELS}), official_compat=True)
        assert [row.case for row in report.rows] == ["case_00001"]
        assert report.exit_code == 0

    def test_a_file_that_is_none(self, folders: Folders) -> None:
        predictions, labels = folders({1: LABELS}, {1: LABELS})
        (predictions / "prediction_00001.nii.gz").write_bytes(gzip.compress(b"nothing"))
        assert scored((predictions, labels), official_compat=True).exit_code == 4


def test_other_orientations_must_be_written_back(folders: Folders, tmp_path: Path) -> None:
    """The same anatomy on flipped axes is not the image's grid, and KiTS would refuse it."""
    flipped = kits_affine()
    flipped[2, 0], flipped[2, 3] = 3.0, -15.0
    report = scored(folders({1: (LABELS[::-1], flipped)}, {1: LABELS}))
    assert report.exit_code == 5
    save(tmp_path / "labels" / "case_00001" / "segmentation.nii.gz", LABELS[::-1], flipped)
    again = scored((tmp_path / "predictions", tmp_path / "labels"), "kits23")
    assert set(again.rows[0].scores.values()) == {1.0}


def test_a_report_as_a_data_frame(folders: Folders) -> None:
    half = LABELS.copy()
    half[half == 2] = 1
    report = scored(folders({1: LABELS, 2: half, 3: LABELS[1:]}, {1: LABELS, 2: LABELS, 3: LABELS}))
    frame = report.to_frame()
    assert list(frame.index) == ["case_00001", "case_00002", "case_00003"]
    assert frame["tu_dice"].tolist()[:2] == [1.0, 0.0]
    assert np.isnan(frame["tu_dice"].iloc[2])
    assert frame["error"].tolist()[:2] == ["", ""]
    assert "(5, 12, 12)" in frame["error"].iloc[2]
