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
from typing import TYPE_CHECKING, Annotated

import typer

from kits_submit.errors import InputError

if TYPE_CHECKING:
    from kits_submit.cases import Case
    from train.implant import Implanted
    from train.scene import Scene

TABLE = "implants.csv"
_COLUMNS = ("case", "source", "seed", "phase", "kind", "volume_ml", "hu")
_RETRIES = 5


@dataclass(frozen=True)
class Copy:
    """One case written and its rows of the table."""

    case: str
    rows: tuple[tuple[str | int | float, ...], ...]


def implant_command(
    source: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of labelled cases.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write case_00000, case_00001, ... into.")],
    copies: Annotated[int, typer.Option(min=1, help="Implanted copies of each case.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal files.")] = 0,
) -> None:
    """Draw tumors and cysts into the kidneys of real, labelled CT, for training and for testing."""
    from kits_submit.cases import find_cases
    from kits_submit.console import say

    for copy in implant_cases(find_cases(source), out, copies, seed):
        say(f"drawn: {copy.case} ({', '.join(f'{row[4]} {row[5]:g} mL' for row in copy.rows)})")


def implant_cases(cases: list[Case], out: Path, copies: int, seed: int) -> Iterator[Copy]:
    """Write `copies` of each case; copy k of case i is number i * copies + k, whatever the others do.

    Raises:
        InputError: a case without image, label or kidney, or without room for any tumor.
        VolumeError, GeometryError, LabelError, OutputError: as reading a pair and writing a case.
    """
    written: list[Copy] = []
    for i, case in enumerate(cases):
        numbers = range(i * copies, (i + 1) * copies)
        for copy in copies_of(case, out, numbers, (seed,)):
            written.append(copy)
            _write_table(out / TABLE, written)
            yield copy


def copies_of(case: Case, out: Path, numbers: range, seed: tuple[int, ...], *, tumors: bool = True) -> Iterator[Copy]:
    """Write one case's copies, each a function of the case, `seed` and its number; raises as `implant_cases`.

    Args:
        tumors: False for copies with cysts alone, at least one tried.
    """
    import numpy as np

    from kits_submit.phantom import kits_affine, write_case
    from train.fingerprint import read_pair
    from train.implant import implant_cysts
    from train.scene import Scene

    image, labels, spacing_mm = read_pair(case)
    try:
        scene = Scene.measure(image, labels, spacing_mm)
    except InputError as error:
        raise InputError(error.what, fix=error.fix, path=case.label) from None
    for number in numbers:
        done = _implanted(scene, (*seed, number)) if tumors else implant_cysts(scene, (*seed, number))
        name = f"case_{number:05d}"
        write_case(out / name, done.image, done.labels, kits_affine(spacing_mm), np.dtype("<i2"))
        rows = tuple(
            (name, case.case_id, seed[0], done.phase, one.kind, round(one.volume_ml, 2), round(one.hu, 1))
            for one in done.lesions
        )
        yield Copy(name, rows)


def _implanted(scene: Scene, seed: tuple[int, ...]) -> Implanted:
    """The first of some tries that found room for its tumor."""
    from train.implant import implant

    for attempt in range(_RETRIES - 1):
        try:
            return implant(scene, (*seed, attempt))
        except InputError:
            continue
    return implant(scene, (*seed, _RETRIES - 1))


def _write_table(path: Path, copies: list[Copy]) -> None:
    from kits_submit.nifti import replacing

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(row for copy in copies for row in copy.rows)
    with replacing(path) as raw:
        raw.write(text.getvalue().encode())
