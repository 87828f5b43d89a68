"""Each defect as a function: what it may be, and that 0 switches it off."""

from __future__ import annotations

import numpy as np
import pytest

from pystack3d_dask.demo.defects import (
    Background,
    brightness,
    curtains,
    drift,
    framed,
    noisy,
    positions,
)
from pystack3d_dask.demo.fields import Plane

FLAT = np.full((120, 90), 0.5, np.float32)
PLANE = Plane(0, (4.0, 0.0, 0.0), FLAT.shape)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("count", [1, 2, 40, 500])
def test_drift_begins_at_zero_and_reaches_its_largest_value(count):
    shifts = drift(count, 6.0, rng())
    assert shifts.shape == (count, 2)
    np.testing.assert_array_equal(shifts[0], 0)
    if count > 1:
        np.testing.assert_allclose(np.abs(shifts).max(axis=0), 6)
        np.testing.assert_array_equal(drift(count, 0.0, rng()), 0)


def test_drift_is_slow_but_for_some_jumps():
    steps = np.abs(np.diff(np.concatenate([drift(200, 10.0, rng(s)) for s in range(5)]), axis=0))
    assert np.median(steps) < 0.7
    assert steps.max() > 2


def test_even_positions_are_multiples_of_the_step():
    np.testing.assert_allclose(positions(50, 0.01, 0.0, rng()), np.arange(50) * 0.01, atol=1e-9)


def test_uneven_positions_rise_with_some_gaps_where_slices_are_missing():
    z = positions(400, 0.01, 0.6, rng())
    gaps = np.diff(z) / 0.01
    assert z[0] == 0
    assert gaps.min() > 0.6
    assert 0.02 < (gaps > 1.5).mean() < 0.12
    np.testing.assert_allclose(z, np.rint(z * 1e4) / 1e4, atol=1e-12)


def test_brightness_stays_within_its_strength():
    gains, offsets = brightness(300, 0.12, rng())
    assert 0.08 < np.abs(gains - 1).max() <= 0.12
    assert 0.02 < np.abs(offsets).max() <= 0.04
    gains, offsets = brightness(10, 0.0, rng())
    assert (gains == 1).all()
    assert (offsets == 0).all()


@pytest.mark.parametrize("shape", [(1, 64, 64), (40, 64, 101), (3, 200, 70)])
def test_background_is_a_polynomial_centered_on_zero(shape):
    background = Background.random(shape, 0.3, rng())
    values = np.stack([background.slice(z) for z in range(shape[0])]).astype(float)
    assert values.min() == pytest.approx(-0.15, abs=0.003)
    assert values.max() == pytest.approx(0.15, abs=0.003)
    axes = [np.linspace(0, 1, n) for n in shape]
    z, y, x = (grid.ravel() for grid in np.meshgrid(*axes, indexing="ij"))
    basis = np.stack([np.ones_like(x), x, y, z, x**2, y**2, x * y], axis=1)
    fit = np.linalg.lstsq(basis, values.ravel())[0]
    np.testing.assert_allclose(basis @ fit, values.ravel(), atol=1e-6)


def test_curtains_run_along_y():
    stripes = curtains(FLAT, PLANE, 0.05)
    down, across = (np.abs(np.diff(stripes, axis=axis)).mean() for axis in (0, 1))
    assert across > 10 * down
    assert 0.01 < stripes.std() < 0.05
    np.testing.assert_array_equal(curtains(FLAT, PLANE, 0.0), 0)


def test_streaks_start_at_the_lower_edge_of_a_pore_and_fade():
    pore = FLAT.copy()
    pore[30:50, 20:60] = 0.2
    streaks = np.abs(curtains(pore, PLANE, 0.05) - curtains(FLAT, PLANE, 0.05))
    assert streaks[:50].max() == 0
    assert streaks[:, :20].max() == 0
    assert streaks[52:60, 20:60].mean() > 0.005
    assert streaks[110:, 20:60].mean() < 0.5 * streaks[52:60, 20:60].mean()


def test_curtains_of_neighboring_slices_are_alike():
    planes = [Plane(0, (z, 0.0, 0.0), FLAT.shape) for z in (4.0, 5.0, 30.0)]
    first, second, far = (curtains(FLAT, plane, 0.05) for plane in planes)
    near, distant = (np.corrcoef(first.ravel(), other.ravel())[0, 1] for other in (second, far))
    assert near > 0.4
    assert abs(distant) < 0.3


def test_the_frame_leaves_the_specimen_alone():
    image = framed(FLAT.copy(), (20.0, 110.0, 8.5, 80.0), PLANE)
    assert (image[20:110, 9:80] == 0.5).all()
    assert image[:20, 9:80].min() > 0.55
    assert max(image[110:].max(), image[:, :9].max(), image[:, 80:].max()) < 0.21


def test_noise_grows_with_the_signal():
    deviations = [
        np.std(noisy(np.full((300, 300), level, np.float32), 0.1, 0, "noise", 0))
        for level in (0.0, 0.5, 1.0)
    ]
    np.testing.assert_allclose(deviations, 0.1 * np.sqrt([0.1, 0.55, 1.0]), rtol=0.02)
    np.testing.assert_array_equal(noisy(FLAT, 0.0, 0, "noise", 0), FLAT)
