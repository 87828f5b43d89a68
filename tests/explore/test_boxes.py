"""The box of a volume on paper."""

from __future__ import annotations

import numpy as np
import pytest
from counting import placed

from pystack3d_dask.explore.boxes import Box, mark_plane
from pystack3d_dask.explore.drawing import Picture
from pystack3d_dask.explore.volume import as_volume


def box(dz: float = 0.01) -> Box:
    values = np.zeros((20, 40, 60), np.uint8)
    return Box.of(as_volume(placed(values, np.arange(20) * dz)))


def test_slices_are_not_distorted_and_lie_behind_each_other():
    found = box()
    np.testing.assert_allclose(found.across, (0.6, 0))
    np.testing.assert_allclose(found.down, (0, 0.4))
    assert found.depth[0] > 0 > found.depth[1]
    assert found.share(0) == 0
    assert found.share(10) == pytest.approx(0.5)
    assert found.share(15, "x") == pytest.approx(0.25)


@pytest.mark.parametrize(("dz", "length"), [(1e-4, 0.15), (0.05, 0.5), (10.0, 0.72)])
def test_depth_is_halved_but_neither_vanishes_nor_hides_the_slice(dz, length):
    assert np.hypot(*box(dz).depth) == pytest.approx(length)


def test_all_corners_are_in_the_picture():
    found = box()
    left, right, bottom, top = found.bounds
    for corner in (0 * found.depth, found.depth):
        for x, y in (corner, corner + found.across + found.down):
            assert left < x < right
            assert top < y < bottom


@pytest.mark.parametrize(("name", "start"), [("z", 0.5), ("y", 0.25), ("x", 0.5)])
def test_a_plane_is_marked_where_it_is(name, start):
    found, axes = box(), Picture(3, 3).add_subplot()
    mark_plane(axes, found, name, {"z": 10, "y": 10, "x": 30}[name])
    (patch,) = axes.patches
    edge = {"z": found.depth, "y": found.down, "x": found.across}[name]
    np.testing.assert_allclose(patch.get_xy()[0], start * edge)
    others = [each for each in (found.depth, found.down, found.across) if each is not edge]
    np.testing.assert_allclose(patch.get_xy()[2], start * edge + sum(others))
