"""Reading a DICOM series beside pydicom alone, and memory at 1,000 slices: `python benchmarks/dicom.py SERIES`

SERIES is a folder of uncompressed single-frame files, one series. Reading: `pydicom.dcmread` and `pixel_array` of each
file, against finding, ordering and reading the series to HU, in turn, the best of nine each, in seconds of processor.
Memory: its slices again and again as a stack of 1,000, `kits-submit run` on it in a process of its own by the shipped
model, and a mask of one class throughout written as a Segmentation, likewise; peak resident set of each process.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from kits_submit.files.cases import find_cases
from kits_submit.files.dicom import discover
from kits_submit.files.volume import open_planes

ROUNDS = 9
CHILD = """
import json, sys
from pathlib import Path
import numpy as np
from kits_submit.batch.runner import run_cases
from kits_submit.engine.model import load_model
from kits_submit.engine.select import select_engine
from kits_submit.files.cases import find_cases
from kits_submit.files.dicom.codes import Maker
from kits_submit.files.masks import write_mask
from kits_submit.files.volume import read_grid
from kits_submit.machine.memory import peak_mb
from kits_submit.places import DEFAULT_MODEL
what, source, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
cases = find_cases(source)
if what == "run":
    model = load_model(DEFAULT_MODEL)
    (result,) = run_cases(cases, out, model, select_engine("auto", model))
    assert result.status == "done", result.error
else:
    out.mkdir(parents=True)
    grid = read_grid(cases[0].image)
    labels = grid.canonical_view(np.ones(grid.stored_shape[:3], np.uint8, order="F"))  # as a run holds them
    write_mask(out / cases[0].target, labels, grid, Maker(), sys.argv[4:])
print(json.dumps({"peak_mb": peak_mb(), "file_kb": sum(p.stat().st_size for p in out.glob("*.dcm")) / 1000}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("series", type=Path)
    parser.add_argument("--slices", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name, make in makers().items():
            folder = Path(scratch) / name.replace(" ", "-")
            folder.mkdir()
            try:
                make(given.series, folder)
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"{name:>14}: {error}")
                continue
            ours, bare = compared(folder)
            print(f"{name:>14}: {ours:.2f} s, pydicom alone {bare:.2f} s, ratio {ours / bare:.2f}", flush=True)
            shutil.rmtree(folder)
        long = Path(scratch) / "long"
        stacked(given.series, long, given.slices)
        for what, also in (("run", ()), ("write", ()), ("write", ("sr", "rtstruct"))):
            out = Path(scratch) / "-".join([what, *also])
            child = [sys.executable, "-c", CHILD, what, str(long), str(out), *also]
            told = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout)
            print(
                f"{given.slices} slices, {' '.join([what, *also])}: {told['peak_mb']:.0f} MB, {told['file_kb']:.0f} KB",
                flush=True,
            )


def makers() -> dict[str, Callable[[Path, Path], None]]:
    """By name, what writes the series into a folder in a transfer syntax."""

    def compressed(uid: str) -> Callable[[Path, Path], None]:
        def make(source: Path, folder: Path) -> None:
            for path in sorted(source.iterdir()):
                dataset = pydicom.dcmread(path)
                dataset.compress(uid, generate_instance_uid=False)
                dataset.save_as(folder / path.name)

        return make

    def by_dcmtk(source: Path, folder: Path) -> None:
        for path in sorted(source.iterdir()):
            subprocess.run(["dcmcjpeg", str(path), str(folder / path.name)], check=True, capture_output=True)  # noqa: S607

    def copied(source: Path, folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True)

    return {
        "uncompressed": copied,
        "RLE": compressed(RLELossless),
        "JPEG lossless": by_dcmtk,
        "JPEG-LS": compressed(JPEGLSLossless),
        "JPEG 2000": compressed(JPEG2000Lossless),
    }


def compared(folder: Path) -> tuple[float, float]:
    """Seconds of ours, and of pydicom alone."""
    ours, bare = [], []
    for _ in range(ROUNDS):
        ours.append(seconds(lambda: read_ours(folder)))
        bare.append(seconds(lambda: read_bare(folder)))
    return min(ours), min(bare)


def read_ours(folder: Path) -> None:
    discover._discovered.cache_clear()
    (case,) = find_cases(folder)
    assert case.image is not None
    with open_planes(case.image) as planes:
        for _ in planes.stream:
            pass


def read_bare(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        _ = pydicom.dcmread(path).pixel_array


def seconds(work: Callable[[], None]) -> float:
    """Of processor, all threads together: on a shared machine the clock on the wall says little."""
    started = time.process_time()
    work()
    return time.process_time() - started


def stacked(source: Path, folder: Path, count: int) -> None:
    """The same slices again and again, a millimetre apart."""
    folder.mkdir()
    planes = [pydicom.dcmread(path) for path in sorted(source.iterdir())]
    for k in range(count):
        dataset = planes[k % len(planes)]
        x, y, _ = planes[0].ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, float(k)]
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{k + 1}"
        dataset.InstanceNumber = k + 1
        dataset.save_as(folder / f"{k:05d}")


if __name__ == "__main__":
    main()
