"""Histograms, and the sample that they are made of."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import textured
from counting import CountingArray
from skimage.exposure import cumulative_distribution

from pystack3d_dask.explore.gray import histogram_of, ordinal, sample
from pystack3d_dask.explore.volume import as_volume


def test_a_sample_is_what_it_says_and_loads_no_more():
    values = textured((50, 40, 60))
    counting = CountingArray(values)
    found = sample(as_volume(counting), slices=7, pixels=1500)
    assert found.slices == range(0, 50, 8)
    assert found.step == 4
    np.testing.assert_array_equal(found.values, values[::8, ::4, ::4])
    assert counting.loaded == found.values.size
    assert str(found) == "7 of 50 slices, every 4th row and column: 0.88 % of 120000 voxels"


def test_a_small_stack_is_counted_whole():
    found = sample(as_volume(textured((5, 20, 30))))
    assert str(found) == "5 of 5 slices: all of 3000 voxels"


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_counts_and_shares_are_those_of_scikit_image(dtype):
    values = textured((5, 20, 30)).astype(dtype)
    found = histogram_of(values)
    cumulative, centers = cumulative_distribution(values, nbins=256)
    np.testing.assert_allclose(found.cumulative, cumulative)
    np.testing.assert_allclose((found.edges[1:] + found.edges[:-1]) / 2, centers, rtol=1e-6)
    assert found.shares.sum() == pytest.approx(1)


def test_bins_of_integers_hold_equally_many_levels():
    values = np.arange(1000, 5001, dtype=np.uint16)
    found = histogram_of(values)
    assert set(np.diff(found.edges)) == {16}
    assert set(found.counts[:-1].tolist()) == {16}
    assert found.counts.sum() == values.size
    assert len(found.counts) <= 256


def test_levels_beyond_given_limits_are_left_out():
    found = histogram_of(np.array([0, 5, 6, 9], np.uint8), limits=(5, 8))
    np.testing.assert_array_equal(found.counts, [1, 1, 0, 0])


@pytest.mark.parametrize("values", [np.full(4, 7, np.uint8), np.full(4, 0.7), np.full(4, np.nan)])
def test_a_single_level_or_none_makes_a_histogram(values):
    found = histogram_of(values)
    assert found.counts.sum() == np.isfinite(values).sum()
    assert np.all(np.diff(found.edges) > 0)


def test_numbers_are_ordinal():
    found = [ordinal(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 102, 112)]
    assert found == ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "112th"]
