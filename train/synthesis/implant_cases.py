"""Implanted copies of labelled cases, on disk in KiTS's layout: what `kits-submit implant` writes.

OUT/case_00000/{imaging,segmentation}.nii.gz   int16 HU, uint8 labels; KiTS's orientation, the source's spacing
OUT/implants.csv                               one row a lesion: from which case, seed, phase, kind, mL, HU
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kits_submit.errors import InputError
from kits_submit.labels import KITS19, LabelSet

if TYPE_CHECKING:
    from kits_submit.files.cases import Case
    from train.synthesis.implant import Implanted
    from train.synthesis.scene import Scene

TABLE = "implants.csv"
_COLUMNS = ("case", "source", "seed", "phase", "kind", "volume_ml", "hu")
_RETRIES = 5


@dataclass(frozen=True)
class Copy:
    """One case written and its rows of the table."""

    case: str
    rows: tuple[tuple[str | int | float, ...], ...]


def implant_cases(cases: list[Case], out: Path, copies: int, seed: int, classes: LabelSet = KITS19) -> Iterator[Copy]:
    """Write `copies` of each case; copy k of case i is number i * copies + k, whatever the others do.

    Raises:
        InputError: a case without image, label or kidney, or without room for any tumor.
        VolumeError, GeometryError, LabelError, OutputError: as reading a pair and writing a case.
    """
    written: list[Copy] = []
    for i, case in enumerate(cases):
        numbers = range(i * copies, (i + 1) * copies)
        for copy in copies_of(case, out, numbers, (seed,), classes=classes):
            written.append(copy)
            _write_table(out / TABLE, written)
            yield copy


def copies_of(
    case: Case,
    out: Path,
    numbers: range,
    seed: tuple[int, ...],
    *,
    classes: LabelSet = KITS19,
    cysts_as_kidney: bool = False,
    tumors: bool = True,
) -> Iterator[Copy]:
    """Write one case's copies, each a function of the case, `seed` and its number; raises as `implant_cases`.

    Args:
        classes: a cyst drawn is a class of its own where it has one.
        cysts_as_kidney: as `train.pairs.read_pair` takes it.
        tumors: False for copies with cysts alone, at least one tried.
    """
    import numpy as np

    from kits_submit.phantom import kits_affine, write_case
    from train.pairs import read_pair
    from train.synthesis.implant import implant_cysts
    from train.synthesis.scene import Scene

    image, labels, spacing_mm = read_pair(case, classes, cysts_as_kidney=cysts_as_kidney)
    try:
        scene = Scene.measure(image, labels, spacing_mm)
    except InputError as error:
        raise InputError(error.what, fix=error.fix, path=case.label) from None
    for number in numbers:
        seeds = (*seed, number)
        done = _implanted(scene, seeds, classes) if tumors else implant_cysts(scene, seeds, classes)
        name = f"case_{number:05d}"
        write_case(out / name, done.image, done.labels, kits_affine(spacing_mm), np.dtype("<i2"))
        rows = tuple(
            (name, case.case_id, seed[0], done.phase, one.kind, round(one.volume_ml, 2), round(one.hu, 1))
            for one in done.lesions
        )
        yield Copy(name, rows)


def _implanted(scene: Scene, seed: tuple[int, ...], classes: LabelSet) -> Implanted:
    """The first of some tries that found room for its tumor."""
    from train.synthesis.implant import implant

    for attempt in range(_RETRIES - 1):
        try:
            return implant(scene, (*seed, attempt), classes=classes)
        except InputError:
            continue
    return implant(scene, (*seed, _RETRIES - 1), classes=classes)


def _write_table(path: Path, copies: list[Copy]) -> None:
    from kits_submit.atomic import replacing

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(row for copy in copies for row in copy.rows)
    with replacing(path) as raw:
        raw.write(text.getvalue().encode())
