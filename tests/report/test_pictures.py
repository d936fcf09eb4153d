"""A case's picture: cut where the lesion is, at one scale, contours where the masks end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kits_submit.errors import VolumeError
from kits_submit.labels import KIDNEY, KITS19, TUMOR
from kits_submit.report.colours import colours
from kits_submit.report.pictures import LEGEND, write_picture
from kits_submit.report.planes import body_box, contour, place
from kits_submit.report.scene import read_scene
from tests.conftest import kits_affine, save

SHAPE = (20, 60, 80)
SPACING = (4.0, 2.0, 2.0)


def volumes() -> tuple[np.ndarray, np.ndarray]:
    """A block of water, 40 x 60 pixels, with a kidney and a tumor in it."""
    image = np.full(SHAPE, -1000, np.int16)
    image[:, 10:50, 10:70] = 0
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:16, 20:40, 20:32] = KIDNEY
    labels[6:9, 22:30, 24:30] = TUMOR
    return image, labels


def test_the_cut_goes_through_the_largest_section_of_the_largest_tumor() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:5, 10:14, 10:14] = TUMOR
    labels[10:15, 30:40, 50:60] = TUMOR
    labels[12, 28:42, 50:60] = TUMOR
    labels[0:19, 0:5, 0:70] = KIDNEY
    z, y, x = place(labels, KITS19)
    assert z == 12
    assert 30 <= y < 40
    assert 50 <= x < 60


def test_without_a_tumor_it_goes_through_the_kidney_and_without_both_through_the_middle() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    assert place(labels, KITS19) == (10, 30, 40)
    labels[3, 7, 9] = KIDNEY
    assert place(labels, KITS19) == (3, 7, 9)


def test_the_body_is_found_and_the_table_is_not() -> None:
    image, _ = volumes()
    image[:, 56:58, :] = 200
    z, y, x = body_box(image.astype(np.float32), SPACING)
    assert z == slice(None)
    assert y.start == 12 - 4  # found on every fourth row, 8 mm are 4 rows
    assert y.stop == 48 + 4 + 1
    assert x.start == 12 - 4
    assert x.stop == 68 + 4 + 1
    assert body_box(np.full(SHAPE, -1000, np.float32), SPACING) == (slice(None),) * 3


def test_a_contour_is_the_inner_edge_of_the_mask() -> None:
    mask = np.zeros((8, 10), np.bool_)
    mask[2:6, 3:8] = True
    edge = contour(mask, (10, 8))
    expected = mask.copy()
    expected[3:5, 4:7] = False
    np.testing.assert_array_equal(edge, expected)


def test_picture_shows_both_masks(tmp_path: Path) -> None:
    image, labels = volumes()
    files = [
        save(tmp_path / f"{name}.nii.gz", voxels, kits_affine(SPACING))
        for name, voxels in (("imaging", image), ("prediction", labels), ("label", np.roll(labels, 6, axis=2)))
    ]
    write_picture(tmp_path / "plain.png", read_scene("case_00003", files[0], files[1], labels=KITS19))
    write_picture(tmp_path / "labelled.png", read_scene("case_00003", *files, labels=KITS19))
    plain, labelled = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("plain", "labelled"))
    assert plain.shape == labelled.shape
    for colour in colours(KITS19).values():
        solid = (plain[:-LEGEND] == colour).all(axis=-1).sum()
        assert solid > 100
        dashed = tuple(c // 2 + 128 for c in colour)
        legend_free = labelled[:-LEGEND]
        drawn = int((legend_free == dashed).all(axis=-1).sum())
        assert 0.2 * solid < drawn < 0.8 * solid  # a dash, a gap
        assert not (plain == dashed).all(axis=-1).any()
    again = (tmp_path / "plain.png").read_bytes()
    write_picture(tmp_path / "plain.png", read_scene("case_00003", files[0], files[1], labels=KITS19))
    assert (tmp_path / "plain.png").read_bytes() == again
    assert not list(tmp_path.glob(".*"))


def test_an_unreadable_volume_is_told(tmp_path: Path) -> None:
    (tmp_path / "imaging.nii.gz").write_bytes(b"no")
    with pytest.raises(VolumeError):
        read_scene("a", tmp_path / "imaging.nii.gz", tmp_path / "imaging.nii.gz", labels=KITS19)
