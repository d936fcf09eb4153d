"""`kits-submit series`: what a DICOM export holds, and which of it can be segmented."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from kits_submit.errors import InputError
from kits_submit.files.cases import Case
from kits_submit.files.dicom.discover import SUFFIX, UNREADABLE, Series, discover


def series_command(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="DICOM folder, tree, DICOMDIR, zip or file.")],
) -> None:
    """List the series of a DICOM export: slices, spacing, phase, and why one cannot be segmented.

    The descriptions are the scanner's own: they go to the terminal and nowhere else.
    """
    from rich.table import Table

    from kits_submit.console import show

    found = discover(source)
    if not found:
        raise InputError("no DICOM file in it", fix="give the folder or zip of the export", path=source)
    table = Table("series", "description", "modality", "slices", "voxel Z x Y x X mm", "phase?", "why not")
    for series in found:
        layout = series.layout
        spacing = ""
        if layout is not None:
            one = layout.slices[0]
            step = float((layout.affine[:3, 2] ** 2).sum() ** 0.5)
            spacing = f"{step:.4g} x {one.spacing_mm[0]:.4g} x {one.spacing_mm[1]:.4g}"
        count = len({(s.uid, s.frame) for s in series.slices})
        tilt = f"tilt {layout.tilt_degrees:.1f} degrees, undone" if layout and layout.tilt_degrees else ""
        table.add_row(
            series.key, series.facts.description, series.facts.modality, str(count), spacing,
            series.phase if series.facts.modality == "CT" else "", series.why_not or tilt,
        )  # fmt: skip
    show(table)


def chosen(
    cases: list[Case], source: Path, wanted: Collection[str], *, names: bool = False
) -> tuple[list[Case], list[str]]:
    """The cases of a run, and a line for each series of a DICOM export that is left out; other cases as they are.

    Args:
        wanted: UIDs or keys of series; none: all.
        names: call a case by patient ID and series number.

    Raises:
        InputError: a series that is not there.
    """
    if not any(case.image is not None and case.image.suffix == SUFFIX for case in cases):
        if wanted:
            raise InputError("--series is given, and this is no DICOM export", fix="leave it out", path=source)
        return cases, []
    found = {series.key: series for series in discover(source)}
    asked = {key for key, series in found.items() if not wanted or {key, series.facts.series_uid} & set(wanted)}
    picked = [case for case in cases if case.case_id in asked]
    if not picked:
        raise InputError("no such series", fix="list them by kits-submit series", path=source)
    left_out = [f"{key} is left out: {s.left_out}" for key, s in found.items() if s.left_out and not wanted]
    left_out += [f"left out: {s.left_out}" for key, s in found.items() if key == UNREADABLE and wanted]
    for series in found.values():
        if series.layout is not None and series.layout.repeated and series.key in asked:
            left_out.append(f"{series.key}: {series.layout.repeated} files hold a slice once more and are not used")
        if series.layout is not None and series.layout.tilt_degrees and series.key in asked:
            left_out.append(f"{series.key}: the gantry's tilt of {series.layout.tilt_degrees:.1f} degrees is undone")
    return ([_renamed(case, found[case.case_id]) for case in picked] if names else picked), left_out


def _renamed(case: Case, series: Series) -> Case:
    """`PATIENT_4_1f3a9c0b`: the hash stays, for two studies of a patient may number alike."""
    told = f"{series.facts.patient_id}_{series.facts.number}_{series.key.removeprefix('ct_')}"
    return replace(case, case_id=re.sub(r"[^A-Za-z0-9._-]+", "-", told).strip(".-"))
