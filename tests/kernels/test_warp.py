"""Resampling under a transformation, against numpy.pad, scipy and skimage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import Delaunay
from skimage.transform import EuclideanTransform

from pystack3d_dask.kernels.registration.warp import (
    MODES,
    aligned_correlation,
    clear_outside_piecewise,
    narrow,
    warp_affine,
    warp_piecewise,
)

SCIPY_MODES = {"edge": "nearest", "symmetric": "reflect", "reflect": "mirror", "wrap": "grid-wrap"}
SHAPE = (23, 31)
IMAGE = np.random.default_rng(0).integers(1, 255, SHAPE).astype(np.uint8)
every_mode = pytest.mark.parametrize("mode", MODES)
some_matrices = st.builds(
    lambda angle, scale, x, y: np.array(
        [
            [scale * np.cos(angle), -np.sin(angle), x],
            [np.sin(angle), scale * np.cos(angle), y],
            [0, 0, 1],
        ]
    ),
    st.floats(-0.5, 0.5),
    st.floats(0.6, 1.5),
    st.floats(-20, 20),
    st.floats(-20, 20),
)


def shift(x, y):
    matrix = np.eye(3)
    matrix[:2, 2] = x, y
    return matrix


def warped(matrix, mode="constant", image=IMAGE, shape=SHAPE, corner=(0, 0)):
    out = np.full(shape, np.nan)
    warp_affine(image, matrix, mode, out, corner)
    return out


def places(matrix, shape=SHAPE):
    """Return the rows and columns in the input that pixels of the output come from."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    return (
        matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2],
        matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2],
    )


def sampled(image, rows, columns, mode):
    """Return the image at places, as scipy interpolates; 0 outside where mode is constant."""
    values = ndimage.map_coordinates(
        image.astype(float), [rows, columns], order=1, mode=SCIPY_MODES.get(mode, "nearest")
    )
    if mode == "constant":
        inside = (rows >= 0) & (rows <= image.shape[0] - 1)
        inside &= (columns >= 0) & (columns <= image.shape[1] - 1)
        values[~inside] = 0
    return values


@every_mode
@settings(deadline=None)
@given(dx=st.integers(-40, 40), dy=st.integers(-30, 30))
def test_whole_shifts_show_what_numpy_pads(mode, dx, dy):
    width = 50
    padded = np.pad(IMAGE, width, mode=mode)
    rows, columns = SHAPE
    expected = padded[width + dy : width + dy + rows, width + dx : width + dx + columns]
    np.testing.assert_array_equal(warped(shift(dx, dy), mode), expected)


