"""Masks for scoring: small random ones, drawn ones, and files of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rich.console import Console, RenderableType

from tests.conftest import kits_affine, present, save

SPACINGS = ((1.0, 1.0, 1.0), (3.0, 0.78, 0.78), (0.5, 0.9, 0.9), (5.0, 0.6, 0.6), (0.4, 0.7, 1.3))


def label_maps(highest: int = 3) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    """Two label maps of one shape: empty, single voxels, noise or nearly full; mostly they touch the border.

    The second is sometimes the first with a few voxels changed.
    """
    shapes = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)
    densities = st.sampled_from((0.0, 0.02, 0.3, 0.9))
    return st.builds(_two, shapes, densities, densities, st.booleans(), st.just(highest), st.integers(0, 2**32 - 1))


def _two(
    shape: tuple[int, ...], density: float, other: float, alike: bool, highest: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    first, second = (
        (draw.integers(1, highest + 1, shape) * (draw.random(shape) < share)).astype(np.uint8)
        for share in (density, other)
    )
    return first, np.where(draw.random(shape) < 0.9, first, second) if alike else second


def text_of(table: RenderableType, width: int = 100) -> str:
    """What a terminal of this width shows."""
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def blob(
    shape: tuple[int, int, int], low: tuple[int, int, int], size: tuple[int, int, int], value: int = 1
) -> np.ndarray:
    """A box of voxels of one label."""
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(start, start + n) for start, n in zip(low, size, strict=True))] = value
    return labels


def kidney_with_tumor(shape: tuple[int, int, int] = (6, 12, 12)) -> np.ndarray:
    """A box of kidney with a box of tumor in it."""
    return np.maximum(blob(shape, (1, 2, 2), (4, 7, 7)), blob(shape, (2, 4, 4), (2, 3, 3), 2))


@pytest.fixture
def folders(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Write predictions and truths by case number: arrays, or whole `(array, affine)`."""

    def write(predictions: dict[int, Any], truths: dict[int, Any]) -> tuple[Path, Path]:
        for number, labels in predictions.items():
            voxels, affine = labels if isinstance(labels, tuple) else (labels, kits_affine())
            save(tmp_path / "predictions" / f"prediction_{number:05d}.nii.gz", voxels, affine)
        for number, labels in truths.items():
            save(tmp_path / "labels" / f"case_{number:05d}" / "segmentation.nii.gz", labels)
        return tmp_path / "predictions", tmp_path / "labels"

    return write


def shared(*parts: str) -> Path:
    """A file of the project's own machines; the test is skipped, with the reason, where it is not there."""
    return present("data", *parts)
