"""Sums over the cells of a grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pystack3d_dask.kernels.background.grid_cells import cell_sums


def plain(image, cell_y, cell_x, low, high):
    rows, columns = image.shape
    return np.array(
        [
            [
                [
                    f(image[y : y + cell_y, x : x + cell_x].astype(float))
                    for x in range(0, columns, cell_x)
                ]
                for y in range(0, rows, cell_y)
            ]
            for f in (
                lambda c: c[(c >= low) & (c <= high)].sum(),
                lambda c: np.sum((c >= low) & (c <= high)),
            )
        ]
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@settings(deadline=None)  # the first call compiles
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    cell_y=st.integers(1, 14),
    cell_x=st.integers(1, 14),
    limits=st.sampled_from([(-np.inf, np.inf), (50.0, 200.0), (-np.inf, 100.0), (99.0, 99.0)]),
)
def test_sums_and_counts_are_those_of_the_pixels_between_the_thresholds(
    dtype, rows, columns, cell_y, cell_x, limits
):
    rng = np.random.default_rng(rows * 100 + columns)
    image = rng.integers(0, 255, (rows, columns)).astype(dtype)
    found = cell_sums(image, cell_y, cell_x, *limits)
    np.testing.assert_array_equal(found, plain(image, cell_y, cell_x, *limits))


def test_thresholds_are_inclusive():
    image = np.array([[9, 10, 15, 20, 21]], np.uint8)
    sums = cell_sums(image, 1, 5, 10.0, 20.0)
    assert sums.ravel().tolist() == [45, 3]


def test_views_that_are_read_only_and_not_contiguous_are_summed():
    image = np.arange(48, dtype=np.uint8).reshape(6, 8)[::2, ::-1]
    image.flags.writeable = False
    np.testing.assert_array_equal(
        cell_sums(image, 2, 3, -np.inf, np.inf), plain(image, 2, 3, -np.inf, np.inf)
    )


def test_sums_of_a_float32_image_are_exact_to_double_precision():
    image = np.full((400, 400), 1 / 3, np.float32)
    total = float(np.float32(1 / 3)) * 400 * 400
    assert cell_sums(image, 400, 400, -np.inf, np.inf)[0, 0, 0] == pytest.approx(total, rel=1e-12)
