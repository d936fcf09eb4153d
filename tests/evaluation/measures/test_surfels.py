from __future__ import annotations

import numpy as np
import pytest

from evaluation.measures.surfels import borders, neighbour_codes, surfel_areas
from tests.evaluation import reference
from tests.evaluation.conftest import SPACINGS, blob


@pytest.mark.filterwarnings("ignore")  # the package calls names that SciPy deprecates
@pytest.mark.parametrize("spacing", SPACINGS)
def test_all_256_areas_are_those_of_the_official_package(spacing: tuple[float, float, float]) -> None:
    pytest.importorskip("surface_distance")
    from surface_distance.lookup_tables import create_table_neighbour_code_to_surface_area as official

    assert surfel_areas(spacing) == pytest.approx(official(spacing), abs=1e-12)


def test_a_flat_surface_has_the_area_of_its_faces() -> None:
    """Code 0b00001111, the half below a plane: one face of 0.7 x 1.3 mm a corner."""
    assert surfel_areas((0.4, 0.7, 1.3))[0b00001111] == pytest.approx(0.7 * 1.3)
    assert surfel_areas((0.4, 0.7, 1.3))[0b01010101] == pytest.approx(0.4 * 0.7)


def test_a_voxels_corner_is_a_triangle_between_the_middles_of_three_edges() -> None:
    """At 1 mm: half an equilateral triangle's base times height with side sqrt(1/2): sqrt(3) / 8."""
    assert surfel_areas((1.0, 1.0, 1.0))[1] == pytest.approx(np.sqrt(3) / 8)


def test_inside_and_outside_are_alike_and_neither_is_a_surface() -> None:
    areas = surfel_areas((0.4, 0.7, 1.3))
    assert areas == pytest.approx(areas[::-1])
    assert areas[0] == areas[255] == 0


def test_codes_are_those_of_the_eight_voxels_by_hand() -> None:
    mask = np.maximum(blob((4, 4, 4), (1, 1, 1), (2, 2, 1)), blob((4, 4, 4), (2, 2, 2), (1, 1, 1)))
    codes = neighbour_codes(mask)
    expected = reference.surfels(mask)
    found = {tuple(int(i) + 1 for i in index): int(codes[tuple(index)]) for index in np.argwhere(borders(codes))}
    assert found == expected
