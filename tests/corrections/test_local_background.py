"""The local background: a masked mean over a window around each pixel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stack_tools import correct, spec_of

from pystack3d_dask.core.spec import Region
from pystack3d_dask.corrections.bkg_removal import BackgroundRemoval
from pystack3d_dask.corrections.local_background import SIGMAS_PER_WINDOW

SHAPE = (9, 40, 50)


def local(size, **parameters):
    return BackgroundRemoval(method="local", size=size, **parameters)


def smooth_background(shape=SHAPE):
    z, y, x = np.ogrid[tuple(slice(0, 1, n * 1j) for n in shape)]
    return 20 * np.sin(2.5 * x + y) + 15 * np.cos(2 * y - z) + 10 * z


def test_a_smooth_background_is_removed_although_bright_objects_are_there():
    rng = np.random.default_rng(0)
    background = smooth_background()
    objects = rng.random(SHAPE) < 0.2
    images = (100 + background + 800 * objects).astype(np.float32)
    found = correct(local((12, 12, 3), threshold_max=400), images)
    flat = found[~objects]
    inside = np.zeros(SHAPE, bool)
    inside[2:-2, 6:-6, 6:-6] = True
    assert np.ptp(background) > 40
    assert np.ptp(flat) < 0.25 * np.ptp(background)
    assert found[inside & ~objects].std() < 0.04 * background.std()
    # the mean of what counts is kept
    assert flat.mean() == pytest.approx((100 + background)[~objects].mean(), abs=0.5)


def test_masked_pixels_stay_as_they_are():
    images = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    found = correct(local((9, 9, 3), threshold_min=60, threshold_max=200), images)
    masked = (images < 60) | (images > 200)
    np.testing.assert_array_equal(found[masked], images[masked])
    assert np.any(found[~masked] != images[~masked])


def test_masked_pixels_are_corrected_on_request_where_others_lie_in_their_window():
    background = smooth_background()
    images = (100 + background).astype(np.float32)
    images[:, 10:14, 10:14] = 900 + background[:, 10:14, 10:14]  # within the window of others
    images[:, :, 30:] = 900
    window = {"size": (12, 12, 3), "threshold_max": 400}
    kept = correct(local(**window), images)
    found = correct(local(**window, outside="correct"), images)
    object_ = found[2:-2, 10:14, 10:14]
    assert object_.std() < 0.2 * images[2:-2, 10:14, 10:14].std()
    np.testing.assert_array_equal(found[images < 400], kept[images < 400])
    np.testing.assert_array_equal(found[:, :, 37:], 900)  # nothing to judge by


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_constant_stack_stays_the_same(dtype):
    images = np.full(SHAPE, 117, dtype)
    np.testing.assert_allclose(correct(local((20, 16, 4)), images), images, rtol=1e-6)


def test_a_stack_that_is_masked_entirely_stays_the_same():
    images = np.full(SHAPE, 117, np.uint8)
    np.testing.assert_array_equal(correct(local((9, 9, 3), threshold_min=200), images), images)


def test_a_window_far_beyond_the_stack_is_one_over_all_of_it():
    images = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    flat = correct(local((1e12, 1e9, 1e300)), images)
    np.testing.assert_allclose(flat, images, atol=1)


def test_a_window_in_micrometers_is_the_one_in_pixels():
    images = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    z = tuple(0.05 * k for k in range(SHAPE[0]))
    spec = spec_of(images, z=z, pixel_size=(0.02, 0.01))
    pixels = correct(local((24, 12, 5)), images, spec)
    micrometers = correct(local((0.24, 0.24, 0.25), size_unit="um"), images, spec)
    np.testing.assert_allclose(micrometers, pixels, atol=1e-3)


def brute_force(images, size, low, high):
    """Return the Gaussian-weighted mean of the pixels that count within the window."""
    images = images.astype(float)
    counts = (images >= low) & (images <= high)
    mean = np.zeros(images.shape)
    sx, sy, sz = size
    for index in np.ndindex(images.shape):
        distances = np.meshgrid(
            *(np.arange(n) - i for n, i in zip(images.shape, index, strict=True)), indexing="ij"
        )
        weights = counts.astype(float)
        for d, width in zip(distances, (sz, sy, sx), strict=True):
            weights *= np.exp(-0.5 * (d * SIGMAS_PER_WINDOW / width) ** 2)
            weights *= np.abs(d) <= int(width / 2)
        if weights.any():
            mean[index] = np.sum(weights * images) / weights.sum()
    level = images[counts].mean()
    return np.where(counts, images - mean + level, images)


@pytest.mark.parametrize("size", [(5, 7, 3), (3, 4, 1), (6.5, 5, 4)])
@pytest.mark.parametrize("limits", [(-np.inf, np.inf), (60, 210)])
def test_with_cells_of_one_pixel_it_is_the_weighted_mean(size, limits):
    images = np.random.default_rng(0).integers(0, 255, (5, 9, 11)).astype(np.uint8)
    low, high = (None if np.isinf(limit) else limit for limit in limits)
    found = correct(local(size, threshold_min=low, threshold_max=high), images)
    np.testing.assert_allclose(found, brute_force(images, size, *limits), atol=1e-3)


@settings(deadline=None, max_examples=40)
@given(data=st.data(), size=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 6)))
def test_tiles_give_what_the_whole_stack_gives(data, size):
    shape = (5, 22, 27)
    images = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    step = local(size, threshold_min=40)
    cuts = [sorted({0, n, *data.draw(st.sets(st.integers(1, n - 1), max_size=2))}) for n in shape]
    z, y, x = ([*itertools.pairwise(cut)] for cut in cuts)
    tiles = [Region((a, c, e), (b, d, f)) for a, b in z for c, d in y for e, f in x]
    np.testing.assert_array_equal(correct(step, images, blocks=tiles), correct(step, images))
