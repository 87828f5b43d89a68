"""Thresholds judge values as integers of the acquisition would be judged, in every precision."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from stack_tools import correct, fit, spec_of

from pystack3d_dask.corrections.bkg_removal import BackgroundRemoval
from pystack3d_dask.corrections.intensity_rescaling_area import IntensityRescalingArea
from pystack3d_dask.corrections.registration_calculation import RegistrationCalculation
from pystack3d_dask.kernels.casting import cast
from pystack3d_dask.kernels.intensity.masks import limits, within

THRESHOLDS = st.none() | st.floats(-70_000, 70_000) | st.integers(-300, 300)
TYPES = st.sampled_from(["uint8", "int8", "uint16", "int16"])


@given(TYPES, THRESHOLDS, THRESHOLDS, st.lists(st.floats(-70_000, 70_000, width=32)))
def test_reals_pass_if_what_they_become_in_the_type_of_the_acquisition_does(
    dtype, low, high, found
):
    steps = np.arange(-3, 3.25, 0.25)
    near = [each + step for each in (low, high, 0) if each is not None for step in steps]
    values = np.array([*found, *near], np.float32).reshape(1, -1)
    truncated = cast(values, np.dtype(dtype), "source").astype(np.float64)
    expected = np.ones(values.shape, bool)
    if low is not None:
        expected &= truncated >= low
    if high is not None:
        expected &= truncated <= high
    mask = within(values, *limits(low, high, np.dtype(dtype)))
    np.testing.assert_array_equal(True if mask is None else mask, expected)


@given(st.floats(-1e30, 1e30))
def test_a_float_at_a_threshold_passes(level):
    values = np.array([[np.float32(level)]])
    mask = within(values, *limits(level, level, values.dtype))
    assert np.all(mask)


def test_without_thresholds_nothing_is_masked():
    values = np.ones((1, 2, 2), np.float32)
    assert within(values[0], *limits(None, None, values.dtype)) is None


def test_fractions_that_truncation_drops_move_no_pixel_across_a_threshold():
    images = np.random.default_rng(3).integers(40, 80, (3, 30, 40)).astype(np.uint8)
    spec = spec_of(images).computed()
    values = images + np.float32(0.4)  # what an earlier step leaves: real numbers
    below = images <= 60
    background = BackgroundRemoval(orders=(1, 1), skip_factors=(2, 2), threshold_max=60)
    changed = correct(background, values, spec) != values
    inner = np.s_[:, 1:, 1:]  # the background is 0 in the corner
    np.testing.assert_array_equal(changed[inner], below[inner])
    means = fit(IntensityRescalingArea(threshold_max=60), values, spec)["means"]
    expected = [image[mask].mean() for image, mask in zip(values, below, strict=True)]
    np.testing.assert_allclose(means, expected, rtol=1e-6)
    registration = RegistrationCalculation(transformation="TRANSLATION", threshold=60)
    found = fit(registration, values, spec)["foreground"][:, 0]
    np.testing.assert_allclose(found, below.mean(axis=(1, 2)))
