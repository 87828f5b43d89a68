"""Weights of slices: exact for what a scheme can follow, at even and uneven distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from pystack3d_dask.corrections.positions import neighbors
from pystack3d_dask.kernels.registration.interpolation import LANCZOS3, SCHEMES, weigh
from pystack3d_dask.kernels.slice_weights import slice_weights

every_scheme = pytest.mark.parametrize("scheme", SCHEMES)
uneven = st.lists(st.integers(1, 9), min_size=1, max_size=30).map(lambda g: np.cumsum([5, *g]) / 10)
EVEN = np.arange(12.0)


def applied(values, positions, z, scheme):
    """Return values at other positions."""
    first, weights = slice_weights(positions, *neighbors(positions, z), scheme)
    padded = np.append(values, np.zeros(weights.shape[1]))
    return np.array([w @ padded[k : k + len(w)] for k, w in zip(first, weights, strict=True)])


def between(positions, count=50):
    return np.linspace(positions[0], positions[-1], count)


@every_scheme
@given(positions=uneven)
def test_what_is_constant_stays(scheme, positions):
    found = applied(np.full(len(positions), 7.0), positions, between(positions), scheme)
    np.testing.assert_allclose(found, 7)


@every_scheme
@given(positions=uneven)
def test_slices_are_copied(scheme, positions):
    values = np.random.default_rng(0).normal(size=len(positions))
    np.testing.assert_array_equal(applied(values, positions, positions, scheme), values)


@pytest.mark.parametrize("scheme", ["linear", "catmull-rom", "cubic"])
@given(positions=uneven)
def test_ramps_are_kept(scheme, positions):
    z = between(positions)
    np.testing.assert_allclose(applied(3 * positions - 1, positions, z, scheme), 3 * z - 1)


def test_catmull_rom_keeps_parabolas_away_from_the_ends():
    z = np.linspace(1, 10, 40)
    np.testing.assert_allclose(applied(EVEN**2, EVEN, z, "catmull-rom"), z**2)


@every_scheme
@given(gaps=st.lists(st.floats(1e-6, 10), min_size=1, max_size=20))
def test_noise_is_not_multiplied_however_uneven_slices_are(scheme, gaps):
    positions = np.cumsum([0, *gaps])
    z = between(positions)
    _, weights = slice_weights(positions, *neighbors(positions, z), scheme)
    assert np.square(weights).sum(axis=1).max() < 1.2


def test_catmull_rom_of_even_slices_is_the_scheme_of_that_name():
    _, weights = slice_weights(EVEN, *neighbors(EVEN, np.array([5.25])), "catmull-rom")
    np.testing.assert_allclose(weights[0], [-9 / 128, 111 / 128, 29 / 128, -3 / 128])


def test_cubic_is_nearly_the_spline_through_all_slices():
    positions = np.arange(30) + np.random.default_rng(0).uniform(-0.05, 0.05, 30)
    values = np.random.default_rng(0).normal(size=len(positions))
    z = between(positions)[4:-4]
    found = applied(values, positions, z, "cubic")
    np.testing.assert_allclose(found, CubicSpline(positions, values)(z), atol=0.01)


def test_lanczos_of_even_slices_is_that_between_pixels():
    _, weights = slice_weights(EVEN, *neighbors(EVEN, np.array([5.25])), "lanczos3")
    expected = np.empty(6)
    weigh(LANCZOS3, 0.25, expected)
    np.testing.assert_allclose(weights[0], expected)


def test_the_nearest_slice_is_taken_and_of_two_the_lower():
    z = np.array([0.4, 0.5, 0.6, 10.9])
    np.testing.assert_array_equal(applied(EVEN, EVEN, z, "whole"), [0, 0, 1, 11])


def thinned(values, positions, spacing, scheme="catmull-rom"):
    """Return positions that lie further apart, and the values there."""
    z = np.arange(positions[0], positions[-1], spacing)
    wide = np.full(len(z), spacing)
    first, weights = slice_weights(positions, *neighbors(positions, z), scheme, wide)
    padded = np.append(values, np.zeros(weights.shape[1]))
    return z, np.array([w @ padded[k : k + len(w)] for k, w in zip(first, weights, strict=True)])


@every_scheme
@given(positions=uneven, spacing=st.floats(0.05, 3))
def test_what_changes_evenly_stays_in_its_place_however_few_slices_are_made(
    scheme, positions, spacing
):
    z, found = thinned(np.full(len(positions), 7.0), positions, spacing, scheme)
    np.testing.assert_allclose(found, 7)
    if scheme in ("linear", "catmull-rom", "cubic"):
        z, found = thinned(3 * positions - 1, positions, spacing, scheme)
        np.testing.assert_allclose(found, 3 * z - 1, rtol=1e-6, atol=1e-6)


def test_what_changes_from_slice_to_slice_does_not_come_out_as_slow():
    positions = np.arange(400.0)
    alternating = np.cos(0.9 * np.pi * positions)
    z, found = thinned(alternating, positions, 4.0)
    passed_over = applied(alternating, positions, z, "catmull-rom")
    assert passed_over.std() > 0.5
    assert found[1:-1].std() < 0.02


def test_noise_falls_with_the_number_of_slices_that_count():
    positions = np.arange(4000.0)
    noise = np.random.default_rng(0).normal(size=len(positions))
    for spacing, expected in ((2.0, 3 / 8), (4.0, 11 / 64)):  # sum of squared weights
        _, found = thinned(noise, positions, spacing)
        assert found.var() == pytest.approx(expected, rel=0.15)


@every_scheme
@given(positions=uneven)
def test_slices_that_are_as_close_as_those_made_are_interpolated(scheme, positions):
    z = between(positions, 400)
    narrow = np.full(len(z), 0.05)
    some = slice_weights(positions, *neighbors(positions, z), scheme)
    others = slice_weights(positions, *neighbors(positions, z), scheme, narrow)
    np.testing.assert_array_equal(others.weights, some.weights)
    np.testing.assert_array_equal(others.first, some.first)
