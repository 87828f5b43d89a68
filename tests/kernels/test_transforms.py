"""The algebra of matrices, against skimage, scipy and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.transform import AffineTransform, EuclideanTransform

from pystack3d_dask.kernels.registration.affine import (
    cumulated,
    identities,
    motion,
    motion_panels,
    moved,
    with_drift,
    without_small_shifts,
    without_trend,
)


def affine(count, blocks=1, seed=0):
    """Return transformations near identity, shape (count, blocks, 3, 3)."""
    rng = np.random.default_rng(seed)
    found = identities(count, blocks)
    found[..., :2, :2] += rng.normal(0, 0.1, (count, blocks, 2, 2))
    found[..., :2, 2] = rng.normal(0, 3, (count, blocks, 2))
    return found


def at(matrix, points):
    """Return where a matrix takes points (x, y), as skimage does it."""
    return AffineTransform(matrix)(points)


POINTS = np.random.default_rng(1).uniform(-50, 50, (20, 2))


@given(st.integers(-40, 40), st.integers(-40, 40), st.integers(0, 9))
def test_in_another_frame_points_move_as_they_did(rows, columns, seed):
    matrix = affine(1, seed=seed)[0, 0]
    origin = [columns, rows]
    found = at(moved(matrix, rows, columns), POINTS - origin)
    np.testing.assert_allclose(found, at(matrix, POINTS) - origin, atol=1e-9)


def test_a_frame_left_and_entered_again_changes_nothing():
    matrices = affine(5, 3)
    np.testing.assert_allclose(moved(moved(matrices, 17, -4), -17, 4), matrices, atol=1e-9)
    np.testing.assert_array_equal(moved(matrices, 0, 0), matrices)


def test_translations_are_the_same_in_every_frame():
    matrices = identities(4)
    matrices[:, :2, 2] = np.random.default_rng(0).normal(0, 5, (4, 2))
    np.testing.assert_array_equal(moved(matrices, 123, 456), matrices)


def test_arguments_are_left_alone():
    matrices = affine(6, 2)
    before = matrices.copy()
    moved(matrices, 3, 4)
    without_small_shifts(matrices)
    cumulated(matrices)
    with_drift(matrices, (1, 2))
    without_trend(matrices, 3)
    np.testing.assert_array_equal(matrices, before)


def test_small_shifts_are_dropped_along_each_axis_by_itself():
    pairwise = affine(1)
    for shift, kept in [((0.99, -1.0), (0, -1.0)), ((-0.99, 5), (0, 5)), ((1, 0.5), (1, 0))]:
        pairwise[..., :2, 2] = shift
        found = without_small_shifts(pairwise)
        np.testing.assert_array_equal(found[0, 0, :2, 2], kept)
        np.testing.assert_array_equal(found[..., :2, :2], pairwise[..., :2, :2])


def test_a_point_walks_through_the_slices_one_by_one():
    pairwise = affine(6, 2)
    found = cumulated(pairwise)
    for block in range(2):
        points = POINTS
        np.testing.assert_array_equal(found[0, block], np.eye(3))  # whatever the first one says
        for k in range(1, 6):
            points = at(pairwise[k, block], points)
            np.testing.assert_allclose(at(found[k, block], POINTS), points, atol=1e-9)


def test_true_poses_come_out_of_pairwise_ones():
    poses = [
        EuclideanTransform(rotation=0.02 * k, translation=(k, -2 * k)).params for k in range(7)
    ]
    pairwise = [np.eye(3)]
    pairwise += [after @ np.linalg.inv(before) for before, after in itertools.pairwise(poses)]
    np.testing.assert_allclose(cumulated(np.array(pairwise)[:, None])[:, 0], poses, atol=1e-9)


def test_a_drift_stays_in():
    found = with_drift(identities(5, 2), (0.5, -2.0))
    np.testing.assert_allclose(found[:, 1, 0, 2], [0, -0.5, -1, -1.5, -2])
    np.testing.assert_allclose(found[:, 0, 1, 2], [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(found[..., :2, :2], identities(5, 2)[..., :2, :2])


@given(st.integers(1, 12), st.integers(1, 30))
def test_the_running_mean_is_that_of_scipy(count, box):
    cumulative = affine(count, 2, seed=count)
    mean = ndimage.uniform_filter1d(cumulative, box, axis=0, mode="reflect")
    expected = cumulative + np.eye(3) - mean
    np.testing.assert_allclose(without_trend(cumulative, box), expected, atol=1e-9)


def test_a_steady_state_is_trend_only():
    steady = np.repeat(affine(1, 2), 6, axis=0)
    np.testing.assert_allclose(without_trend(steady, 3), identities(6, 2), atol=1e-12)


def test_motion_is_what_happens_to_the_middle():
    angle, center = np.radians(2.5), np.array([[30.0, 20.0]])
    turned = EuclideanTransform(rotation=angle).params
    matrix = moved(turned, -20, -30)  # about the center
    matrix[:2, 2] += [4, -1.5]
    found = motion(matrix[None, None], center)
    assert {key: round(float(values[0, 0]), 9) for key, values in found.items()} == {
        "x": 4.0,
        "y": -1.5,
        "rotation": 2.5,
        "scale": 1.0,
    }


def test_scale_is_along_one_axis():
    matrix = np.diag([1.1, 1.1, 1.0])
    assert np.isclose(motion(matrix[None, None], np.zeros((1, 2)))["scale"], 1.1)


def test_panels_show_rotation_and_scale_only_where_there_are_any():
    shifts = identities(5, 2)
    shifts[..., 0, 2] = np.arange(10).reshape(5, 2)
    centers = np.zeros((2, 2))
    found = motion_panels(shifts, centers)
    assert list(found) == ["x, pixels", "y, pixels"]
    np.testing.assert_array_equal(found["x, pixels"]["block 2"], shifts[:, 1, 0, 2])
    assert list(motion_panels(affine(5, 2), centers)) == [*found, "rotation, °", "scale"]
