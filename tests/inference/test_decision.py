"""Regions to labels: by hand, against a naive reading a voxel at a time, slab by slab, and what cannot be."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kits_submit.errors import ModelError
from kits_submit.inference.decision import Likeliest, Nested, decision_of, sigmoid, softmax
from kits_submit.inference.restore import Restorer, Slab, restore_labels
from kits_submit.labels import KITS19, KITS23, LabelSet, Role
from kits_submit.recipe import Recipe, Refinement
from kits_submit.regions import Region, Regions, logit
from tests.conftest import recipe

HEC = Regions.of(KITS23)
ABDOMEN = LabelSet.of(("background", "kidney", "tumor", "cyst", "liver"))


def test_kits23s_regions_are_its_hierarchy():
    assert [(part.name, part.labels, part.label) for part in HEC.parts] == [
        ("kidney_and_mass", (1, 2, 3), 1), ("mass", (2, 3), 3), ("tumor", (2,), 2),
    ]  # fmt: skip
    assert HEC.parents == (None, 0, 1)
    assert HEC.tumor == (2,)


def test_regions_of_other_sets():
    assert [part.name for part in Regions.of(KITS19).parts] == ["kidney_and_mass", "tumor"]
    assert Regions.of(ABDOMEN).parts[-1] == Region("liver", (4,), 4)
    assert Regions.of(ABDOMEN).parents == (None, 0, 1, None)


#   kidney_and_mass, mass, tumor; strict, not strict
BY_HAND = [
    ((0.4, 0.4, 0.4), 0, 0),
    ((0.6, 0.4, 0.4), 1, 1),
    ((0.6, 0.6, 0.4), 3, 3),
    ((0.6, 0.6, 0.6), 2, 2),
    ((0.6, 0.4, 0.6), 1, 2),  # tumor outside mass
    ((0.4, 0.6, 0.4), 0, 3),  # mass outside kidney and mass
    ((0.4, 0.6, 0.9), 0, 2),
    ((0.5, 0.5, 0.5), 0, 0),  # above, not at
]


@pytest.mark.parametrize(("probabilities", "strict", "loose"), BY_HAND)
def test_labels_by_hand(probabilities, strict, loose):
    column = np.array(probabilities, np.float32).reshape(3, 1, 1)
    for regions, wanted in ((HEC, strict), (Regions(HEC.parts, strict=False), loose)):
        decision = Nested(regions)
        assert decision.labels(column).item() == wanted
        assert decision.decide(np.log(column / (1 - column))).item() == wanted
    claimed = [p > 0.5 for p in probabilities]
    assert Nested(HEC).contradicted == 0
    decision.labels(column)
    contradictions = int(claimed[1] and not claimed[0]) + int(claimed[2] and not claimed[1])
    once = Nested(Regions(HEC.parts, strict=False))
    once.labels(column)
    assert once.contradicted == contradictions


def naive(logits: np.ndarray, regions: Regions) -> np.ndarray:
    """A voxel at a time."""
    out = np.zeros(logits.shape[1:], np.uint8)
    for voxel in np.ndindex(out.shape):
        inside = []
        for k, part in enumerate(regions.parts):
            p = 1 / (1 + math.exp(-float(logits[(k, *voxel)])))
            parent = regions.parents[k]
            inside.append(p > part.threshold and (parent is None or not regions.strict or inside[parent]))
            if inside[-1]:
                out[voxel] = part.label
    return out


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    strict=st.booleans(),
    thresholds=st.tuples(*[st.sampled_from([0.2, 0.5, 0.7])] * 4),
    labels=st.sampled_from([KITS19, KITS23, ABDOMEN]),
)
def test_labels_are_those_of_a_voxel_at_a_time(seed, strict, thresholds, labels):
    parts = Regions.of(labels).parts
    given_ = [Region(p.name, p.labels, p.label, t) for p, t in zip(parts, thresholds, strict=False)]
    regions = Regions(tuple(given_), strict)
    logits = np.random.default_rng(seed).normal(0, 2, (len(regions), 3, 4, 5)).astype(np.float32)
    decision = Nested(regions)
    assert np.array_equal(decision.labels(sigmoid(logits)), naive(logits, regions))
    assert np.array_equal(decision.decide(logits), naive(logits, regions))
    assert not (naive(logits, regions)[~decision.foreground(logits)]).any()


@settings(max_examples=30)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    target=st.tuples(*[st.integers(1, 14)] * 3),
    order=st.sampled_from([(axis, descending) for axis in range(3) for descending in (False, True)]),
    seed=st.integers(0, 99),
    strict=st.booleans(),
)
def test_slab_by_slab_equals_the_whole(shape, target, order, seed, strict):
    axis, descending = order
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 2, (3, *shape)).astype(np.float32)
    regions = Regions(HEC.parts, strict)
    cuts = sorted({0, shape[axis], *rng.integers(0, shape[axis] + 1, 3).tolist()})
    labels = np.zeros(target, np.uint8)
    restorer = Restorer(labels, shape, descending=descending, decision=Nested(regions))
    parts = list(itertools.pairwise(cuts))
    for start, stop in parts[::-1] if descending else parts:
        restorer.add(Slab(axis, start, stop, np.moveaxis(logits, 1 + axis, 1)[:, start:stop]))
    expected = restore_labels(sigmoid(logits), target, Nested(regions))
    assert (labels != expected).mean() <= 0.002 * (axis > 0)


def test_sigmoid_by_hand_and_for_large_logits():
    assert sigmoid(np.array([0, math.log(3), -math.log(3)], np.float32)).tolist() == pytest.approx([0.5, 0.75, 0.25])
    assert sigmoid(np.array([1e4, -1e4], np.float32)).tolist() == [1, 0]
    assert logit(0.75) == pytest.approx(math.log(3))


def test_a_softmax_is_decided_as_before():
    logits = np.random.default_rng(0).normal(0, 2, (3, 4, 5, 6)).astype(np.float32)
    assert isinstance(decision_of(recipe()), Likeliest)
    assert np.array_equal(Likeliest().decide(logits), logits.argmax(0))
    assert np.array_equal(Likeliest().labels(softmax(logits)), softmax(logits).argmax(0))
    assert Likeliest().contradicted == 0


def test_a_recipe_carries_its_regions_and_one_of_two_classes_says_nothing_of_them():
    made = recipe(labels=KITS23, regions=Regions((*HEC.parts[:2], Region("tumor", (2,), 2, 0.3)), strict=False))
    assert Recipe.from_json(made.to_json()) == made
    assert made.outputs == 3
    plain = recipe().document()
    assert "regions" not in plain
    assert not {"cyst_min_ml", "cyst_in_tumor", "tumor_in_cyst"} & plain["refinement"].keys()
    told = recipe(refinement=Refinement(cyst_in_tumor=0.5))
    assert told.document()["refinement"]["cyst_in_tumor"] == 0.5
    assert Recipe.from_json(told.to_json()) == told


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ((Region("mass", (2, 3), 3), Region("kidney_and_mass", (1, 2, 3), 1), Region("tumor", (2,), 2)), "contradict"),
        ((Region("kidney", (1, 3), 1), Region("mass", (2, 3), 3), Region("tumor", (2,), 2)), "contradict each other"),
        ((Region("kidney_and_mass", (1, 2, 3), 1), Region("tumor", (2,), 2)), r"allowed: each of \(1, 2, 3\)"),
        ((*HEC.parts[:2], Region("tumor", (2,), 2, 1.0)), r"threshold in \(0, 1\)"),
        ((*HEC.parts[:2], Region("tumor", (2,), 3)), "its label among its labels"),
    ],
)
def test_regions_that_contradict_each_other_are_no_recipe(parts, told):
    raw = recipe(labels=KITS23).document() | {
        "regions": {
            "parts": [{"name": p.name, "labels": p.labels, "label": p.label, "threshold": p.threshold} for p in parts],
            "strict": True,
        }
    }
    with pytest.raises(ModelError, match=told):
        Recipe.from_json(json.dumps(raw))


def test_two_kidneys_have_no_hierarchy():
    two = LabelSet(("background", "left", "right"), (Role.BACKGROUND, Role.KIDNEY, Role.KIDNEY))
    with pytest.raises(ValueError, match="allowed for regions: one kidney"):
        Regions.of(two)