@every_mode
@settings(deadline=None)
@given(matrix=some_matrices)
def test_any_transformation_interpolates_as_scipy_does(mode, matrix):
    rows, columns = places(matrix)
    expected = sampled(IMAGE, rows, columns, mode)
    found = warped(matrix, mode)
    if mode == "constant":  # on the very edge rounding decides
        edges = [np.abs(rows - e) < 1e-5 for e in (0, SHAPE[0] - 1)]
        edges += [np.abs(columns - e) < 1e-5 for e in (0, SHAPE[1] - 1)]
        found[np.any(edges, axis=0)] = expected[np.any(edges, axis=0)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@every_mode
def test_shifts_that_are_whole_but_for_rounding_copy_pixels(mode):
    found = warped(shift(3 + 3e-7, -2 - 3e-7), mode)
    np.testing.assert_array_equal(found, warped(shift(3, -2), mode))


@every_mode
def test_identity_copies_also_images_of_one_row(mode):
    for image in (IMAGE, IMAGE[:1], IMAGE[:, :1], IMAGE[:1, :1]):
        np.testing.assert_array_equal(warped(np.eye(3), mode, image, image.shape), image)


@every_mode
@settings(deadline=None)
@given(matrix=some_matrices, top=st.integers(0, 20), left=st.integers(0, 28))
def test_a_part_of_the_output_is_that_part_of_the_whole(mode, matrix, top, left):
    part = warped(matrix, mode, shape=(3, 3), corner=(top, left))
    whole = warped(matrix, mode)
    np.testing.assert_array_equal(part, whole[top : top + 3, left : left + 3])


def test_what_lies_far_outside_is_the_edge_or_nothing():
    far = shift(1e12, 1e300)
    np.testing.assert_array_equal(warped(far), 0)
    np.testing.assert_array_equal(warped(far, "edge"), IMAGE[-1, -1])


@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_any_type_is_interpolated_in_double(dtype):
    image = (IMAGE * 200.0).astype(dtype)
    found = warped(shift(0.3, 0.7), "edge", image)
    expected = sampled(image, *places(shift(0.3, 0.7)), "edge")
    np.testing.assert_allclose(found, expected, rtol=1e-12)


XS, YS = np.array([-6.0, 4, 14, 25, 33]), np.array([-4.0, 5, 16, 29])


def grid(move=0.0, seed=0):
    """Return control points that moved at random."""
    points = np.stack(np.meshgrid(XS, YS), axis=-1)
    return points + np.random.default_rng(seed).normal(0, 1, points.shape) * move


def piecewise(points, mode="constant", image=IMAGE):
    out = np.full(SHAPE, np.nan)
    warp_piecewise(image, XS, YS, points, mode, out, (0, 0))
    return out


@every_mode
def test_control_points_that_stay_leave_the_image_as_it_is(mode):
    np.testing.assert_array_equal(piecewise(grid(), mode), IMAGE)


@every_mode
def test_control_points_that_move_as_one_are_one_transformation(mode):
    matrix = EuclideanTransform(rotation=0.1, translation=(2.3, -1.2)).params
    points = grid() @ matrix[:2, :2].T + matrix[:2, 2]
    np.testing.assert_allclose(piecewise(points, mode), warped(matrix, mode), atol=1e-6)


def test_triangles_are_those_of_delaunay():
    # the diagonals of a perfect grid are arbitrary for Delaunay: a slight shear decides
    sheared = grid() + 1e-7 * np.stack([grid()[..., 1], grid()[..., 0]], axis=-1)
    points = grid(0.8)
    triangles = Delaunay(sheared.reshape(-1, 2))
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    found = LinearNDInterpolator(triangles, points.reshape(-1, 2))(x, y)
    expected = sampled(IMAGE, found[..., 1], found[..., 0], "edge")
    np.testing.assert_allclose(piecewise(points, "edge"), expected, atol=1e-3)


def test_a_smooth_ramp_shows_where_pixels_come_from():
    ramp = np.arange(SHAPE[1]) * np.ones(SHAPE)
    points = grid()
    points[..., 0] += 0.1 * points[..., 1]  # x moves with y: linear, thus exact everywhere
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    expected = np.clip(x + 0.1 * y, 0, SHAPE[1] - 1)
    np.testing.assert_allclose(piecewise(points, "edge", ramp), expected, atol=1e-9)


def inside(rows, columns):
    """Return which places lie in the image, and which too near to its edge to tell."""
    near = 2e-6
    margins = [rows, SHAPE[0] - 1 - rows, columns, SHAPE[1] - 1 - columns]
    least = np.min(margins, axis=0)
    return least >= 0, np.abs(least) < near


@settings(deadline=None, max_examples=200)
@given(matrix=some_matrices)
def test_rows_are_narrowed_to_the_columns_that_are_inside(matrix):
    first, last = np.zeros(SHAPE[0], np.int64), np.full(SHAPE[0], SHAPE[1] - 1)
    narrow(first, last, matrix, SHAPE[1])
    column = np.arange(SHAPE[1])
    found = (column >= first[:, None]) & (column <= last[:, None])
    expected, unsure = inside(*places(matrix))
    np.testing.assert_array_equal(found | unsure, expected | unsure)


@pytest.mark.parametrize("slope", [1e-19, -1e-19, 1e-300, 1e-17])
@pytest.mark.parametrize("start", [-3.0, 3.0])
def test_a_slope_of_nearly_nothing_is_none(slope, start):
    tilted, level = shift(0, start), shift(0, start)
    tilted[1, 0] = slope
    valid = []
    for matrix in (tilted, level):
        first, last = np.zeros(SHAPE[0], np.int64), np.full(SHAPE[0], SHAPE[1] - 1)
        narrow(first, last, matrix, SHAPE[1])
        valid.append(first <= last)
    np.testing.assert_array_equal(*valid)


def test_columns_are_narrowed_only():
    first, last = np.full(SHAPE[0], 5), np.full(SHAPE[0], 9)
    narrow(first, last, np.eye(3), SHAPE[1])
    np.testing.assert_array_equal(first, 5)
    np.testing.assert_array_equal(last, 9)


def test_what_triangles_leave_is_cleared():
    points = grid(2.0)
    valid = np.ones(SHAPE, bool)
    valid[3] = False
    clear_outside_piecewise(valid, XS, YS, points)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    columns, rows = (piecewise(points, "edge", ramp) for ramp in (x, y))  # clipped to the image
    strictly = (rows > 0) & (rows < SHAPE[0] - 1) & (columns > 0) & (columns < SHAPE[1] - 1)
    strictly[3] = False
    np.testing.assert_array_equal(valid, strictly)
    assert 0.5 < valid.mean() < 0.95


def test_correlation_is_that_of_the_part_that_both_show():
    matrix = shift(4.5, -3.25)
    image = ndimage.gaussian_filter(IMAGE.astype(float), 1)
    rows, columns = places(matrix)
    shared, _ = inside(rows, columns)
    expected = np.corrcoef(IMAGE[shared], sampled(image, rows, columns, "edge")[shared])[0, 1]
    assert aligned_correlation(IMAGE, image, matrix) == pytest.approx(expected, abs=1e-9)
    assert aligned_correlation(IMAGE, IMAGE, np.eye(3)) == pytest.approx(1)
    assert aligned_correlation(IMAGE, 255 - IMAGE, np.eye(3)) == pytest.approx(-1)


@pytest.mark.parametrize(
    "matrix", [shift(np.nan, 0), shift(0, np.inf), shift(29, 0), shift(1e9, 0)], ids=str
)
def test_images_that_share_next_to_nothing_are_not_alike(matrix):
    assert aligned_correlation(IMAGE, IMAGE, matrix) == 0


def test_a_blank_image_is_like_none():
    blank = np.full(SHAPE, 77, np.uint8)
    assert aligned_correlation(IMAGE, blank, np.eye(3)) == 0
    assert aligned_correlation(blank, IMAGE, np.eye(3)) == 0
    assert aligned_correlation(blank, blank, np.eye(3)) == 0
