"""A model on scans of any hospital: `python benchmarks/generalisation.py SCANS OUT [--model M] [-- options]`.

SCANS is a folder of labelled cases without tumors. Each is segmented by `kits-submit run` itself (with what stands
behind `--`), drawn, and scored on its own grid; then copies of it with one drawn tumor each (`implanted.py`), whose
volumes are drawn from three ranges: 4 to 20, 20 to 100, 100 to 200 mL, as far as there is room. Writes

    OUT/scans/       masks, a picture a scan            OUT/copies/      the copies, drawn once
    OUT/scans.csv    a line a scan                      OUT/tumors.csv   a line a copy
    OUT/table.md     both as tables, with means and their 95 % bootstrap intervals over scans

and prints the table. Columns:

    phase, noise     guessed from the kidneys' HU (`train.synthesis.scene`); noise in HU at the scan's own voxels
    kidney           Dice of label 1 alone; `with tumor`: of both labels together (KiTS19's tk); `surface`: surface
                     Dice of both at KiTS's 1.03 mm
    volume           predicted over true volume of both, minus 1
    stray            mL of either farther than 30 mm from any true kidney
    tumor            mL called tumor: all of it false
    tumor (copies)   Dice; found where a tenth of it is called tumor; false mL elsewhere than where a tumor is
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from implanted import RANGES_ML, draw_copies, range_of
from scipy import ndimage

from evaluation.case import score_masks
from evaluation.decisions.intervals import interval95
from evaluation.tables.layout import markdown_table
from kits_submit.files.cases import Case, find_cases
from kits_submit.files.volume import read_labels, read_volume
from kits_submit.labels import TUMOR, volume_ml
from kits_submit.types import Labels, Mask, Spacing
from train.synthesis.scene import Scene

STRAY_MM = 30.0
FOUND_SHARE = 0.1
GOOD, LEAST = 0.90, 0.75  # what a mean and a worst kidney Dice should be


@dataclass(frozen=True)
class ScanScore:
    """One scan without tumor."""

    case: str
    phase: str
    noise_hu: float
    spacing_mm: str
    kidney: float
    with_tumor: float
    surface: float
    volume_error: float
    stray_ml: float
    tumor_ml: float


@dataclass(frozen=True)
class TumorScore:
    """One copy; `at_least_ml`: its range's lower end."""

    case: str
    copy: str
    at_least_ml: float
    volume_ml: float
    dice: float
    found: bool
    false_ml: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=Path("models/kits.onnx"))
    parser.add_argument("--cases", help="of SCANS, by name, separated by commas; default: all")
    parser.add_argument("--copies", type=int, default=2, help="of each scan and range of volumes; 0: none")
    parser.add_argument("--copies-in", type=Path, help="where copies are drawn, to be shared; default: OUT/copies")
    own = sys.argv[1:]
    cut = own.index("--") if "--" in own else len(own)
    given = parser.parse_args(own[:cut])
    wanted = given.cases.split(",") if given.cases else None
    cases = [case for case in find_cases(given.scans) if wanted is None or case.case_id in wanted]
    given.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    segment(cases, given.out / "scans", given.model, ["--pictures", *own[cut + 1 :]])
    seconds = (time.monotonic() - started) / len(cases)
    scans = [scored_scan(case, given.out / "scans") for case in cases]
    tumors = []
    if given.copies:
        for case in cases:
            copies = draw_copies(case, (given.copies_in or given.out / "copies") / case.case_id, given.copies)
            masks = given.out / "tumors" / case.case_id
            segment(copies, masks, given.model, own[cut + 1 :])
            tumors += [scored_copy(case.case_id, copy, masks) for copy in copies]
    write_csv(given.out / "scans.csv", scans)
    write_csv(given.out / "tumors.csv", tumors)
    text = f"`{given.model}`, {seconds:.1f} s a scan\n\n{scan_table(scans)}\n{tumor_table(tumors)}"
    (given.out / "table.md").write_text(text)
    print(text)


