from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kits_submit.errors import ModelError
from kits_submit.recipe import SCHEMA, Recipe, Refinement
from tests.conftest import recipe


@given(
    spacing=st.tuples(*[st.floats(0.1, 10)] * 3),
    low=st.floats(-2000, 0),
    width=st.floats(1, 4000),
    patch=st.tuples(*[st.integers(5, 40)] * 3),
    tumor_min_ml=st.floats(0, 100),
    note=st.text(),
)
def test_json_gives_the_same_recipe_back(spacing, low, width, patch, tumor_min_ml, note):
    made = recipe(
        spacing_mm=spacing,
        clip_hu=(low, low + width),
        patch=tuple(4 * p for p in patch),
        refinement=Refinement(tumor_min_ml=tumor_min_ml),
        provenance={"note": note},
    )
    assert Recipe.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"spacing_mm": (3.0, 0.0, 1.0)}, r"spacing_mm is \(3\.0, 0\.0, 1\.0\), allowed: three positive"),
        ({"clip_hu": (300.0, -100.0)}, "clip_hu .* low < high"),
        ({"std_hu": 0.0}, "std_hu > 0"),
        ({"mean_hu": float("nan")}, "finite"),
        ({"patch": (48, 48, 50)}, "patch .* multiples of 4"),
        ({"margin": (8, 8, 8)}, "margin .* under half of patch"),
        ({"orientation": "RAS"}, "orientation is RAS, allowed: IPL"),
    ],
)
def test_a_value_out_of_range_is_refused(changes, told):
    with pytest.raises(ModelError, match=told):
        recipe(**changes)


def test_a_negative_threshold_is_refused():
    with pytest.raises(ModelError, match=r"refinement\.tumor_min_ml is -1"):
        Refinement(tumor_min_ml=-1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda raw: raw | {"schema": SCHEMA + 1}, "has schema 2, this program reads 1; update kits-submit"),
        (lambda raw: raw | {"schema": None}, "schema None.*export the model again"),
        (lambda raw: raw | {"colour": 1}, r"unknown fields \['colour'\]; update"),
        (lambda raw: {k: v for k, v in raw.items() if k != "patch"}, "lacks patch"),
        (lambda raw: {k: v for k, v in raw.items() if k != "std_hu"}, "lacks std_hu"),
        (lambda raw: raw | {"refinement": {"colour": 1}}, "refinement is .*colour"),
        (lambda raw: raw | {"spacing_mm": ["a", 1, 1]}, "spacing_mm is .*allowed: numbers"),
        (lambda raw: raw | {"patch": 48}, "wrong type"),
        (lambda raw: raw | {"labels": ["kidney", "tumor"]}, r"labels is .*allowed: a background, at 0 alone"),
        (lambda raw: raw | {"labels": 3}, "labels is 3, allowed: a list of names"),
        (lambda raw: raw | {"labels": ["background", 1]}, "labels is .*allowed: a list of names, or"),
        (lambda raw: raw | {"patch": [16.0, 16.0, 16.0]}, "whole numbers"),
        (list, "a JSON list, not an object"),
    ],
)
def test_json_that_is_no_recipe_is_refused(change, told):
    with pytest.raises(ModelError, match=told):
        Recipe.from_json(json.dumps(change(json.loads(recipe().to_json()))))


def test_text_that_is_no_json_is_refused():
    with pytest.raises(ModelError, match="not JSON"):
        Recipe.from_json("{")
