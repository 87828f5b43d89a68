"""Means over cells of a slice."""

from __future__ import annotations

import numpy as np
import pytest

from pystack3d_dask.kernels.cell_means import cell_means


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_cells_are_means_of_their_pixels(dtype):
    image = np.random.default_rng(0).uniform(1, 200, (23, 31)).astype(dtype)
    part = image[3:23, 5:29]
    expected = part.reshape(5, 4, 6, 4).mean(axis=(1, 3), dtype=np.float64)
    np.testing.assert_allclose(cell_means(image, 4, 3, 5), expected, rtol=1e-6)


def test_a_cell_with_clipped_pixels_is_not_known():
    image = np.full((8, 12), 100, np.uint8)
    image[0, 0], image[1, 5], image[5, 9:11] = 0, 255, 255
    known = np.isfinite(cell_means(image, 4))
    np.testing.assert_array_equal(known, [[True, True, True], [True, True, False]])
    assert np.isfinite(cell_means(image.astype(np.float32), 4)).all()


def test_a_cell_with_a_pixel_that_is_not_finite_is_not_known():
    image = np.ones((4, 8), np.float32)
    image[2, 6] = np.nan
    np.testing.assert_array_equal(np.isfinite(cell_means(image, 4)), [[True, False]])


@pytest.mark.parametrize("size", [9, 40])
def test_a_slice_smaller_than_a_cell_has_none(size):
    assert cell_means(np.zeros((size - 1, 50), np.uint8), size).size == 0
