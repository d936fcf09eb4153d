"""Three regions against two classes: seconds and peak memory of 512 x 512 x 1059 voxels, file to file.

The same graph twice: the shipped model, and it with its last layer's rows subtracted, so that its three channels are
the log odds of kidney, of tumor and of tumor against background, read as kidney and mass, mass, tumor. Each run is a
process of its own; the two take turns, and the least of each counts, for others may use the machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import onnx
from onnx import numpy_helper

from kits_submit.engine.model import load_model
from kits_submit.labels import KITS23
from kits_submit.phantom import draw_phantom
from kits_submit.places import DEFAULT_MODEL
from kits_submit.recipe import METADATA_KEY
from kits_submit.regions import Regions

SHAPE = (1059, 512, 512)
_COARSE_MM = (4.0, 3.0, 3.0)
_ROWS = np.array([[-1, 1, 0], [-1, 0, 1], [-1, 0, 1]], np.float32)  # of background, kidney, tumor
CHILD = """
import json, sys
from pathlib import Path
from kits_submit.batch.runner import run_cases
from kits_submit.engine.model import load_model
from kits_submit.engine.select import select_engine
from kits_submit.files.cases import find_cases
from kits_submit.machine.memory import peak_mb
model = load_model(Path(sys.argv[3]))
selection = select_engine(sys.argv[2], model)
cases = find_cases(Path(sys.argv[1]))
before = peak_mb()
(result,) = run_cases(cases, Path(sys.argv[1]) / "out", model, selection)
assert result.status == "done", result.error
print(json.dumps({"seconds": result.wall_seconds, "peak_mb": result.peak_mb, "grew_mb": result.peak_mb - before,
                  "restore": result.seconds["restore"], "refine": result.seconds["refine"], "ml": result.volume_ml}))
"""


def as_regions(path: Path) -> Path:
    """The shipped model's graph, answering with regions."""
    model = onnx.load(DEFAULT_MODEL)
    floats = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    (bias,) = (tensor for tensor in floats if tuple(tensor.dims) == (3,))
    (weight,) = (t for t in floats if len(t.dims) == 5 and t.dims[0] == 3 and tuple(t.dims)[2:] == (1, 1, 1))
    rows = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(np.tensordot(_ROWS, rows, 1), weight.name))
    bias.CopyFrom(numpy_helper.from_array(_ROWS @ numpy_helper.to_array(bias), bias.name))
    regions = Regions.of(KITS23)
    recipe = replace(load_model(DEFAULT_MODEL).recipe, labels=KITS23, regions=regions)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = recipe.to_json()
    onnx.save(model, path)
    return path


def patient() -> tuple[np.ndarray, tuple[float, ...]]:
    """A coarse phantom's voxels repeated to `SHAPE`, and the spacing that keeps its size."""
    drawn = draw_phantom(2019, 0, spacing_mm=_COARSE_MM).image.astype(np.int16)
    places = [np.arange(n) * size // n for n, size in zip(SHAPE, drawn.shape, strict=True)]
    spacing = tuple(mm * size / n for mm, size, n in zip(_COARSE_MM, drawn.shape, SHAPE, strict=True))
    return drawn[np.ix_(*places)], spacing


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as scratch:
        models = {"two classes": DEFAULT_MODEL, "three regions": as_regions(Path(scratch) / "regions.onnx")}
        case = Path(scratch) / "in" / "case_00000.nii.gz"
        case.parent.mkdir()
        affine = np.eye(4)
        hu, spacing_mm = patient()
        affine[:3, :3] = np.fliplr(np.diag([-mm for mm in reversed(spacing_mm)]))
        nib.save(nib.Nifti1Image(hu, affine), case)
        for device in sys.argv[2:] or ("openvino", "cpu"):
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in models}
            for _ in range(rounds):
                for name, model in models.items():
                    command = [sys.executable, "-c", CHILD, str(case.parent), device, str(model)]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            least = {
                name: {what: min(run[what] for run in some) for what in ("seconds", "peak_mb", "grew_mb", "restore")}
                for name, some in runs.items()
            }
            for name, of in least.items():
                print(device, name, {what: round(value, 3) for what, value in of.items()}, runs[name][0]["ml"])
            two, three = least.values()
            print(device, "ratio", {what: round(three[what] / two[what], 3) for what in two}, flush=True)


if __name__ == "__main__":
    main()
