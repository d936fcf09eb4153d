"""What resampling to the patient's axes gains on oblique and sheared scans: `python benchmarks/oblique.py CASE...`

A case (`imaging.nii.gz`, `segmentation.nii.gz`) is brought onto grids turned about the patient's left-right axis, or
sheared as a tilted gantry shears it, of its own spacing, air around it; its label map by nearest neighbour. The shipped
model segments each twice: under its own affine, and under one that says nothing of the angle, so that the network sees
the voxels as they lie. Dice is that of the foreground, on the turned grid.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from kits_submit.batch.runner import run_cases
from kits_submit.engine.model import Model, load_model
from kits_submit.engine.select import select_engine
from kits_submit.files.cases import find_cases
from kits_submit.files.volume import read_labels, read_volume
from kits_submit.places import DEFAULT_MODEL
from kits_submit.types import Affine, Labels

ANGLES = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 44.0)
AIR_HU = -1024.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, nargs="+")
    parser.add_argument("--angles", type=float, nargs="+", default=ANGLES)
    parser.add_argument("--device", default="openvino")
    given = parser.parse_args()
    model = load_model(DEFAULT_MODEL)
    print(f"{'case':>12} {'grid':>8} {'degrees':>8} {'as it lies':>11} {'upright':>8} {'seconds':>8} {'upright':>8}")
    for case, kind, degrees in itertools.product(given.cases, ("turned", "sheared"), given.angles):
        with tempfile.TemporaryDirectory() as scratch:
            image, labels, affine = regridded(case, degrees, shear=kind == "sheared")
            told = [
                scored(Path(scratch) / name, image, labels, grid, model, given.device)
                for name, grid in (("plain", straightened(affine)), ("upright", affine))
            ]
        (plain, plain_s), (upright, upright_s) = told
        print(
            f"{case.name:>12} {kind:>8} {degrees:8.0f} {plain:11.3f} {upright:8.3f} {plain_s:8.2f} {upright_s:8.2f}",
            flush=True,
        )


def regridded(case: Path, degrees: float, *, shear: bool) -> tuple[npt.NDArray[np.float32], Labels, Affine]:
    """Image, label map (Z, Y, X) and affine on a turned or sheared grid that holds all of the source."""
    volume = read_volume(case / "imaging.nii.gz")
    labels = read_labels(case / "segmentation.nii.gz").voxels
    source = volume.grid.canonical_affine
    angle = np.radians(degrees)
    move = np.eye(4)
    if shear:
        move[1, 2] = np.tan(angle)  # slices lie further back the higher they are
    else:
        move[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    axes = move[:3, :3] @ source[:3, :3]
    corners = np.array(list(itertools.product(*((0, n - 1) for n in volume.voxels.shape))))
    places = (corners @ source[:3, :3].T) @ np.linalg.inv(axes).T
    low, high = places.min(axis=0), places.max(axis=0)
    shape = np.ceil(high - low).astype(int) + 1
    target = np.eye(4)
    target[:3, :3], target[:3, 3] = axes, source[:3, 3] + axes @ low
    to_source = np.linalg.inv(source) @ target
    places = np.einsum("ij,jzyx->izyx", to_source[:3, :3], np.indices(shape)) + to_source[:3, 3, None, None, None]
    image = ndimage.map_coordinates(volume.voxels, places, np.float32, order=1, mode="constant", cval=AIR_HU)
    return image, ndimage.map_coordinates(labels, places, np.uint8, order=0, mode="constant", cval=0), target


def straightened(affine: Affine) -> Affine:
    """Of the same spacing, along the patient's axes (Z down, Y back, X to the left)."""
    straight = np.eye(4)
    straight[:3, :3] = -np.eye(3)[::-1] * np.linalg.norm(affine[:3, :3], axis=0)
    return straight


def scored(
    folder: Path, image: npt.NDArray[np.float32], labels: Labels, affine: Affine, model: Model, device: str
) -> tuple[float, float]:
    """Dice of the foreground, and seconds."""
    folder.mkdir()
    nib.save(nib.Nifti1Image(image.round().astype(np.int16), affine), folder / "case_00001.nii.gz")
    selection = select_engine(device, model)
    started = time.perf_counter()
    (result,) = run_cases(find_cases(folder), folder / "out", model, selection)
    seconds = time.perf_counter() - started
    assert result.prediction is not None, result.error
    stored = np.asarray(nib.load(folder / "out" / result.prediction).dataobj)
    found, truth = stored > 0, labels > 0
    return 2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth)), seconds


if __name__ == "__main__":
    main()
