"""Lines from the gray levels of a slice to those of its neighbor."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pystack3d_dask.kernels.intensity.pair_lines import FEWEST, NO_LINE, pair_line


def two_phases(shape=(80, 90), seed=0):
    """Return gray levels of two phases."""
    rng = np.random.default_rng(seed)
    return np.where(rng.uniform(size=shape) < 0.3, 60.0, 170.0)


def seen(levels, noise, seed):
    """Return what is seen of gray levels in noise."""
    rng = np.random.default_rng(seed)
    return (levels + rng.normal(0, noise, levels.shape)).astype(np.float32)


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (0.7, 12.0), (1.4, -30.0)])
def test_gain_and_offset_are_found_though_a_fifth_has_changed(gain, offset):
    levels = two_phases()
    changed = levels.copy()
    changed[:16] = np.random.default_rng(5).permutation(changed[:16].ravel()).reshape(16, -1)
    one, other = seen(levels, 3, 1), gain * seen(changed, 3, 2) + offset
    line = pair_line(one, other)
    assert line.log_gain == pytest.approx(np.log(gain), abs=2e-3)
    predicted = line.center_y + np.exp(line.log_gain) * (100 - line.center_x)
    assert predicted == pytest.approx(gain * 100 + offset, abs=0.4)


def test_the_line_back_is_the_same_line():
    levels = two_phases()
    one, other = seen(levels, 5, 1), 1.2 * seen(levels, 5, 2) - 7
    there, back = pair_line(one, other), pair_line(other, one)
    assert there.log_gain == pytest.approx(-back.log_gain, abs=1e-4)
    assert there.center_x == pytest.approx(back.center_y, abs=0.05)


def test_no_contrast_is_lost_from_slice_to_slice():
    levels = two_phases((160, 180))
    slices = [seen(levels, 12, seed) for seed in range(40)]
    gains = [pair_line(a, b).log_gain for a, b in pairwise(slices)]
    assert np.exp(np.sum(gains)) == pytest.approx(1, abs=0.04)
    regressed = [np.polyfit(a.ravel(), b.ravel(), 1)[0] for a, b in pairwise(slices)]
    assert np.prod(regressed) < 0.5


def test_no_contrast_is_lost_where_pores_get_smaller_from_slice_to_slice():
    y, x = np.mgrid[-12:12:240j, -12:12:240j]
    distance = np.hypot(y % 8 - 4, x % 8 - 4)  # from the middles of nine pores
    radii = np.linspace(3.0, 2.0, 20)
    faces = [60 + 110 / (1 + np.exp(-8 * (distance - radius))) for radius in radii]
    slices = [seen(face, 3, seed) for seed, face in enumerate(faces)]
    gains = [pair_line(a, b).log_gain for a, b in pairwise(slices)]
    assert np.exp(np.sum(gains)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    "pair",
    [
        (np.ones((4, 5), np.float32), np.ones((4, 5), np.float32)),
        (np.ones((40, 50), np.float32), seen(two_phases((40, 50)), 1, 0)),
        (seen(two_phases((40, 50)), 1, 0), -seen(two_phases((40, 50)), 1, 1)),
        (np.full((40, 50), np.nan, np.float32), seen(two_phases((40, 50)), 1, 0)),
    ],
    ids=["too few", "constant", "inverted", "unknown"],
)
def test_slices_with_nothing_in_common_have_no_line(pair):
    np.testing.assert_array_equal(pair_line(*pair), NO_LINE)


def test_unknown_cells_do_not_count():
    levels = two_phases()
    one, other = seen(levels, 3, 1), 1.3 * seen(levels, 3, 2)
    one[30:60] = np.nan
    assert pair_line(one, other).log_gain == pytest.approx(np.log(1.3), abs=2e-3)
    assert one[~np.isnan(one)].size > FEWEST
