"""Mutated DICOM files and run records, seeded: series and labels are read or told in a line, a page is made or refused.

`make fuzz` does a tenth of FUZZ of each; the tests a tenth of 2,000.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs the extra dicom")

import highdicom
import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from kits_submit.batch.outcome import CaseResult
from kits_submit.commands.report import report_command
from kits_submit.errors import KitsError
from kits_submit.files.cases import find_cases
from kits_submit.files.dicom.codes import Maker
from kits_submit.files.dicom.discover import address, discover, label_files
from kits_submit.files.masks import write_mask
from kits_submit.files.volume import open_planes, read_grid, read_labels
from tests.faults.test_mutations import MUTATIONS, MUTATORS, SEED
from tests.files.dicom.exports import PATIENT, block_hu, files_of, rewritten, write_series

BATCH = 50
Export = dict[str, bytes]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> list[Export]:
    """Files by name: native, RLE, deflated, multi-frame; each with its Segmentation and Structure Set."""
    found = []
    for kind in ("native", "rle", "deflated", "multi"):
        folder = write_series(tmp_path_factory.mktemp(kind) / "ct", block_hu((6, 16, 16)))
        (case,) = find_cases(folder)
        assert case.image is not None
        grid = read_grid(case.image)
        labels = np.zeros(grid.shape, np.uint8)
        labels[1:4, 4:9, 5:11] = 1
        labels[2, 5:7, 6:9] = 2
        write_mask(folder / "seg.dcm", labels, grid, Maker(), ("rtstruct",))
        slices = [path for path in files_of(folder) if path.name.startswith("IM")]
        for path in slices:
            if kind == "rle":
                rewritten(path, lambda ds: ds.compress(RLELossless, generate_instance_uid=False))
            elif kind == "deflated":
                rewritten(path, lambda ds: setattr(ds.file_meta, "TransferSyntaxUID", DeflatedExplicitVRLittleEndian))
        if kind == "multi":
            single = [pydicom.dcmread(path) for path in slices]
            multi = highdicom.legacy.LegacyConvertedEnhancedCTImage(single, "1.2.3.4", 5, "1.2.3.5", 1)
            for path in slices:
                path.unlink()
            multi.save_as(folder / "one")
        found.append({path.name: path.read_bytes() for path in files_of(folder)})
    return found


@pytest.mark.filterwarnings("ignore")  # as `needs.need` has it outside of the tests
@pytest.mark.parametrize("start", range(0, max(BATCH, MUTATIONS // 10), BATCH))
def test_a_mutated_export_is_read_or_told(tmp_path: Path, exports: list[Export], start: int) -> None:
    rng = np.random.default_rng((SEED, start, 2))
    for number in range(start, start + BATCH):
        export = exports[int(rng.integers(len(exports)))]
        folder = tmp_path / f"{number}"
        folder.mkdir()
        chosen = str(rng.choice(sorted(export)))
        mutator = MUTATORS[int(rng.integers(len(MUTATORS)))]
        header = min(len(export[chosen]) - 1, int(rng.choice([400, 2000, 10**6])))
        for name, content in export.items():
            changed = mutator(rng, bytearray(content), header) if name == chosen else content
            (folder / name).write_bytes(changed)
        lines: list[str] = []
        for series in discover(folder):
            lines.append(series.why_not)
            if series.layout is not None:
                try:
                    with open_planes(address(folder, series)) as planes:
                        for _ in planes.stream:
                            pass
                except KitsError as error:
                    lines.append(str(error))
        for path in dict.fromkeys([*(path for _, path in label_files(folder)), *folder.glob("seg*.dcm")]):
            try:
                read_labels(path)
            except KitsError as error:
                lines.append(str(error))
        assert not any("\n" in line or PATIENT in line for line in lines), lines


@pytest.mark.parametrize("start", range(0, max(BATCH, MUTATIONS // 10), BATCH))
def test_a_page_of_mutated_records_is_made_or_refused(tmp_path: Path, start: int) -> None:
    rng = np.random.default_rng((SEED, start, 3))
    entry = CaseResult(
        "a", prediction="a.nii.gz", shape=(1, 2, 3), spacing_mm=(1.0, 1.0, 1.0), volume_ml={"kidney": 1.0}
    )
    failed = CaseResult("b", status="failed", error="x", exit_code=4)
    run = {"program": "kits-submit 0", "hu_offset": 0.0, "seconds": 1.0, "exit_code": 0, "threads": 2, "device": "CPU",
           "cases": [entry.entry(), failed.entry()]}  # fmt: skip
    scores = {"protocol": "paper", "cases": [{"case": "a", "kidney_dice": 0.9, "tumor_dice": None}]}
    for _ in range(BATCH):
        for name, document in (("run.json", run), ("scores.json", scores)):
            content = bytearray(json.dumps(document).encode())
            mutator = MUTATORS[int(rng.integers(len(MUTATORS)))]
            (tmp_path / name).write_bytes(mutator(rng, content, len(content)) if rng.random() < 0.7 else content)
        with suppress(KitsError):
            report_command(tmp_path, out=tmp_path / "report.html")
