"""Gamma of slices, from how lines between them are bent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystack3d_dask.kernels.intensity.pair_lines import pair_line
from pystack3d_dask.kernels.intensity.slice_gains import Pairs
from pystack3d_dask.kernels.intensity.slice_gammas import as_before, slice_gammas, straightened


def image(seed=0):
    """Return a slice of many gray levels, each in flat places."""
    levels = np.random.default_rng(seed).uniform(40, 200, (12, 12))
    return np.kron(levels, np.ones((10, 10))).astype(np.float32)


def bent(levels, gamma):
    """Return gray levels that a gamma has changed, between 0 and 255."""
    return (255 * (levels / 255) ** gamma).astype(np.float32)


def pairs_of(gammas, neighbors=3, noise=0.5):
    """Return the lines between slices of known gamma, and how these are bent."""
    rng = np.random.default_rng(1)
    slices = [bent(image(), each) for each in gammas]
    slices = [each + rng.normal(0, noise, each.shape).astype(np.float32) for each in slices]
    first, second = np.array(
        [(k, k + d) for d in range(1, neighbors + 1) for k in range(len(gammas) - d)]
    ).T
    lines = [pair_line(slices[i], slices[k]) for i, k in zip(first, second, strict=True)]
    log_gain, x, y, spread, bend = np.array(lines).T
    return Pairs(first, second, log_gain, x, y, spread), bend


def found_in(gammas):
    """Return what is found of slices of known gamma."""
    contrast, mean = float(image().std()), float(image().mean())
    return slice_gammas(*pairs_of(gammas), len(gammas), len(gammas), mean, contrast)


def test_gammas_that_jump_are_found():
    gammas = np.random.default_rng(3).choice([0.85, 1.0, 1.15], 16)
    gammas[8:] = 1
    np.testing.assert_allclose(found_in(gammas), gammas, atol=0.06)


def test_none_is_found_where_lines_are_straight():
    np.testing.assert_array_equal(found_in(np.ones(16)), 1)


def test_none_is_found_where_the_mean_is_no_brightness():
    pairs, bends = pairs_of(np.ones(6))
    np.testing.assert_array_equal(slice_gammas(pairs, bends, 6, 6, -20.0, 40.0), 1)


def test_a_line_is_bent_the_other_way_from_the_other_side():
    one, other = image(), bent(image(), 1.2)
    there, back = pair_line(one, other).bend, pair_line(other, one).bend
    assert there > 0.02
    assert there == pytest.approx(-back, rel=0.02)


@given(gamma=st.floats(0.4, 2.5), mean=st.floats(10, 1000))
def test_undone_levels_stand_in_the_same_order_and_black_stays(gamma, mean):
    levels = np.linspace(-20, 255, 80)
    found = straightened(levels, gamma, mean)
    assert (np.diff(found) > 0).all()
    np.testing.assert_array_equal(found[levels <= 0], levels[levels <= 0])
    assert straightened(np.array([mean]), gamma, mean) == pytest.approx([mean])


def test_what_is_undone_is_what_was_done():
    levels = np.linspace(1, 250, 50)
    there = straightened(levels, 1.3, 120.0)
    np.testing.assert_allclose(straightened(there, 1 / 1.3, 120.0), levels, rtol=1e-12)


def test_scaled_levels_have_the_mean_and_contrast_of_others():
    values, others = np.random.default_rng(0).normal(100, 20, (2, 500))
    scale, offset = as_before(values, others)
    found = scale * values + offset
    assert (found.mean(), found.std()) == pytest.approx((others.mean(), others.std()))
    assert as_before(np.full(5, 3.0), np.arange(5.0)) == (1.0, 0.0)
