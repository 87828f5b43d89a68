"""Frequencies of stripes, and of what is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystack3d_dask.kernels.destriping.stripe_frequencies import (
    Frequencies,
    frequencies_of,
    image_of,
    spectrum_of,
)


def image(shape=(60, 72)):
    """Return an image whose edges differ."""
    y, x = np.indices(shape)
    return (0.5 * y + x + np.random.default_rng(0).normal(0, 5, shape)).astype(np.float32)


@given(rows=st.integers(2, 90), columns=st.integers(2, 90))
def test_a_slice_has_a_spectrum_from_which_it_comes_back(rows, columns):
    given = image((rows, columns))
    frequencies = Frequencies(given.shape)
    spectrum = spectrum_of(given, frequencies)
    assert spectrum.shape == frequencies.spectrum
    assert spectrum.dtype == np.complex64
    np.testing.assert_allclose(image_of(spectrum, frequencies), given - given.mean(), atol=1e-3)


def test_edges_make_no_stripes():
    slope = np.indices((120, 130))[1].astype(np.float32)
    frequencies = frequencies_of(slope.shape)
    power = np.abs(spectrum_of(slope, frequencies)) ** 2
    plain = np.abs(np.fft.rfft2(slope)) ** 2
    high = slice(20, None)
    assert power[0, high].sum() < 5e-3 * plain[0, high].sum()


@pytest.mark.parametrize("lean", [0, 5, -15])
def test_stripes_lie_in_the_wedge(lean):
    y, x = np.indices((200, 220))
    wave = np.cos(2 * np.pi * (x - y * np.tan(np.deg2rad(lean))) / 9).astype(np.float32)
    frequencies = frequencies_of(wave.shape)
    power = np.abs(spectrum_of(wave, frequencies)).ravel() ** 2
    assert power[frequencies.wedge.places].sum() > 0.9 * power.sum()


def test_unstriped_frequencies_are_none_of_stripes():
    frequencies = frequencies_of((200, 220))
    wedge, rings = frequencies.wedge, frequencies.rings
    low = frequencies.spectrum[1] * 8
    shared = set(wedge.places.tolist()) & set(rings.places.tolist())
    assert len(shared) < low
    assert 0 not in wedge.places
    assert 0 not in rings.places


def test_groups_are_means():
    frequencies = frequencies_of((64, 80))
    values = np.random.default_rng(0).normal(size=frequencies.spectrum)
    for bins in (frequencies.wedge, frequencies.rings):
        found = bins.mean(values)
        group = int(bins.groups[len(bins.groups) // 2])
        mine = bins.places[bins.groups == group]
        assert found[group] == pytest.approx(values.ravel()[mine].mean())
        assert bins.counts[group] == len(mine)


def test_equal_values_are_smooth():
    frequencies = frequencies_of((64, 80))
    ones = np.ones(len(frequencies.wedge.counts))
    np.testing.assert_allclose(frequencies.smooth(3 * ones), 3)


def test_phases_move_a_periodic_slice():
    frequencies = frequencies_of((64, 80))
    spectrum = np.fft.rfft2(np.random.default_rng(0).normal(size=frequencies.extended))
    moved = np.fft.rfft2(
        np.roll(np.fft.irfft2(spectrum, s=frequencies.extended), (3, -5), axis=(0, 1))
    )
    places = np.arange(spectrum.size)
    phases = frequencies.phases(places, np.array([3, -5]))
    np.testing.assert_allclose(spectrum.ravel() * phases, moved.ravel(), atol=2e-3)
