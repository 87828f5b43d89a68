"""Stripe removal in wavelet space, against PyWavelets level by level."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pystack3d_dask.kernels.destriping.wavelets import WaveletDecomposition, remove_stripes


def textured(shape, seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return (120 + 20 * noise / noise.std()).astype(np.float32)


def expected(image, wavelet, level, sigma):
    """Return the result of the paper's section 2, one level within the other."""
    if not level:
        return image
    approximation, (horizontal, vertical, diagonal) = pywt.dwt2(image, wavelet)
    inner = expected(approximation, wavelet, level - 1, sigma)
    frequency = np.fft.fftfreq(vertical.shape[0]) * vertical.shape[0]
    gain = 1 - np.exp(-(frequency**2) / (2 * sigma**2))
    damped = np.fft.ifft(gain[:, np.newaxis] * np.fft.fft(vertical, axis=0), axis=0).real
    whole = pywt.idwt2((inner, (horizontal, damped, diagonal)), wavelet)
    return whole[: image.shape[0], : image.shape[1]]


@pytest.mark.parametrize("wavelet", ["haar", "db2", "db5", "coif1", "bior2.2"])
@pytest.mark.parametrize("shape", [(64, 80), (63, 81), (61, 48), (50, 77)], ids=str)
def test_every_level_is_damped_along_the_stripes(wavelet, shape):
    image = textured(shape).astype(np.float64)
    how = WaveletDecomposition(wavelet=wavelet, level=2, sigma=3.0)
    found = remove_stripes(image, how)
    np.testing.assert_allclose(found, expected(image, wavelet, 2, 3.0), atol=1e-9)


@settings(deadline=None)
@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    wavelet=st.sampled_from(["haar", "db3", "coif2"]),
    level=st.none() | st.integers(1, 9),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_size_and_type_stay_whatever_they_are(rows, columns, wavelet, level, dtype):
    image = np.random.default_rng(0).uniform(0, 255, (rows, columns)).astype(dtype)
    how = WaveletDecomposition(wavelet=wavelet, level=level, sigma=2.0)
    found = remove_stripes(image, how)
    assert found.shape == image.shape
    assert found.dtype == dtype
    assert np.isfinite(found).all()


def test_levels_are_as_many_as_are_of_use():
    largest = pywt.dwt_max_level(60, pywt.Wavelet("db2").dec_len)
    assert largest > 2
    for level, used in [(None, largest), (2, 2), (9, 9)]:
        how = WaveletDecomposition(wavelet="db2", level=level, sigma=1.0)
        assert how.levels((60, 200)) == how.levels((200, 60)) == used
    assert WaveletDecomposition(wavelet="db25", sigma=1.0).levels((60, 200)) == 0


def test_an_image_too_small_for_the_wavelet_stays_as_it_is():
    image = textured((20, 20))
    how = WaveletDecomposition(wavelet="db25", sigma=1.0)
    np.testing.assert_array_equal(remove_stripes(image, how), image)


@pytest.mark.parametrize("shape", [(128, 128), (127, 129)])
def test_stripes_along_y_go_others_stay(shape):
    clean = textured(shape)
    stripes = np.random.default_rng(1).normal(0, 10, shape[1]).astype(np.float32)
    how = WaveletDecomposition(wavelet="db5", sigma=2.0)
    found = remove_stripes(clean + stripes, how)
    jumps = np.abs(np.diff((found - clean).mean(axis=0)))
    assert jumps.mean() < 0.2 * np.abs(np.diff(stripes)).mean()
    across = remove_stripes(np.ascontiguousarray((clean + stripes).T), how).T
    np.testing.assert_allclose(
        np.diff((across - clean).mean(axis=0)), np.diff(stripes), atol=0.15 * stripes.std()
    )


def test_a_narrow_damping_takes_the_mean_along_y_only():
    image = textured((64, 64)).astype(np.float64)
    found = remove_stripes(image, WaveletDecomposition(wavelet="haar", level=1, sigma=1e-3))
    removed = image - found
    np.testing.assert_allclose(removed, np.broadcast_to(removed[:1], removed.shape), atol=1e-9)
    assert removed.std() > 0.1


def test_the_input_is_left_alone():
    image = textured((33, 40))
    image.flags.writeable = False
    before = image.copy()
    remove_stripes(image, WaveletDecomposition(wavelet="db2", sigma=1.0))
    np.testing.assert_array_equal(image, before)
