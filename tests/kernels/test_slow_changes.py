"""A slow change is undone only where dark and bright parts change together."""

from __future__ import annotations

import numpy as np
import pytest

from pystack3d_dask.kernels.intensity.slow_changes import (
    Line,
    Parts,
    middle_level,
    parts_of,
    slow_change,
)

COUNT, CONTRAST = 40, 45.0
DARK, BRIGHT = 60.0, 150.0
WAVE = np.sin(np.linspace(0, 5, COUNT))


def constant(level):
    return np.full(COUNT, level)


def noisy(*parts, noise=0.4, seed=0):
    rng = np.random.default_rng(seed)
    return Parts(*(each + rng.normal(0, noise, COUNT) for each in parts))


def change(dark, bright, noise=0.4):
    """Return the slow change of parts that pairs say nothing of."""
    usual = Parts(constant(DARK), constant(BRIGHT))
    return slow_change(noisy(dark, bright, noise=noise), usual, CONTRAST)


def test_a_common_factor_is_found():
    gain = 1 + 0.1 * WAVE
    found = change(DARK * gain, BRIGHT * gain)
    np.testing.assert_allclose(found.factor, gain / np.median(gain), atol=0.025)
    np.testing.assert_array_equal(found.amount, 0)


def test_a_common_amount_is_found():
    found = change(DARK + 8 * WAVE, BRIGHT + 8 * WAVE)
    np.testing.assert_allclose(found.amount, 8 * (WAVE - np.median(WAVE)), atol=2)
    np.testing.assert_array_equal(found.factor, 1)


def test_what_pairs_know_is_not_smoothed():
    gain = 1 + 0.1 * np.sin(np.linspace(0, 30, COUNT))
    usual = Parts(DARK * gain, BRIGHT * gain)
    found = slow_change(noisy(*usual), usual, CONTRAST)
    np.testing.assert_allclose(found.factor, gain / np.median(gain), atol=0.01)


@pytest.mark.parametrize(
    ("dark", "bright"),
    [
        (constant(DARK), BRIGHT * (1 + 0.1 * WAVE)),
        (DARK * (1 + 0.2 * WAVE), constant(BRIGHT)),
        (DARK - 6 * WAVE, BRIGHT + 6 * WAVE),
        (constant(DARK), constant(BRIGHT)),
        (constant(DARK) + 0.3 * WAVE, constant(BRIGHT) + 0.3 * WAVE),
    ],
    ids=["bright alone", "dark alone", "contrast", "nothing", "too little"],
)
def test_what_may_be_the_specimens_is_left_alone(dark, bright):
    assert change(dark, bright) is None


def test_levels_that_scatter_show_nothing():
    gain = 1 + 0.1 * WAVE
    assert change(DARK * gain, BRIGHT * gain, noise=8.0) is None


def test_too_few_slices_show_nothing():
    gain = 1 + 0.1 * WAVE
    found = Parts(DARK * gain, np.where(np.arange(COUNT) < 10, BRIGHT * gain, np.nan))
    assert slow_change(found, Parts(constant(DARK), constant(BRIGHT)), CONTRAST) is None


def test_parts_are_the_most_common_levels_of_both_sides():
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [rng.normal(60, 3, 3000), rng.normal(150, 3, 6000), rng.uniform(60, 150, 1500)]
    )
    threshold = middle_level(values)
    assert 95 < threshold < 115
    np.testing.assert_allclose(parts_of(values, threshold), (60, 150), atol=1.5)


def test_a_part_that_hardly_occurs_tells_nothing():
    values = np.concatenate([np.full(30, 60.0), np.full(970, 150.0)])
    assert np.isnan(parts_of(values, 100.0)).all()
    assert np.isnan(parts_of(np.zeros(0), 100.0)).all()
    assert np.isnan(middle_level(np.full(9, 3.0)))
    assert np.isnan(parts_of(np.full(9, 3.0), np.nan)).all()


def test_a_line_goes_both_ways():
    rng = np.random.default_rng(0)
    line = Line(rng.uniform(0.9, 1.1, COUNT), rng.normal(0, 5, COUNT), 110.0)
    shown = line.shown(BRIGHT)
    assert [float(line.true(shown[z], z)) for z in range(COUNT)] == pytest.approx([BRIGHT] * COUNT)
