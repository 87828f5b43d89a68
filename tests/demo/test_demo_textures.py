"""Specimens: what they are made of, and that they are functions of the position."""

from __future__ import annotations

import numpy as np
import pytest

from pystack3d_dask.demo.fields import Plane
from pystack3d_dask.demo.textures import BRIGHT_PHASE, GRAY_PHASE, MEMBRANE, TEXTURES, WALL

EACH = pytest.mark.parametrize("texture", list(TEXTURES.values()), ids=list(TEXTURES))


def correlation(one, other) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.parametrize("feature", [12.0, 24.0, 60.0])
def test_a_quarter_of_the_porous_volume_is_pores_whatever_their_size(feature):
    size = round(12 * feature)
    planes = [Plane(seed, (0.0, 0.0, 0.0), (size, size)) for seed in range(4)]
    image = np.stack([TEXTURES["porous"](plane, feature) for plane in planes])
    assert 0.15 < (image < (WALL + GRAY_PHASE) / 2).mean() < 0.35
    assert 0.1 < (image > (GRAY_PHASE + BRIGHT_PHASE) / 2).mean() < 0.5


def test_membranes_are_thin_and_everywhere():
    image = TEXTURES["cellular"](Plane(0, (0.0, 0.0, 0.0), (400, 400)), 30.0)
    dark = image < MEMBRANE + 0.08
    assert 0.03 < dark.mean() < 0.25
    tiles = dark.reshape(5, 80, 5, 80).any(axis=(1, 3))
    assert tiles.all()


@EACH
def test_gray_levels_leave_room_for_defects(texture):
    image = texture(Plane(0, (0.0, 0.0, 0.0), (300, 300)), 24.0)
    assert image.dtype == np.float32
    assert 0.1 < image.min() < image.max() < 0.8


@EACH
def test_neighboring_slices_resemble_each_other_and_distant_ones_do_not(texture):
    slices = [texture(Plane(0, (z, 0.0, 0.0), (200, 200)), 24.0) for z in (0.0, 0.3, 1.0, 80.0)]
    near, next_one, far = (correlation(slices[0], other) for other in slices[1:])
    assert near > next_one > 0.75
    assert abs(far) < 0.2


@EACH
def test_a_plane_that_moved_by_whole_pixels_shows_the_same_pixels(texture):
    image = texture(Plane(0, (2.5, 0.25, 0.5), (90, 100)), 20.0)
    moved = texture(Plane(0, (2.5, 3.25, -4.5), (90, 100)), 20.0)
    np.testing.assert_allclose(moved[:-3, 5:], image[3:, :-5], atol=2e-3)
