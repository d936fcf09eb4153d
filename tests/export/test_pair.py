"""Two models in one file: foreground by the one, divided by the other, each by its own standards of one image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import ModelProto

from export.onnx import network_to_onnx
from export.pair import pair
from kits_submit.errors import ModelError
from kits_submit.recipe import METADATA_KEY, Recipe
from tests.conftest import recipe
from train.network.deeplab import DeepLab3D

WHERE = recipe(spacing_mm=(4.0, 3.0, 3.0), clip_hu=(-75.0, 290.0), mean_hu=120.0, std_hu=77.0)
WHAT = replace(WHERE, clip_hu=(-50.0, 270.0), mean_hu=138.0, std_hu=66.0)


def network(seed: int) -> DeepLab3D:
    torch.manual_seed(seed)
    return DeepLab3D().eval()


def answer(model: ModelProto, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds: dict[str, np.ndarray] = {"image": image}
    for value in session.get_inputs()[1:]:
        edge = {"crop_start": 0, "crop_stop": 8}.get(value.name)
        feeds[value.name] = np.full(3, edge, np.int64) if edge is not None else pads()
    (logits,) = session.run(None, feeds)
    return np.asarray(logits)


def pads() -> np.ndarray:
    """A Pad of one voxel at each end of Z, Y, X: a whole patch's."""
    return np.array([0, 0, 1, 1, 1] * 2, np.int64)


def softmax(logits: np.ndarray) -> np.ndarray:
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=1, keepdims=True))


def test_the_foreground_is_the_one_s_and_its_parts_the_other_s() -> None:
    where, what = (network_to_onnx(network(seed), kind) for seed, kind in ((0, WHERE), (1, WHAT)))
    hu = np.random.default_rng(0).uniform(*WHERE.clip_hu, (1, 1, 16, 16, 16)).astype(np.float32)
    image = (hu - WHERE.mean_hu) / WHERE.std_hu
    other = (np.clip(hu, *WHAT.clip_hu) - WHAT.mean_hu) / WHAT.std_hu
    both = softmax(answer(pair(where, what), image))
    first, second = softmax(answer(where, image)), softmax(answer(what, other))
    np.testing.assert_allclose(both[:, 0], first[:, 0], atol=1e-4)
    shares = second[:, 2] / (second[:, 1] + second[:, 2])
    np.testing.assert_allclose(both[:, 2], (1 - first[:, 0]) * shares, atol=1e-3)


def test_the_recipe_is_the_one_s_and_names_the_other() -> None:
    where, what = (network_to_onnx(network(seed), kind) for seed, kind in ((0, WHERE), (1, WHAT)))
    entries = {entry.key: entry.value for entry in pair(where, what).metadata_props}
    made = Recipe.from_json(entries[METADATA_KEY])
    assert replace(made, provenance={}) == replace(WHERE, provenance={})
    assert len(made.provenance["what_sha256"]) == 64


def test_another_grid_is_refused() -> None:
    where, what = (network_to_onnx(network(0), kind) for kind in (WHERE, replace(WHAT, spacing_mm=(3.0, 3.0, 3.0))))
    with pytest.raises(ModelError, match="grids are"):
        pair(where, what)
