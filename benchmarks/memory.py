"""Peak memory of one case by its size: and the bounds that `kits_submit.budget` estimates.

Each case runs in a process of its own: peak resident set over that of a process with its engine loaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

ROOT = Path(__file__).parents[1]
# Z, Y, X voxels and spacing in mm: thick and thin slices, wide and narrow fields of view
SIZES = (
    ((60, 512, 512), (5.0, 0.85, 0.85)),
    ((110, 512, 512), (3.0, 0.78, 0.78)),
    ((300, 512, 512), (1.0, 0.78, 0.78)),
    ((600, 512, 512), (0.75, 0.78, 0.78)),
    ((600, 256, 256), (0.75, 1.5, 1.5)),
)
CHILD = """
import json, sys
from pathlib import Path
import numpy as np
from kits_submit.budget import least_bytes, most_bytes
from kits_submit.cases import find_cases
from kits_submit.engine.model import load_model
from kits_submit.engine.select import select_engine
from kits_submit.memory import peak_mb
from kits_submit.pipeline import run_cases
from kits_submit.volume import read_grid
model = load_model(Path("models/kits.onnx"))
engine = select_engine(sys.argv[2], model).engine
cases = find_cases(Path(sys.argv[1]))
grid = read_grid(cases[0].image)
before = peak_mb()
(result,) = run_cases(cases, Path(sys.argv[1]) / "out", model, engine)
assert result.status == "done", result.error
print(json.dumps({"peak_mb": result.peak_mb, "before_mb": before,
                  "bounds_mb": [f(grid.shape, grid.spacing_mm, model.recipe) / 1e6
                                for f in (least_bytes, most_bytes)]}))
"""


def body(shape: tuple[int, int, int]) -> np.ndarray:
    """Water with two kidneys in it, so that every stage has work."""
    hu = np.full(shape, -1000, np.int16)
    z, y, x = shape
    hu[:, y // 6 : -y // 6, x // 6 : -x // 6] = 20
    for side in (0.3, 0.6):
        hu[z // 3 : 2 * z // 3, y // 2 : 6 * y // 10, int(side * x) : int((side + 0.1) * x)] = 160
    return hu


def main() -> None:
    print(f"{'voxels':>16} {'mm':>18} {'engine':>9} {'before MB':>9} {'peak MB':>8} {'grew MB':>8} {'bounds MB':>14}")
    for shape, spacing_mm in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            affine = np.array([[0, 0, -spacing_mm[2], 0], [0, -spacing_mm[1], 0, 0], [-spacing_mm[0], 0, 0, 0],
                               [0, 0, 0, 1]])  # fmt: skip
            nib.save(nib.Nifti1Image(body(shape), affine), Path(folder) / "case_00000.nii.gz")
            for device in ("openvino", "cpu"):
                told = subprocess.run(
                    [sys.executable, "-c", CHILD, folder, device], capture_output=True, text=True, check=True, cwd=ROOT
                ).stdout
                of = json.loads(told.splitlines()[-1])
                grew = of["peak_mb"] - of["before_mb"]
                low, high = of["bounds_mb"]
                print(f"{shape!s:>16} {spacing_mm!s:>18} {device:>9} {of['before_mb']:>9.0f} {of['peak_mb']:>8.0f} "
                      f"{grew:>8.0f} {low:>5.0f} .. {high:>5.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
