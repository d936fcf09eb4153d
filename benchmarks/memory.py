"""Peak memory of one case by its size: and the bounds that `kits_submit.batch.budget` estimates.

Each case runs in a process of its own: peak resident set over that of a process with its engine loaded. By the shipped
model, and by one of random weights, which marks foreground all over: the worst that can be.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from inference import SHIPPED, exported

ROOT = Path(__file__).parents[1]
# Z, Y, X voxels and spacing in mm: thick and thin slices, wide and narrow fields of view
SIZES = (
    ((60, 512, 512), (5.0, 0.85, 0.85)),
    ((110, 512, 512), (3.0, 0.78, 0.78)),
    ((300, 512, 512), (1.0, 0.78, 0.78)),
    ((600, 512, 512), (0.75, 0.78, 0.78)),
    ((600, 256, 256), (0.75, 1.5, 1.5)),
    ((1059, 512, 512), (0.5, 0.78, 0.78)),
)
CHILD = """
import json, sys
from pathlib import Path
import numpy as np
from kits_submit.batch.budget import least_bytes, most_bytes
from kits_submit.files.cases import find_cases
from kits_submit.engine.model import load_model
from kits_submit.engine.select import select_engine
from kits_submit.machine.memory import peak_mb
from kits_submit.batch.runner import run_cases
from kits_submit.files.volume import read_grid
BOUNDS = (least_bytes, most_bytes)
model = load_model(Path(sys.argv[3]))
selection = select_engine(sys.argv[2], model)
cases = find_cases(Path(sys.argv[1]))
grid = read_grid(cases[0].image)
before = peak_mb()
(result,) = run_cases(cases, Path(sys.argv[1]) / "out", model, selection)
assert result.status == "done", result.error
print(json.dumps({"peak_mb": result.peak_mb, "before_mb": before,
                  "bounds_mb": [f(grid.shape, grid.spacing_mm, model.recipe) / 1e6 for f in BOUNDS]}))
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
    print(
        f"{'voxels':>16} {'mm':>18} {'model':>8} {'engine':>9} {'before':>7} {'peak':>6} {'grew':>6} {'bounds MB':>14}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        models = {"shipped": SHIPPED, "random": exported(Path(scratch))[1]}
        for i, (shape, spacing_mm) in enumerate(SIZES):
            case = Path(scratch) / str(i) / "case_00000.nii.gz"
            case.parent.mkdir()
            affine = np.eye(4)
            affine[:3, :3] = np.fliplr(np.diag([-mm for mm in reversed(spacing_mm)]))
            nib.save(nib.Nifti1Image(body(shape), affine), case)
            for name, model in models.items():
                for device in ("openvino", "cpu"):
                    of = measured(case.parent, device, model)
                    low, high = of["bounds_mb"]
                    print(f"{shape!s:>16} {spacing_mm!s:>18} {name:>8} {device:>9} {of['before_mb']:>7.0f} "
                          f"{of['peak_mb']:>6.0f} {of['peak_mb'] - of['before_mb']:>6.0f} {low:>5.0f} .. {high:>5.0f}",
                          flush=True)  # fmt: skip


def measured(cases: Path, device: str, model: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", CHILD, str(cases), device, str(model)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    of: dict[str, Any] = json.loads(told.splitlines()[-1])
    return of


if __name__ == "__main__":
    main()
