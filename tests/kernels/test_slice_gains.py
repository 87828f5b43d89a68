"""Jumps of brightness from lines between slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystack3d_dask.kernels.intensity.slice_gains import Pairs, _constants, slice_gains

MEAN, CONTRAST = 120.0, 40.0


def pairs_of(gain, offset, noise=1e-4, neighbors=3, seed=0):
    """Return the lines between slices of known gain and offset, with small errors."""
    rng = np.random.default_rng(seed)
    first, second = np.array(
        [(k, k + d) for d in range(1, neighbors + 1) for k in range(len(gain) - d)]
    ).T
    x = gain[first] * MEAN + offset[first]
    y = gain[second] * MEAN + offset[second]
    errors = rng.normal(0, noise, (2, len(first)))
    log_gain = np.log(gain[second] / gain[first]) + errors[0]
    return Pairs(first, second, log_gain, x, y + CONTRAST * errors[1], np.ones(len(first)))


def rms(*parts):
    """Return the root of the mean of the sum of squares."""
    return float(np.sqrt(np.mean(np.sum(np.square(parts), axis=0))))


def left(found, gain, offset):
    """Return gain and offset of corrected slices, over those of a common gray scale."""
    new_gain = found.scale * gain
    new_offset = found.scale * offset + found.offset
    scale = np.median(new_gain)
    return new_gain / scale, new_offset - np.median(new_offset)


@pytest.mark.parametrize("count", [8, 24, 100])
def test_jumps_of_all_slices_are_undone(count):
    before, after = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        gain, offset = rng.uniform(0.9, 1.1, count), rng.uniform(-10, 10, count)
        found = slice_gains(pairs_of(gain, offset, seed=seed), count, MEAN, CONTRAST)
        for sizes, (gains, offsets) in (
            (before, (gain, offset)),
            (after, left(found, gain, offset)),
        ):
            sizes.append(rms(CONTRAST * (gains - 1), (gains - 1) * MEAN + offsets))
    assert np.median(before) > 8
    assert np.median(after) < 0.1


@pytest.mark.parametrize("count", [4, 12, 100])
def test_without_jumps_nothing_is_done(count):
    still = np.ones(count)
    found = slice_gains(pairs_of(still, 0 * still, noise=5e-3), count, MEAN, CONTRAST)
    assert not found.undone.any()
    np.testing.assert_array_equal(found.scale, 1)
    np.testing.assert_array_equal(found.offset, 0)


def test_rare_jumps_are_undone_and_the_slices_between_left_alone():
    gain = np.ones(60)
    jumps = [0, 7, 8, 30, 59]
    gain[jumps] = 0.8
    found = slice_gains(pairs_of(gain, np.zeros(60)), 60, MEAN, CONTRAST)
    np.testing.assert_array_equal(np.flatnonzero(found.undone), jumps)
    np.testing.assert_allclose(found.scale[jumps], 1.25, rtol=2e-3)
    np.testing.assert_allclose(found.offset[jumps], 0, atol=0.3)


def test_a_slice_unlike_all_others_changes_none_of_them():
    gain, offset = np.ones(40), np.zeros(40)
    gain[[5, 21]] = 1.3
    pairs = pairs_of(gain, offset)
    alone = slice_gains(pairs, 40, MEAN, CONTRAST)
    touched = (pairs.first == 13) | (pairs.second == 13)
    wrong = pairs.log_gain + touched * np.random.default_rng(0).normal(0, 1, touched.size)
    spoilt = Pairs(pairs.first, pairs.second, wrong, pairs.center_x, pairs.center_y, pairs.spread)
    found = slice_gains(spoilt, 40, MEAN, CONTRAST)
    others = np.arange(40) != 13
    np.testing.assert_array_equal(found.undone[others], alone.undone[others])
    np.testing.assert_allclose(found.scale[others], alone.scale[others], atol=2e-3)


def test_a_slice_without_pairs_is_left_alone():
    gain = np.ones(30)
    gain[[4, 12]] = 0.7
    pairs = pairs_of(gain, np.zeros(30))
    kept = (pairs.first != 12) & (pairs.second != 12)
    fewer = Pairs(*(getattr(pairs, name)[kept] for name in Pairs.__dataclass_fields__))
    found = slice_gains(fewer, 30, MEAN, CONTRAST)
    assert np.flatnonzero(found.undone).tolist() == [4]
    assert np.isinf(found.error[12])


def test_slices_that_were_not_looked_at_do_not_matter():
    gain = np.ones(400)
    gain[[205, 209]] = 0.8
    pairs = pairs_of(gain, np.zeros(400))
    kept = (pairs.first >= 190) & (pairs.second < 215)
    some = Pairs(*(getattr(pairs, name)[kept] for name in Pairs.__dataclass_fields__))
    found = slice_gains(some, 400, MEAN, CONTRAST)
    assert np.flatnonzero(found.undone).tolist() == [205, 209]
    np.testing.assert_allclose(found.scale[[205, 209]], 1.25, rtol=2e-3)


def test_slow_changes_stay():
    gain = 1 + 0.2 * np.linspace(0, 1, 80)
    gain[40] *= 0.8
    found = slice_gains(pairs_of(gain, np.zeros(80)), 80, MEAN, CONTRAST)
    assert np.flatnonzero(found.undone).tolist() == [40]
    corrected = (found.scale * gain)[[0, 39, 40, 41, 79]]
    np.testing.assert_allclose(corrected, [1, 1.0987, 1.1013, 1.1038, 1.2], rtol=2e-3)


@given(values=st.lists(st.floats(-10, 10), min_size=2, max_size=12))
def test_the_median_of_the_others_leaves_a_slice_out(values):
    every, others = _constants(np.array(values))
    np.testing.assert_allclose(every, np.median(values))
    expected = [np.median(np.delete(values, k)) for k in range(len(values))]
    np.testing.assert_allclose(others, expected)