def segment(cases: Sequence[Case], out: Path, model: Path, options: Sequence[str]) -> None:
    """`kits-submit run` of these cases alone, through a folder of links to them."""
    linked = out.with_name(f"{out.name}.cases")
    linked.mkdir(parents=True, exist_ok=True)
    for case in cases:
        link = linked / case.case_id
        if not link.is_symlink():
            link.symlink_to(Path(str(case.image)).parent.resolve())
    command = [sys.executable, "-m", "kits_submit", "run", str(linked), str(out), "--model", str(model), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def scored_scan(case: Case, masks: Path) -> ScanScore:
    predicted, truth, spacing_mm = _pair(case, masks)
    scores = score_masks(predicted, truth, spacing_mm, "all")
    scene = Scene.measure(read_volume(_path(case.image)).voxels, truth, spacing_mm)
    return ScanScore(
        case=case.case_id,
        phase=scene.phase,
        noise_hu=round(scene.noise_hu, 1),
        spacing_mm=" x ".join(f"{step:.3g}" for step in spacing_mm),
        kidney=scores["kidney_dice"],
        with_tumor=scores["tk_dice"],
        surface=scores["kidney_and_mass_sd"],
        volume_error=float(np.count_nonzero(predicted) / np.count_nonzero(truth) - 1),
        stray_ml=volume_ml(int(np.count_nonzero((predicted > 0) & _far(truth > 0, spacing_mm))), spacing_mm),
        tumor_ml=volume_ml(int(np.count_nonzero(predicted == TUMOR)), spacing_mm),
    )


def scored_copy(source: str, copy: Case, masks: Path) -> TumorScore:
    predicted, truth, spacing_mm = _pair(copy, masks)
    called, tumor = predicted == TUMOR, truth == TUMOR
    hit, size = int(np.count_nonzero(called & tumor)), int(np.count_nonzero(tumor))
    millilitres = volume_ml(size, spacing_mm)
    return TumorScore(
        case=source,
        copy=copy.case_id,
        at_least_ml=range_of(millilitres),
        volume_ml=millilitres,
        dice=2 * hit / (size + int(np.count_nonzero(called))),
        found=hit >= FOUND_SHARE * size,
        false_ml=volume_ml(int(np.count_nonzero(called & ~tumor)), spacing_mm),
    )


def _pair(case: Case, masks: Path) -> tuple[Labels, Labels, Spacing]:
    truth = read_labels(_path(case.label))
    predicted = read_labels(masks / f"prediction_{case.case_id.removeprefix('case_')}.nii.gz")
    return predicted.voxels, truth.voxels, truth.grid.spacing_mm


def _path(path: Any) -> Path:
    if path is None:
        raise SystemExit("a case without image or label")
    return Path(path)


def _far(mask: Mask, spacing_mm: Spacing) -> Mask:
    """Farther than `STRAY_MM` from the mask; distances are computed in its padded box alone, beyond which all is."""
    far = np.ones(mask.shape, np.bool_)
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    padded = tuple(
        slice(max(0, part.start - int(STRAY_MM / step) - 1), part.stop + int(STRAY_MM / step) + 1)
        for part, step in zip(box, spacing_mm, strict=True)
    )
    far[padded] = ndimage.distance_transform_edt(~mask[padded], sampling=spacing_mm) > STRAY_MM
    return far


def write_csv(path: Path, rows: Sequence[ScanScore] | Sequence[TumorScore]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if rows:
            writer.writerow([field.name for field in fields(rows[0])])
        for row in rows:
            values = asdict(row).values()
            writer.writerow([round(value, 4) if isinstance(value, float) else value for value in values])


def scan_table(scans: Sequence[ScanScore]) -> str:
    """A line a scan, their means with intervals, and how many are as good as they should be."""
    header = ("scan", "phase", "noise HU", "mm", "kidney", "with tumor", "surface", "volume", "stray mL", "tumor mL")
    lines: list[tuple[str, ...]] = [
        (
            one.case, one.phase, f"{one.noise_hu:.0f}", one.spacing_mm, f"{one.kidney:.3f}", f"{one.with_tumor:.3f}",
            f"{one.surface:.3f}", f"{one.volume_error:+.0%}", f"{one.stray_ml:.1f}", f"{one.tumor_ml:.1f}",
        )
        for one in scans
    ]  # fmt: skip
    means = [with_interval([getattr(one, name) for one in scans]) for name in ("kidney", "with_tumor", "surface")]
    stray, tumor = (float(np.mean([getattr(one, name) for one in scans])) for name in ("stray_ml", "tumor_ml"))
    lines.append(("mean", "", "", "", *means, "", f"{stray:.1f}", f"{tumor:.1f}"))
    worst, clean = min(one.kidney for one in scans), sum(one.tumor_ml <= 1 for one in scans)
    mean = float(np.mean([one.kidney for one in scans]))
    verdict = (
        f"mean kidney Dice {mean:.3f} (wanted {GOOD}), worst {worst:.3f} (wanted {LEAST}); "
        f"at most 1 mL called tumor in {clean} of {len(scans)}\n"
    )
    return f"{markdown_table(header, lines)}\n{verdict}"


def tumor_table(tumors: Sequence[TumorScore]) -> str:
    """A line a range of volumes; all of at least its lower end, and those within it alone."""
    if not tumors:
        return ""
    header = ("drawn tumors", "copies", "Dice", "found", "false mL")
    lines = []
    for least in RANGES_ML:
        for name, chosen in (
            (f"at least {least:g} mL", [one for one in tumors if one.volume_ml >= least]),
            (f"{least:g} mL, this range", [one for one in tumors if one.at_least_ml == least]),
        ):
            if chosen:
                found = sum(one.found for one in chosen)
                false = float(np.mean([one.false_ml for one in chosen]))
                dice = with_interval([one.dice for one in chosen])
                lines.append((name, str(len(chosen)), dice, f"{found} of {len(chosen)}", f"{false:.1f}"))
    return markdown_table(header, lines)


def with_interval(values: Sequence[float]) -> str:
    """`0.902 (0.85 .. 0.94)`."""
    mean, around = float(np.mean(values)), interval95(np.array(values))
    return f"{mean:.3f}" if around is None else f"{mean:.3f} ({around[0]:.2f} .. {around[1]:.2f})"


if __name__ == "__main__":
    main()
