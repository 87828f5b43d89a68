"""Resampling by operations on whole arrays, against the compiled kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_warp import IMAGE, every_mode, shift, some_matrices, warped

from pystack3d_dask.kernels.registration.warp import warp_piecewise
from pystack3d_dask.kernels.registration.warp_arrays import (
    warp_affine_on_arrays,
    warp_piecewise_on_arrays,
)


def on_arrays(matrix, mode, shape, corner):
    out = np.full(shape, np.nan)
    warp_affine_on_arrays(IMAGE, matrix, mode, out, corner)
    return out


parts = st.sampled_from([((23, 31), (0, 0)), ((9, 12), (3, 14))])

eighths = st.integers(-480, 480).map(lambda k: k / 8)


@every_mode
@settings(deadline=None)
@given(matrix=some_matrices, part=parts)
def test_turns_and_scales_are_the_same(mode, matrix, part):
    expected = warped(matrix, mode, shape=part[0], corner=part[1])
    np.testing.assert_allclose(on_arrays(matrix, mode, *part), expected, atol=1e-9)


@every_mode
@settings(deadline=None)
@given(x=eighths, y=eighths, part=parts)
def test_shifts_are_the_same(mode, x, y, part):
    expected = warped(shift(x, y), mode, shape=part[0], corner=part[1])
    np.testing.assert_allclose(on_arrays(shift(x, y), mode, *part), expected, atol=1e-9)


@every_mode
@pytest.mark.parametrize("far", [300.0, -1e6, 1e12])
def test_slices_that_are_far_away_are_the_same(mode, far):
    matrix = shift(far, -far)
    expected = warped(matrix, mode)
    np.testing.assert_allclose(on_arrays(matrix, mode, expected.shape, (0, 0)), expected)


@every_mode
@settings(deadline=None)
@given(jitter=st.floats(0, 6), seed=st.integers(0, 99), part=parts)
def test_triangles_are_the_same(mode, jitter, seed, part):
    xs, ys = np.array([-3.0, 8.0, 20.0, 34.0]), np.array([0.0, 11.0, 25.0])
    points = np.stack(np.meshgrid(xs, ys), axis=-1)
    points = points + np.random.default_rng(seed).normal(0, jitter, points.shape)
    shape, corner = part
    expected, found = np.full(shape, np.nan), np.full(shape, np.nan)
    warp_piecewise(IMAGE, xs, ys, points, mode, expected, corner)
    warp_piecewise_on_arrays(IMAGE, xs, ys, points, mode, found, corner)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_single_row_or_column_is_mirrored_to_itself():
    image = np.array([[7, 9, 4]], np.uint8)
    found = np.empty((1, 3))
    warp_affine_on_arrays(image, shift(0.5, 3.0), "reflect", found, (0, 0))
    np.testing.assert_allclose(found, warped(shift(0.5, 3.0), "reflect", image, (1, 3)))
