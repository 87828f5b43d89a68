"""Values between pixels: what each scheme keeps, whatever the way that it is computed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from test_warp import (
    IMAGE,
    SCIPY_MODES,
    SHAPE,
    XS,
    YS,
    every_mode,
    grid,
    places,
    shift,
    some_matrices,
)

from pystack3d_dask.kernels.registration.interpolation import SCHEMES
from pystack3d_dask.kernels.registration.warp import warp_affine, warp_piecewise
from pystack3d_dask.kernels.registration.warp_arrays import (
    warp_affine_on_arrays,
    warp_piecewise_on_arrays,
)

every_scheme = pytest.mark.parametrize("scheme", SCHEMES)
sharp = pytest.mark.parametrize("scheme", ["catmull-rom", "cubic", "lanczos3"])
shifts = st.floats(-40, 40)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
INNER = np.s_[9:-9, 9:-9]  # where no pixel beyond the image counts


def warped(matrix, scheme, mode="constant", image=IMAGE, *, shape=SHAPE, corner=(0, 0)):
    out = np.full(shape, np.nan)
    warp_affine(image, matrix, mode, out, corner, scheme)
    return out


def on_arrays(matrix, scheme, mode, shape=SHAPE, corner=(0, 0)):
    out = np.full(shape, np.nan)
    warp_affine_on_arrays(IMAGE, matrix, mode, out, corner, scheme)
    return out


def nearly(x, y):
    """Return a shift that is computed as a turn is: pixel by pixel."""
    matrix = shift(x, y)
    matrix[0, 1] = 1e-300
    return matrix


@every_mode
@settings(deadline=None)
@given(matrix=some_matrices)
def test_cubic_splines_are_those_of_scipy(mode, matrix):
    rows, columns = places(matrix)
    if mode in ("constant", "edge"):  # beside the image lies its mirror image
        rows, columns = rows.clip(0, SHAPE[0] - 1), columns.clip(0, SHAPE[1] - 1)
    beyond = "mirror" if mode in ("constant", "edge") else SCIPY_MODES[mode]
    expected = ndimage.map_coordinates(IMAGE.astype(float), [rows, columns], order=3, mode=beyond)
    found = warped(matrix, "cubic", mode)
    known = found != 0 if mode == "constant" else np.ones(SHAPE, bool)
    np.testing.assert_allclose(found[known], expected[known], atol=1e-6)
    if mode == "constant":
        np.testing.assert_array_equal(known, warped(matrix, "linear", image=IMAGE * 0 + 1) > 0)


@every_scheme
@every_mode
@settings(deadline=None)
@given(x=shifts, y=shifts)
def test_shifts_are_computed_as_turns_are(mode, scheme, x, y):
    found = warped(shift(x, y), scheme, mode)
    np.testing.assert_allclose(found, warped(nearly(x, y), scheme, mode), atol=1e-3)


@every_scheme
@every_mode
@given(x=st.integers(-40, 40), y=st.integers(-30, 30))
def test_whole_shifts_copy_pixels(mode, scheme, x, y):
    expected = warped(shift(x, y), "linear", mode)
    np.testing.assert_array_equal(warped(shift(x, y), scheme, mode), expected)


@every_scheme
@settings(deadline=None)
@given(matrix=some_matrices)
def test_what_is_constant_stays(scheme, matrix):
    found = warped(matrix, scheme, "edge", np.full(SHAPE, 37, np.uint8))
    np.testing.assert_allclose(found, 37, atol=1e-4)


@pytest.mark.parametrize(("scheme", "order"), [("linear", 1), ("catmull-rom", 2), ("cubic", 3)])
def test_polynomials_are_kept(scheme, order):
    image = ((Y - 11) / 10 + (X - 15) / 20) ** order
    rows, columns = places(shift(0.3, -0.4))
    expected = ((rows - 11) / 10 + (columns - 15) / 20) ** order
    found = warped(shift(0.3, -0.4), scheme, image=image)
    np.testing.assert_allclose(found[INNER], expected[INNER], atol=1e-4)


@given(x=shifts, y=shifts)
def test_whole_pixels_change_no_value(x, y):
    found = warped(shift(x, y), "whole")
    copied = warped(shift(np.floor(x + 0.5), np.floor(y + 0.5)), "linear")
    np.testing.assert_array_equal(found, copied)


@sharp
def test_fine_detail_is_kept_where_linear_blurs(scheme):
    detail = 100 + 50 * np.sin(2 * np.pi * X / 6)
    expected = 100 + 50 * np.sin(2 * np.pi * (X + 0.5) / 6)
    error, blurred = (
        np.abs(warped(shift(0.5, 0), each, image=detail) - expected)[INNER].max()
        for each in (scheme, "linear")
    )
    assert error < blurred / 3


@every_scheme
@every_mode
@settings(deadline=None)
@given(matrix=some_matrices, top=st.integers(0, 20), left=st.integers(0, 28))
def test_a_part_of_the_output_is_that_part_of_the_whole(mode, scheme, matrix, top, left):
    part = warped(matrix, scheme, mode, shape=(3, 3), corner=(top, left))
    whole = warped(matrix, scheme, mode)
    np.testing.assert_array_equal(part, whole[top : top + 3, left : left + 3])


@every_scheme
@every_mode
@pytest.mark.parametrize("image", [IMAGE[:1], IMAGE[:, :1], IMAGE[:1, :1], IMAGE[:2, :3]])
def test_images_smaller_than_what_counts_are_interpolated(mode, scheme, image):
    matrix = shift(0.25, 0.25)
    found = warped(matrix, scheme, mode, image, shape=image.shape)
    assert np.isfinite(found).all()
    same = warped(np.eye(3), scheme, mode, image, shape=image.shape)
    np.testing.assert_array_equal(same, image)


@every_scheme
@every_mode
@settings(deadline=None)
@given(matrix=some_matrices, x=shifts, y=shifts)
def test_arrays_give_the_same(mode, scheme, matrix, x, y):
    for each in (matrix, shift(x, y)):
        expected = warped(each, scheme, mode, shape=(9, 12), corner=(3, 14))
        found = on_arrays(each, scheme, mode, (9, 12), (3, 14))
        if scheme == "whole":  # halves are decided by rounding
            rows, columns = (place[3:12, 14:26] for place in places(each))
            near = np.minimum(*(np.abs(place % 1 - 0.5) for place in (rows, columns))) < 1e-6
            found[near] = expected[near]
        np.testing.assert_allclose(found, expected, atol=1e-3)


@every_scheme
@every_mode
def test_arrays_give_the_same_in_triangles(mode, scheme):
    expected, found = np.full(SHAPE, np.nan), np.full(SHAPE, np.nan)
    warp_piecewise(IMAGE, XS, YS, grid(0.8), mode, expected, (0, 0), scheme)
    warp_piecewise_on_arrays(IMAGE, XS, YS, grid(0.8), mode, found, (0, 0), scheme)
    np.testing.assert_allclose(found, expected, atol=1e-3)
