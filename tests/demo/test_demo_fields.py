"""Random numbers as functions of the place: the same wherever they are asked for from."""

from __future__ import annotations

import numpy as np
import pytest

from pystack3d_dask.demo.fields import Plane, grain, hashed, smooth_field

PLANE = Plane(0, (3.3, 10.25, 5.5), (300, 280))
MASK = 2**64 - 1


def mixed(bits: int) -> int:
    bits ^= bits >> 30
    bits = bits * 0xBF58476D1CE4E5B9 & MASK
    bits ^= bits >> 27
    bits = bits * 0x94D049BB133111EB & MASK
    return bits ^ (bits >> 31)


def test_grain_is_what_its_hash_says():
    image = grain(7, "name", 3, (5, 6))
    for y, x in np.ndindex(5, 6):
        row = mixed((mixed((int(hashed(7, "name")) + 3) & MASK) + y) & MASK)
        bits = mixed((row + x * 0x9E3779B97F4A7C15) & MASK)
        words = [bits >> shift & 0xFFFF for shift in (0, 16, 32, 48)]
        deviation = 65536 * np.sqrt(4 / 12)
        assert image[y, x] == pytest.approx((sum(words) - 131070) / deviation, abs=1e-4)


def test_grain_is_white():
    one, other = (grain(0, "n", k, (400, 400)).astype(float) for k in (0, 1))
    assert one.mean() == pytest.approx(0, abs=0.01)
    assert one.std() == pytest.approx(1, abs=0.01)
    for shifted in (np.roll(one, 1, 0), np.roll(one, 1, 1), other):
        assert abs(np.corrcoef(one.ravel(), shifted.ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("period", [3, 8.5, (4.0, 30.0, 2.0)])
def test_a_part_of_a_plane_has_the_values_of_the_whole(period):
    whole = smooth_field(PLANE, "f", period)
    part = smooth_field(Plane(0, (1.3, 30.25, 7.5), (40, 50)), "f", period, depth=2)
    np.testing.assert_allclose(part, whole[20:60, 2:52], atol=1e-4)


@pytest.mark.parametrize("start", [(0.0, 0.0, 0.0), (-7.5, -200.0, -31.3)])
def test_fields_have_mean_0_and_variance_1_everywhere(start):
    fields = np.stack([smooth_field(Plane(0, start, (96, 96)), str(i), 6) for i in range(60)])
    assert fields.mean() == pytest.approx(0, abs=0.03)
    assert fields.std(axis=0).mean() == pytest.approx(1, abs=0.03)
    assert fields.std(axis=0).min() > 0.6


def test_fields_are_smooth_over_their_period_and_forget_beyond():
    field = smooth_field(PLANE, "f", 10)
    along = [np.corrcoef(field[:, :-d].ravel(), field[:, d:].ravel())[0, 1] for d in (1, 5, 40)]
    assert along[0] > 0.98
    assert 0.4 < along[1] < 0.95
    assert abs(along[2]) < 0.2


def test_names_and_seeds_give_independent_fields():
    field = smooth_field(PLANE, "f", 5).ravel()
    others = [smooth_field(PLANE, "g", 5), smooth_field(Plane(1, *_place()), "f", 5)]
    assert all(abs(np.corrcoef(field, other.ravel())[0, 1]) < 0.1 for other in others)


def _place():
    return PLANE.start, PLANE.shape
