"""The score: blind to gain and offset, and to where the result was cropped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pystack3d_dask.demo import VOXEL_SIZE, DemoStack, Score, score, score_result, shift_error
from pystack3d_dask.errors import ParameterError

STACK = DemoStack(shape=(6, 80, 72), shift=2)
ROWS, COLUMNS = STACK.view


def truth_from(top: int, left: int, rows: int, columns: int) -> np.ndarray:
    view = slice(top, top + rows), slice(left, left + columns)
    return np.stack(list(STACK.truth(view=view)))


@given(gain=st.floats(0.1, 10), offset=st.floats(-1000, 1000))
def test_score_ignores_gain_and_offset(gain, offset):
    stack = replace(STACK, shape=(3, 64, 64))
    uncorrected, truth = list(stack.uncorrected()), list(stack.truth(stack.z))
    found = score((gain * image + offset for image in uncorrected), truth)
    expected = score(uncorrected, truth)
    assert found.rmse == pytest.approx(expected.rmse, rel=1e-6)
    assert found.jumps == pytest.approx(expected.jumps, rel=1e-6)
    assert score((gain * image + offset for image in truth), truth).rmse < 1e-3


def test_score_of_the_truth_is_zero():
    itself = score(STACK.truth(), STACK.truth())
    assert itself.rmse == pytest.approx(0, abs=1e-4)
    assert itself.jumps == pytest.approx(0, abs=1e-9)


def test_score_is_in_gray_levels_of_the_truth():
    rng = np.random.default_rng(0)
    truth = rng.normal(100, 20, (4, 64, 64))
    noise = rng.normal(0, 3, truth.shape)
    found = score(truth + noise, truth)
    # The best gain shrinks noise a little, as Wiener's does.
    assert found.rmse == pytest.approx(3 / np.hypot(1, 3 / 20), rel=0.05)
    assert found.jumps < 0.5


def test_score_of_one_constant_slice_is_the_spread_of_the_truth():
    truth = STACK.specimen(0.0)
    found = score([np.full_like(truth, 7)], [truth])
    assert found == Score(rmse=pytest.approx(truth.std(), rel=1e-4), jumps=0)


def test_score_refuses_stacks_of_different_length():
    with pytest.raises(ValueError, match="argument"):
        score([STACK.specimen(0.0)], STACK.truth())


@pytest.mark.parametrize(
    "corner", [(ROWS.start + 3, COLUMNS.start + 5), (ROWS.start - 4, COLUMNS.start + 1), (0, 0)]
)
def test_plain_arrays_are_compared_where_their_origin_says(corner):
    found = score_result(2.0 * truth_from(*corner, 50, 45) - 7, STACK, origin=corner)
    assert found.rmse < 1e-3
    elsewhere = corner[0] + 1, corner[1] + 2
    assert score_result(truth_from(*corner, 50, 45), STACK, origin=elsewhere).rmse > 3


def test_results_are_compared_where_their_coordinates_say():
    z = [0.004, 0.031]
    top, left = ROWS.start + 2, COLUMNS.start + 3
    view = slice(top, top + 40), slice(left, left + 41)
    image = np.stack(list(STACK.truth(z, view)))
    micrometer = {"units": "micrometer"}
    result = xr.DataArray(
        image,
        dims=("z", "y", "x"),
        coords={
            "z": ("z", z, micrometer),
            "y": ("y", VOXEL_SIZE * np.arange(top, top + 40), micrometer),
            "x": ("x", VOXEL_SIZE * np.arange(left, left + 41), micrometer),
        },
    )
    assert score_result(result, STACK).rmse < 1e-3
    assert score_result(result, STACK, z=[0.008, 0.035]).rmse > 1
    assert score_result(image, STACK, origin=(top, left), z=z).rmse < 1e-3


def test_results_that_show_nothing_of_the_truth_are_refused():
    with pytest.raises(ParameterError, match=r"origin: found \(500, 0\), expected a result that"):
        score_result(truth_from(0, 0, 40, 40), STACK, origin=(500, 0))
    with pytest.raises(ParameterError, match="a slice or more expected, found none"):
        score_result([], STACK)


def test_shift_error_is_the_root_mean_square_distance():
    true = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, -1.0]])
    assert shift_error(true, true) == 0
    apart = np.array([[0, 0], [3, 4], [0, 0]])
    assert shift_error(true + apart, true) == pytest.approx(5 / np.sqrt(3))
