"""One factor per slice, from the mean gray level of an area."""

from __future__ import annotations

import numpy as np
import pytest
from stack_tools import correct, fit, spec_of

from pystack3d_dask.corrections.intensity_rescaling_area import IntensityRescalingArea, area_factors

GAINS = np.array([1.0, 0.9, 1.1, 1.05, 0.6])
WIDE = (0.1, 10.0)


def stack(dtype="float32"):
    base = np.random.default_rng(0).uniform(80, 120, (20, 30))
    return (GAINS[:, np.newaxis, np.newaxis] * base).astype(dtype)


def test_factors_bring_every_slice_to_the_median():
    found = correct(IntensityRescalingArea(factors_range=WIDE), stack())
    means = found.mean(axis=(1, 2), dtype=float)
    np.testing.assert_allclose(means, means[0], rtol=1e-6)
    np.testing.assert_allclose(found[0], stack()[0], rtol=1e-6)


def test_factors_are_clipped():
    images = stack()
    factors = fit(IntensityRescalingArea(), images, spec_of(images))["factors"]
    np.testing.assert_allclose(factors, np.clip(1 / GAINS, 0.8, 1.2), rtol=1e-6)


def test_only_the_area_counts_from_the_bottom_left():
    images = np.full((3, 10, 12), 50, np.uint8)
    images[:, 7:9, 2:5] = np.array([10, 20, 30])[:, np.newaxis, np.newaxis]
    step = IntensityRescalingArea(area=(2, 5, 1, 3), factors_range=WIDE)
    found = fit(step, images, spec_of(images))
    np.testing.assert_array_equal(found["means"], [10, 20, 30])
    np.testing.assert_allclose(found["factors"], [2, 1, 2 / 3])
    np.testing.assert_allclose(correct(step, images)[0, 0, 0], 100)


def test_only_pixels_between_the_thresholds_are_averaged_but_all_are_multiplied():
    images = np.array([[[10, 20, 200]], [[20, 40, 5]], [[20, 40, 250]]], np.uint8)
    step = IntensityRescalingArea(threshold_min=10, threshold_max=40, factors_range=WIDE)
    np.testing.assert_allclose(fit(step, images, spec_of(images))["factors"], [2, 1, 1])
    np.testing.assert_allclose(correct(step, images)[0], [[20, 40, 400]])


def test_a_slice_without_a_pixel_in_range_keeps_one_and_does_not_count():
    images = np.array([[[10.0]], [[200.0]], [[20.0]], [[30.0]]], np.float32)
    step = IntensityRescalingArea(threshold_max=50, factors_range=WIDE)
    np.testing.assert_allclose(fit(step, images, spec_of(images))["factors"], [2, 1, 1, 2 / 3])


def test_without_any_pixel_in_range_nothing_changes():
    images = stack("uint8")
    found = correct(IntensityRescalingArea(threshold_min=250), images)
    np.testing.assert_array_equal(found, images)


def test_a_mean_of_zero_cannot_be_scaled():
    factors = area_factors(np.array([0.0, 2.0, 4.0]), np.array([True] * 3), WIDE)
    np.testing.assert_allclose(factors, [1, 1, 0.5])


@pytest.mark.parametrize("precision", ["float32", "source"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_values_are_truncated_in_precision_source_only(dtype, precision):
    images = stack(dtype)
    spec = spec_of(images, precision)
    factors = fit(IntensityRescalingArea(), images, spec)["factors"]
    expected = images * factors[:, np.newaxis, np.newaxis]
    found = correct(IntensityRescalingArea(), images, spec)
    if precision == "source":
        np.testing.assert_array_equal(found, np.trunc(expected))
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("factors_range", [(1.2, 0.8), (0.0, 1.0), (1e300, 1e301)])
def test_wrong_factors_are_named(factors_range):
    (problem,) = IntensityRescalingArea(factors_range=factors_range).check(spec_of(stack()))
    assert problem.path == "intensity_rescaling_area.factors_range"
