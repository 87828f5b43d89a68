"""Dither: rounding is fair on average, leaves whole numbers alone, and depends on places only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystack3d_dask.kernels.dither import dithered, dithered_on_arrays

SHAPE = (200, 240)
types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@types
@pytest.mark.parametrize("value", [0.5, 3.25, 100.9, -7.1])
def test_means_are_exact(value, dtype):
    rounded = np.rint(dithered(np.full(SHAPE, value, dtype), 3, (0, 0)))
    assert set(np.unique(rounded)) == {np.floor(value), np.floor(value) + 1}
    assert rounded.mean() == pytest.approx(value, abs=0.01)


@types
def test_whole_numbers_stay(dtype):
    image = np.arange(2**16, dtype=dtype).reshape(256, 256)
    np.testing.assert_array_equal(np.rint(dithered(image, 9, (5, 7))), image)


@given(z=st.integers(0, 10**6), top=st.integers(0, 190), left=st.integers(0, 230))
def test_noise_belongs_to_a_place(z, top, left):
    image = np.zeros(SHAPE, np.float32)
    whole = dithered(image, z, (100, 1000))
    part = dithered(image[top:, left:], z, (100 + top, 1000 + left))
    np.testing.assert_array_equal(part, whole[top:, left:])


@types
@given(z=st.integers(0, 10**6), top=st.integers(0, 10**5))
def test_arrays_give_the_same(dtype, z, top):
    image = np.linspace(0, 255, 600, dtype=dtype).reshape(20, 30)
    np.testing.assert_array_equal(
        dithered_on_arrays(image, z, (top, 3)), dithered(image, z, (top, 3))
    )


def test_noise_has_no_pattern():
    noise = dithered(np.zeros(SHAPE), 0, (0, 0))
    for other in (noise[1:], noise[:, 1:], dithered(np.zeros(SHAPE), 1, (0, 0))):
        rows, columns = other.shape
        same = np.corrcoef(noise[:rows, :columns].ravel(), other.ravel())[0, 1]
        assert abs(same) < 0.02
    power = np.abs(np.fft.rfft2(noise - noise.mean())) ** 2
    assert power.max() < 20 * power.mean()
    assert noise.var() == pytest.approx(1 / 12, rel=0.03)
