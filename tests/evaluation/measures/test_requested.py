"""Measures on request, by hand and against slow references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion

from evaluation.case import Settings, score_arrays
from evaluation.measures.border import BorderDistances
from evaluation.measures.requested import Request
from kits_submit.errors import InputError
from tests.evaluation.conftest import SPACINGS, blob, label_maps

SHAPE = (6, 10, 20)
MM = (2.0, 1.0, 0.5)
OTHERS = ("hd95-monai", "hd95-medpy", "assd-medpy")


def scores(prediction: np.ndarray, truth: np.ndarray, *also: str, protocol: str = "kits23") -> dict[str, float]:
    return dict(score_arrays(Settings(protocol, also=also), prediction, truth, MM).scores)


def test_iou_by_hand() -> None:
    """Boxes of 10 along x, moved by 5: 5 of 15."""
    found = scores(blob(SHAPE, (1, 1, 0), (3, 3, 10), 2), blob(SHAPE, (1, 1, 5), (3, 3, 10), 2), "iou")
    assert found["tumor_iou"] == pytest.approx(1 / 3)
    assert found["tumor_dice"] == pytest.approx(0.5)


def test_the_largest_distance_and_any_tolerance_by_hand() -> None:
    """The prediction is 8 voxels of 0.5 mm longer: its end is 4 mm from the truth's."""
    found = scores(
        blob(SHAPE, (1, 1, 0), (3, 3, 18), 2), blob(SHAPE, (1, 1, 0), (3, 3, 10), 2), "hd100", "sd@4", "sd@0.1"
    )
    assert found["tumor_hd100_mm"] == pytest.approx(4.0)
    assert found["tumor_sd_at_4mm"] == 1.0
    assert found["tumor_sd_at_0.1mm"] < found["tumor_sd"] < 1.0


def test_the_official_tolerance_gives_the_official_value() -> None:
    pair = blob(SHAPE, (1, 1, 2), (3, 3, 10), 2), blob(SHAPE, (1, 2, 0), (4, 3, 10), 2)
    found = scores(*pair, "sd@1.1498198361434828")
    assert next(value for key, value in found.items() if key.startswith("tumor_sd_at")) == pytest.approx(
        found["tumor_sd"]
    )


def test_border_distances_by_hand() -> None:
    """0 and 2 mm one way, 1, 1 and 4 the other: sorted 0 1 1 2 4, at 3.8 of 4 steps 3.6; means 1 and 2."""
    found = BorderDistances(np.array([0.0, 2.0]), np.array([1.0, 1.0, 4.0]))
    assert (found.hd95_medpy_mm, found.assd_medpy_mm) == pytest.approx((3.6, 1.5))
    assert BorderDistances(np.arange(20.0), np.zeros(3)).hd95_monai_mm == pytest.approx(18.05)


def borders(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask & ~binary_erosion(mask))


@settings(max_examples=60)
@given(label_maps(2), st.sampled_from(SPACINGS))
def test_monais_and_medpys_distances_are_those_of_their_definitions(
    maps: tuple[np.ndarray, np.ndarray], spacing: tuple[float, float, float]
) -> None:
    """MONAI and medpy: voxels that a six-neighbour erosion takes away, plain percentiles, all pairs here."""
    row = score_arrays(Settings("kits23", also=OTHERS), *maps, spacing)
    ours, theirs = (borders(mask == 2) * np.array(spacing) for mask in maps)
    if not len(ours) or not len(theirs):
        return
    all_pairs = np.linalg.norm(ours[:, None] - theirs[None], axis=2)
    directed = all_pairs.min(axis=1), all_pairs.min(axis=0)
    assert row.scores["tumor_hd95_monai_mm"] == pytest.approx(max(np.percentile(side, 95) for side in directed))
    assert row.scores["tumor_hd95_medpy_mm"] == pytest.approx(np.percentile(np.concatenate(directed), 95))
    assert row.scores["tumor_assd_medpy_mm"] == pytest.approx(np.mean([side.mean() for side in directed]))


def test_cysts_alone() -> None:
    """3 of 4 slices found: Dice 6 / 7, recall 3 / 4; one slice of 9 voxels of 1 mm3 too few."""
    truth, prediction = blob(SHAPE, (1, 1, 1), (4, 3, 3), 3), blob(SHAPE, (1, 1, 1), (3, 3, 3), 3)
    found = scores(prediction, truth, "cyst", "iou")
    cyst = {key: value for key, value in found.items() if key.startswith("cyst_")}
    assert cyst == pytest.approx(
        {
            "cyst_dice": 6 / 7,
            "cyst_recall": 0.75,
            "cyst_precision": 1.0,
            "cyst_volume_error_ml": -0.009,
            "cyst_iou": 0.75,
        }
    )


@pytest.mark.parametrize("empty", ["both", "one"])
def test_empty_masks(empty: str) -> None:
    """Shares 1 or 0, distances 0 or the image's diagonal: 12, 10 and 10 mm."""
    nothing = np.zeros(SHAPE, np.uint8)
    truth = nothing if empty == "both" else blob(SHAPE, (1, 1, 1), (2, 2, 2), 2)
    found = scores(nothing, truth, "iou", "hd100", "sd@2", *OTHERS)
    shares, lengths = (1.0, 0.0) if empty == "both" else (0.0, np.sqrt(344))
    assert [found[f"tumor_{end}"] for end in ("iou", "sd_at_2mm")] == [shares] * 2
    ends = ("hd100_mm", "hd95_monai_mm", "hd95_medpy_mm", "assd_medpy_mm")
    assert [found[f"tumor_{end}"] for end in ends] == pytest.approx([lengths] * 4)


@pytest.mark.parametrize("protocol", ["paper", "kits19", "kits23", "all"])
def test_every_protocol_has_them_of_its_own_targets(protocol: str) -> None:
    truth = blob(SHAPE, (1, 1, 1), (3, 3, 9), 2)
    found = scores(truth, truth, "hd100", "iou", protocol=protocol)
    target = "tu" if protocol == "kits19" else "tumor"
    assert (found[f"{target}_hd100_mm"], found[f"{target}_iou"]) == (0.0, 1.0)


@pytest.mark.parametrize("name", ["dice", "sd@", "sd@0", "sd@-1", "hd95"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(InputError, match=f"also '{name}'; use one of iou, hd100"):
        Request.of([name])
