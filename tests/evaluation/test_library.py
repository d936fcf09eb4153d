from __future__ import annotations

import doctest
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import evaluation.library
from evaluation import score
from kits_submit.errors import GeometryError, InputError, LabelError
from tests.evaluation.conftest import kidney_with_tumor

LABELS = kidney_with_tumor()
MM = (3.0, 0.8, 0.8)


def test_the_documented_example_runs() -> None:
    assert doctest.testmod(evaluation.library).failed == 0


def test_folders_are_scored_into_a_frame(folders: Callable[..., tuple[Path, Path]]) -> None:
    predictions, labels = folders({1: LABELS, 2: LABELS[1:]}, {1: LABELS, 2: LABELS})
    frame = score(str(predictions), labels, "kits19", also=["iou"])
    assert list(frame.index) == ["case_00001", "case_00002"]
    assert frame.loc["case_00001", ["composite", "tu_iou"]].tolist() == [1.0, 1.0]
    assert "shape" in frame["error"].iloc[1]


def test_arrays_of_any_whole_type() -> None:
    frame = score(LABELS.astype(np.int64), LABELS.astype(np.int16), "kits23", spacing_mm=MM)
    assert frame["tumor_dice"].tolist() == [1.0]
    assert frame["error"].tolist() == [""]


@pytest.mark.parametrize(
    ("prediction", "options", "error", "message"),
    [
        (LABELS[1:], {"spacing_mm": MM}, GeometryError, r"prediction of shape \(5, 12, 12\), truth of \(6, 12, 12\)"),
        (LABELS + 9, {"spacing_mm": MM}, LabelError, "the prediction holds label"),
        (LABELS.astype(np.int16) - 1, {"spacing_mm": MM}, LabelError, "no label"),
        (LABELS.astype(np.float32), {"spacing_mm": MM}, LabelError, "no label"),
        (LABELS, {}, InputError, "give spacing_mm"),
        ("somewhere", {}, InputError, "give two paths or two arrays"),
    ],
)
def test_what_cannot_be_scored(prediction: object, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        score(prediction, LABELS, "kits19", **options)  # type: ignore[arg-type]
