"""Gaps between gray levels: counted among those in use, and only where that can be told."""

from __future__ import annotations

import numpy as np
import pytest

from pystack3d_dask.engine.empty_levels import empty_levels

RNG = np.random.default_rng(0)


def share(image):
    return float(empty_levels(image)["empty_levels"])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize(("every", "expected"), [(1, 0), (2, 1 / 2), (4, 3 / 4)])
def test_levels_between_those_in_use_are_counted(dtype, every, expected):
    image = (RNG.integers(0, 120 // every, (100, 120)) * every).astype(dtype)
    image[0, 0] = 125  # a single pixel: those below are not in use
    assert share(image) == pytest.approx(expected, abs=0.03)


def test_of_large_slices_some_rows_are_looked_at():
    image = RNG.integers(0, 60, (1500, 1600)).astype(np.uint8) * 3
    assert share(image) == pytest.approx(2 / 3, abs=0.02)


def test_levels_between_two_materials_are_no_gaps():
    levels = np.concatenate([RNG.normal(place, 6, 10**5) for place in (60, 200)])
    assert share(np.rint(levels).astype(np.uint8).reshape(400, 500)) == 0


def test_12_bits_in_16_are_spread():
    image = RNG.integers(0, 4096, (2000, 2000)).astype(np.uint16) * 16
    assert share(image) == pytest.approx(15 / 16, abs=0.01)


def test_few_pixels_tell_nothing():
    assert np.isnan(share(RNG.integers(0, 60_000, (100, 100)).astype(np.uint16)))


def test_a_constant_slice_tells_nothing():
    assert np.isnan(share(np.full((30, 40), 7, np.uint8)))


@pytest.mark.parametrize("dtype", ["float32", "uint32"])
def test_other_types_are_left_out(dtype):
    assert empty_levels(np.ones((9, 9), dtype)) == {}
