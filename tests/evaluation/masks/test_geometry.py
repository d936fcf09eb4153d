from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from evaluation.masks.geometry import check_same_grid
from kits_submit.errors import GeometryError
from kits_submit.files.volume import read_grid
from tests.conftest import kits_affine, save

SHAPE = (10, 12, 16)
AFFINE = kits_affine((3.0, 0.8, 0.8))


def changed(**entries: float) -> np.ndarray:
    affine = AFFINE.copy()
    for place, value in entries.items():
        affine[int(place[1]), int(place[2])] = value
    return affine


def _canonical() -> np.ndarray:
    """The grid of `SHAPE` and `AFFINE` with its axes turned to right, front and up."""
    return np.array([[0.8, 0, 0, -12.0], [0, 0.8, 0, -8.8], [0, 0, 3.0, -27.0], [0, 0, 0, 1.0]])


def check(folder: Path, shape: tuple[int, ...], affine: np.ndarray) -> None:
    truth = read_grid(save(folder / "truth.nii.gz", np.zeros(SHAPE, np.uint8), AFFINE))
    path = save(folder / "prediction.nii.gz", np.zeros(shape, np.uint8), affine)
    check_same_grid(read_grid(path), truth, path)


def test_the_same_grid_within_the_tolerance_of_kits23(tmp_path: Path) -> None:
    check(tmp_path, SHAPE, changed(a03=0.0009))


@pytest.mark.parametrize(
    ("shape", "affine", "cause"),
    [
        ((16, 12, 10), AFFINE, "the axes were reversed"),
        ((12, 10, 16), AFFINE, "the axes were permuted"),
        ((30, 12, 16), kits_affine((1.0, 0.8, 0.8)), "it was resampled (1 x 0.8 x 0.8 mm, truth 3 x 0.8 x 0.8 mm)"),
        ((7, 12, 16), AFFINE, "it was cropped or padded"),
        ((90, 80, 16), kits_affine((1.0, 1.0, 2.0)), "it is of another scan"),
        (SHAPE, np.eye(4), "the affine was lost"),
        (SHAPE, changed(a02=-3.0, a20=-0.8), "the spacing was written in reverse order"),
        (SHAPE, changed(a11=-3.0, a20=-0.8), "the spacing was written in another order"),
        (SHAPE, kits_affine((2.0, 0.8, 0.8)), "it was resampled or its spacing is wrong (2 x 0.8 x 0.8 mm"),
        (SHAPE, changed(a03=1.5), "the origin was moved by 1.5 x 0 x 0 mm"),
        (SHAPE, changed(a20=3.0), "axis 0 was flipped"),
        (SHAPE, changed(a20=3.0, a23=-27.0), "its axes were turned to SPL (the truth's are IPL) and not back"),
        ((16, 12, 10), _canonical(), "its axes were turned to RAS (the truth's are IPL) and not back"),
        (
            SHAPE,
            np.diag([0.8, 0.8, 3.0, 1.0]),
            "the orientation was lost (a diagonal affine was written), and the ",
        ),
        (SHAPE, np.diag([3.0, 0.8, 0.8, 1.0]), "the orientation was lost (a diagonal affine was written); write"),
        (SHAPE, changed(a02=0.8, a20=3.0), "axes 0, 2 were flipped"),
        (SHAPE, changed(a02=0.8, a11=0.8), "LPS and RAS were mixed up"),
        (SHAPE, AFFINE[[1, 0, 2, 3]], "the axes were permuted"),
        (SHAPE, AFFINE @ np.array([[1, 0, 0, 0], [0, 0.8, -0.6, 0], [0, 0.6, 0.8, 0], [0, 0, 0, 1]]), "it was rotated"),
    ],
)
def test_a_mismatch_says_what_probably_happened(
    tmp_path: Path, shape: tuple[int, ...], affine: np.ndarray, cause: str
) -> None:
    with pytest.raises(GeometryError, match=re.escape(f"probably {cause}")):
        check(tmp_path, shape, affine)


def test_a_mismatch_shows_both(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match=r"shape \(16, 12, 10\) but the truth has \(10, 12, 16\)"):
        check(tmp_path, (16, 12, 10), AFFINE)
    both = re.escape("affine [1 0 0 0; 0 1 0 0; 0 0 1 0] but the truth has [0 0 -0.8 0; 0 -0.8 0 0; -3 0 0 0]")
    with pytest.raises(GeometryError, match=both):
        check(tmp_path, SHAPE, np.eye(4))
