"""torch against ONNX Runtime (CPU): the file computes what the checkpoint does.

Logits differ by at most `TOLERANCE`, or a tenth of it times the largest logit where that is more (float32 rounds by a
share of a value, and a network that was hardly trained has large logits); labels agree wherever torch's two highest
logits are further apart than that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from kits_submit.atomic import replacing
from kits_submit.engine.crop import Crop, part_of
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine
from kits_submit.engine.protocol import Engine
from kits_submit.errors import ModelError
from kits_submit.inference.answers import part_alone
from kits_submit.recipe import Recipe
from kits_submit.types import Batch, Logits
from train.network.deeplab import DeepLab3D

TOLERANCE = 1e-4
SHAPES = ((1, 4, 4, 4), (1, 48, 48, 48), (3, 16, 24, 40), (5, 28, 20, 12), (2, 4, 64, 8))  # N, Z, Y, X

Sizes = tuple[int, int, int, int]


@dataclass(frozen=True)
class ShapeParity:
    """One input: N, Z, Y, X; the largest difference of a logit, and what is allowed; labels that differ, with a margin
    above that and without; `part`: of the middle alone, asked for alone.
    """

    sizes: Sizes
    max_difference: float
    allowed: float
    labels_wrong: int
    labels_undecided: int
    part: bool = False


@dataclass(frozen=True)
class ParityReport:
    """Every input that was tried; `runtime`: name and version of what ran the file."""

    tolerance: float
    runtime: str
    shapes: tuple[ShapeParity, ...]

    @property
    def max_difference(self) -> float:
        """Over all inputs."""
        return max(shape.max_difference for shape in self.shapes)

    @property
    def passed(self) -> bool:
        """Every difference is within what is allowed and no label is wrong."""
        return all(s.max_difference <= s.allowed and s.labels_wrong == 0 for s in self.shapes)

    def to_json(self) -> str:
        """The report with its two conclusions."""
        summary = {"passed": self.passed, "max_difference": self.max_difference}
        return json.dumps(summary | asdict(self), indent=2)


def verify(
    model: bytes,
    network: DeepLab3D,
    recipe: Recipe,
    *,
    crop: Crop | None = None,
    shapes: Sequence[Sizes] = SHAPES,
    tolerance: float = TOLERANCE,
) -> ParityReport:
    """Run both on the same noise, smooth and rough, over the Recipe's standardised range. `network` is in eval mode.

    Args:
        crop: the file's: each shape is compared once more by its middle alone.
    """
    engine = OnnxRuntimeEngine(model, "cpu")
    rng = np.random.default_rng(0)
    results = []
    for sizes in shapes:
        image = _noise(sizes, recipe, rng)
        got = engine.run(image)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(image)).numpy()
        results.append(compare(wanted, got, sizes, tolerance))
        if crop is not None:
            results.append(replace(compare(*_middles(engine, crop, image, wanted), sizes, tolerance), part=True))
    return ParityReport(tolerance, engine.name, tuple(results))


def _middles(engine: Engine, crop: Crop, image: Batch, wanted: Logits) -> tuple[Logits, Logits]:
    """The middle half of `wanted`, and what the engine says when asked for that alone."""
    z, y, x = image.shape[2:]
    start, stop = (z // 4, y // 4, x // 4), (z - z // 4, y - y // 4, x - x // 4)
    return part_of(wanted, start, stop), part_alone(engine, image, wanted.shape[1], crop, start, stop)


def compare(wanted: Logits, got: Logits, sizes: Sizes, tolerance: float) -> ShapeParity:
    """Compare NKZYX logits; another shape or a NaN counts as an endless difference."""
    allowed = tolerance * max(1.0, float(np.abs(wanted).max()) / 10)
    if wanted.shape != got.shape or not np.isfinite(got).all():
        return ShapeParity(sizes, float("inf"), allowed, int(np.prod(sizes)), 0)
    ranked = np.sort(wanted, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > allowed
    differ = wanted.argmax(axis=1) != got.argmax(axis=1)
    difference = float(np.abs(wanted - got).max())
    return ShapeParity(sizes, difference, allowed, int((differ & clear).sum()), int((differ & ~clear).sum()))


def demand_parity(report: ParityReport) -> None:
    """Raises: ModelError: the report has not passed."""
    if not report.passed:
        worst = max(report.shapes, key=lambda shape: (shape.labels_wrong, shape.max_difference / shape.allowed))
        part = ", the middle alone" if worst.part else ""
        raise ModelError(
            f"ONNX Runtime differs from torch by {worst.max_difference:.2g} at {worst.sizes} (N, Z, Y, X{part}), "
            f"allowed: {worst.allowed:.2g}; {worst.labels_wrong} labels differ",
            fix="install the locked torch, onnx and onnxruntime",
        )


def write_report(report: ParityReport, path: Path) -> None:
    """Raises: OutputError: cannot be written."""
    with replacing(path) as stream:
        stream.write(report.to_json().encode() + b"\n")


def _noise(sizes: Sizes, recipe: Recipe, rng: np.random.Generator) -> Batch:
    n, z, y, x = sizes
    low, high = ((hu - recipe.mean_hu) / recipe.std_hu for hu in recipe.clip_hu)
    smooth = rng.uniform(low, high, (n, 1, z // 4, y // 4, x // 4)).repeat(4, 2).repeat(4, 3).repeat(4, 4)
    rough = rng.normal(0, 0.1 * (high - low), (n, 1, z, y, x))
    return np.clip(smooth + rough, low, high).astype(np.float32)
