from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evaluation.measures.boxes
from evaluation.masks.pair import MaskPair
from evaluation.measures.boxes import foreground_boxes, padded, tiles
from tests.evaluation.conftest import label_maps


@settings(max_examples=80, deadline=None)
@given(label_maps(1), st.integers(1, 4), st.integers(1, 40))
def test_each_corner_of_the_foreground_is_in_one_tile(
    maps: tuple[np.ndarray, np.ndarray], block: int, voxels: int
) -> None:
    pair = MaskPair.of(*maps, (1.0, 1.0, 1.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation.measures.boxes, "BLOCK", block)
        patch.setattr(evaluation.measures.boxes, "TILE_VOXELS", voxels)
        found = list(tiles(foreground_boxes(pair)))
    covered = np.zeros([n + 1 for n in pair.shape], int)
    for bounds in found:
        covered[tuple(slice(*span) for span in bounds)] += 1
    assert covered.max(initial=0) <= 1
    for index in np.argwhere(np.maximum(pair.prediction, pair.truth)):
        assert covered[tuple(slice(i, i + 2) for i in index)].all()


def test_padded_is_zero_outside() -> None:
    part = padded(np.ones((2, 2, 2), np.uint8), ((-1, 2), (0, 1), (1, 4)))
    assert part.shape == (3, 1, 3)
    assert part[:, 0].tolist() == [[0, 0, 0], [1, 0, 0], [1, 0, 0]]


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"prediction of shape \(1, 1, 1\), truth of \(2, 2, 2\)"):
        MaskPair.of(np.zeros((1, 1, 1), np.uint8), np.zeros((2, 2, 2), np.uint8), (1.0, 1.0, 1.0))
