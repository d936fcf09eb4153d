"""What ten thousand cases cost beside the network: listing, headers, records, proofs, resuming, tables, merging.

    python benchmarks/scale.py                  # 10,000 cases; 1,000 first, to see what grows faster than the cases
    python benchmarks/scale.py --cases 1000

Each case is a folder with an image and a label map of 4 x 8 x 8 voxels; its mask is put there by this script in place
of the network. Seconds are of one process; `peak` is its largest resident set, engine and model included.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kits_submit.batch.budget import check_fit
from kits_submit.batch.ledger import Ledger
from kits_submit.batch.manifest import Provenance
from kits_submit.batch.merge import merged, records, shard_facts
from kits_submit.batch.outcome import CaseResult
from kits_submit.batch.shards import cases_of, listing_sha256
from kits_submit.engine.model import load_model
from kits_submit.engine.select import select_engine
from kits_submit.files.cases import Case, find_cases
from kits_submit.files.left_out import left_out
from kits_submit.files.nifti import write_nifti
from kits_submit.files.output import output_folder
from kits_submit.files.parts import Part
from kits_submit.files.targets import check_targets
from kits_submit.inference.patches import PatchPlan
from kits_submit.machine.memory import peak_mb, reset_peak
from kits_submit.places import DEFAULT_MODEL
from kits_submit.report.tables import case_table

SHAPE = (4, 8, 8)
SHARDS = 100


class Clock:
    """Seconds by name, printed as they come."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[what] = time.perf_counter() - start


def draw(folder: Path, cases: int) -> bytes:
    """KiTS folders of one tiny volume; the bytes of a mask of it."""
    import nibabel as nib

    affine = np.array([[0, 0, -0.8, 0], [0, -0.8, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1.0]])
    header = nib.Nifti1Image(np.zeros(SHAPE, np.uint8), affine).header
    write_nifti(folder / "one.nii.gz", np.zeros(SHAPE, np.uint8), header, SHAPE)
    content = (folder / "one.nii.gz").read_bytes()
    (folder / "one.nii.gz").unlink()
    for number in range(cases):
        case = folder / f"case_{number:05d}"
        case.mkdir()
        (case / "imaging.nii.gz").write_bytes(content)
        (case / "segmentation.nii.gz").write_bytes(content)
    return content


def result_of(case: Case) -> CaseResult:
    stages = dict.fromkeys(("read", "resample", "network", "restore", "refine", "write"), 0.0)
    volumes = {"kidney": 0.0, "tumor": 0.0}
    return CaseResult(
        case.case_id, prediction=case.target.name, shape=SHAPE, spacing_mm=(3.0, 0.8, 0.8), orientation="IPL",
        device="none", volume_ml=volumes, seconds=stages,
    )  # fmt: skip


def measured(cases: int, scratch: Path) -> tuple[Clock, float]:
    source, output, clock = scratch / "in", scratch / "out", Clock()
    source.mkdir()
    mask = draw(source, cases)
    model = load_model(DEFAULT_MODEL)
    made_by = Provenance(model, select_engine("cpu", model, threads=1), PatchPlan.of(model.recipe))
    reset_peak()
    with clock.of("list INPUT"):
        found = find_cases(source, output)
    with clock.of("check names"):
        check_targets(found, output, [case.image for case in found if case.image])
        left_out(source, output, found, [case.label for case in found if case.label])
    with clock.of("read headers"):
        check_fit(found, model.recipe)
    with output_folder(output), Ledger(found, output, made_by) as ledger:
        for case in found:
            (output / case.target).write_bytes(mask)
        with clock.of("prove and record"):
            for case in found:
                ledger.case_started(case.case_id)
                ledger.case_ended(result_of(case))
        with clock.of("write run.json"):
            ledger.conclude(0)
    with output_folder(output), clock.of("resume"), Ledger(found, output, made_by) as ledger:
        assert len(ledger.results) == cases, "all are kept"
        ledger.conclude(0)
    with clock.of("print the table"):
        _printed(lambda: case_table(ledger.results, model.recipe.labels, 110))
    with clock.of("deal to 100 shards"):
        dealt = [cases_of(Part(index, SHARDS), found) for index in (1, SHARDS)]
        listing = listing_sha256(found)
    assert sum(len(cases) for cases in dealt) <= len(found)
    for index in range(1, SHARDS + 1):
        _leave_shard(Part(index, SHARDS), found[index - 1 :: SHARDS], output, made_by, listing)
    with clock.of("merge 100 shards"):
        parts = records([output])
        assert len(merged(parts, ())["cases"]) == cases, "no case is lost"
    return clock, peak_mb()


def _leave_shard(part: Part, cases: list[Case], output: Path, made_by: Provenance, listing: str) -> None:
    ledger = Ledger(cases, output, made_by, fresh=True, part=part, more=shard_facts(part, "", listing))
    for case in cases:
        ledger.record(result_of(case), {"key": "0" * 64, "mask_sha256": "0" * 64})
    ledger.conclude(0)


def _printed(table: Callable[[], object]) -> None:
    import io

    from rich.console import Console

    Console(file=io.StringIO(), width=110).print(table())


def main() -> None:
    parser = argparse.ArgumentParser(description="what many cases cost beside the network")
    parser.add_argument("--cases", type=int, default=10_000)
    cases = parser.parse_args().cases
    columns = []
    for count in (cases // 10, cases):
        with tempfile.TemporaryDirectory() as scratch:
            columns.append(measured(count, Path(scratch)))
    (few, few_mb), (many, many_mb) = columns
    print(f"{'seconds':<20}{cases // 10:>9}{cases:>9}   growth")
    for name, seconds in many.seconds.items():
        print(f"{name:<20}{few.seconds[name]:>9.2f}{seconds:>9.2f}{seconds / max(few.seconds[name], 1e-9):>8.1f}x")
    print(f"{'all':<20}{sum(few.seconds.values()):>9.2f}{sum(many.seconds.values()):>9.2f}")
    print(f"{'peak MB':<20}{few_mb:>9.0f}{many_mb:>9.0f}")


if __name__ == "__main__":
    main()
