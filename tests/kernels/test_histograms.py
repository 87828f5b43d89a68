"""What is counted in slices, and what it adds up to."""

from __future__ import annotations

import numpy as np
import pytest

from pystack3d_dask.kernels.intensity.histograms import (
    added_counts,
    count_levels,
    extremes,
    limits_of,
    widest,
)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_counts_of_slices_add_up(dtype):
    limits = np.iinfo(dtype)
    images = np.random.default_rng(0).integers(limits.min, limits.max, (4, 9, 9)).astype(dtype)
    found = [count_levels(image, image.dtype) for image in images]
    levels, counts = added_counts(found, images.dtype)
    occurring, expected = np.unique(images, return_counts=True)
    np.testing.assert_array_equal(levels[counts > 0], occurring)
    np.testing.assert_array_equal(counts[counts > 0], expected)


def test_floats_count_where_they_are_rounded_and_clipped_to():
    found = count_levels(np.array([[-7.0, 1.4, 1.6], [2.5, 300.0, 2.0]]), np.dtype(np.uint8))
    assert found["first"] == 0
    expected = np.zeros(256)
    expected[[0, 1, 2, 255]] = 1, 1, 3, 1
    np.testing.assert_array_equal(found["counts"], expected)


def test_the_range_of_a_stack_holds_those_of_its_slices():
    images = np.array([[[1, 5]], [[-3, 2]], [[0, 4]]], np.float32)
    assert limits_of(widest(extremes(image) for image in images)) == (-3, 5)
