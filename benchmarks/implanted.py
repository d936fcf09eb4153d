"""Copies of a labelled scan with one drawn tumor each, of volumes from given ranges: what generalisation.py tests on.

OUT/case_00000/{imaging,segmentation}.nii.gz, ...   drawn once; copy k is a function of the scan's name and k alone
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np

from kits_submit.errors import InputError
from kits_submit.files.cases import Case, find_cases
from kits_submit.labels import KITS19
from kits_submit.phantom import kits_affine, write_case
from train.pairs import read_pair
from train.synthesis.implant import Implanted, implant
from train.synthesis.scene import Scene

RANGES_ML = (4.0, 20.0, 100.0)  # lower ends: small, KiTS19's median and above, large
_UPPER_ML = (20.0, 100.0, 200.0)
_TRIES = 8
SEED = 27


def draw_copies(case: Case, out: Path, each: int) -> list[Case]:
    """`each` copies for each range, those that are there kept; a range without room for its tumors has fewer.

    Raises:
        InputError: the case has no kidney.
    """
    names = [f"case_{number:05d}" for number in range(each * len(RANGES_ML))]
    done = out / f"{each}.done"
    if not done.is_file():
        image, labels, spacing_mm = read_pair(case, KITS19)
        scene = Scene.measure(image, labels, spacing_mm)
        for number, name in enumerate(names):
            drawn = _in_range(scene, number // each, (SEED, zlib.crc32(case.case_id.encode()), number))
            if drawn is not None:
                write_case(out / name, drawn.image, drawn.labels, kits_affine(spacing_mm), np.dtype("<i2"))
        done.touch()
    return [copy for copy in find_cases(out) if copy.case_id in names]


def range_of(millilitres: float) -> float:
    """The lower end of the range that a volume lies in; the first where it lies below."""
    return max((least for least in RANGES_ML if least <= millilitres), default=RANGES_ML[0])


def _in_range(scene: Scene, which: int, seed: tuple[int, ...]) -> Implanted | None:
    """The first of some tries whose tumor has at least the range's lower end; None where there is no room for one."""
    low, high = RANGES_ML[which], _UPPER_ML[which]
    for attempt in range(_TRIES):
        rng = np.random.default_rng((*seed, attempt))
        wanted = math.exp(rng.uniform(math.log(1.1 * low), math.log(high)))
        try:
            drawn = implant(scene, (*seed, attempt), tumor_ml=wanted)
        except InputError:
            continue
        tumors = [lesion for lesion in drawn.lesions if lesion.kind != "cyst"]
        if len(tumors) == 1 and tumors[0].volume_ml >= low:
            return drawn
    return None
