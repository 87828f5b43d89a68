"""Slices are judged by those around them: not by trends, steps, gains or offsets."""

from __future__ import annotations

import numpy as np
import pytest

from pystack3d_dask.kernels.bad_slices.judgment import Reason, judge
from pystack3d_dask.kernels.bad_slices.slice_figures import SliceFigures, slice_figures
from pystack3d_dask.kernels.bad_slices.unlikeness import unlikeness
from pystack3d_dask.kernels.cell_means import cell_means

COUNT = 30


def cells(seed=0, shape=(48, 64)):
    return np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)


def judged(contrast=None, level=None, unknown=None, own=(), copies=()):
    """Return the reasons for slices of usual figures, but for what is given."""
    rng = np.random.default_rng(0)
    contrast = np.full(COUNT, 30.0) if contrast is None else contrast
    level = np.full(COUNT, 100.0) if level is None else level
    unknown = np.zeros(COUNT) if unknown is None else unknown
    figures = [
        SliceFigures(u, m * rng.normal(1, 0.001), c * rng.normal(1, 0.001), np.full(6, 9.0) * c**2)
        for u, m, c in zip(unknown, level, contrast, strict=True)
    ]
    near, far = np.full((2, COUNT, 8, 8), 0.1)
    for z in own:  # unlike the two slices before it and the two after it
        near[[z, z + 1]] = far[[z, z + 2]] = 1.0
    near[0] = far[:2] = np.nan
    is_copy = np.isin(np.arange(COUNT), copies)
    found = judge(figures, near, far, is_copy)
    return {int(z): Reason(found.reason[z]) for z in np.flatnonzero(found.reason)}


def changed(values, z, factor):
    out = np.asarray(values, float).copy()
    out[z] *= factor
    return out


def test_usual_slices_are_good():
    assert judged() == {}


@pytest.mark.parametrize(
    "values", [np.linspace(30, 90, COUNT), np.where(np.arange(COUNT) < 12, 30.0, 60.0)]
)
def test_neither_a_trend_nor_a_step_is_bad(values):
    assert judged(contrast=values, level=3 * values) == {}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"contrast": changed(np.full(COUNT, 30.0), 9, 0.5)}, Reason.FAINT),
        ({"contrast": changed(np.full(COUNT, 30.0), 9, 2.0)}, Reason.STARK),
        ({"level": changed(np.full(COUNT, 100.0), 9, 0.5)}, Reason.DARK),
        ({"level": changed(np.full(COUNT, 100.0), 9, 1.5)}, Reason.BRIGHT),
        ({"unknown": np.where(np.arange(COUNT) == 9, 0.3, 0.0)}, Reason.PARTLY_LOST),
        ({"own": [9]}, Reason.UNLIKE),
        ({"copies": [9]}, Reason.DUPLICATE),
    ],
)
def test_a_slice_apart_from_both_sides_is_bad(given, reason):
    assert judged(**given) == {9: reason}


def test_a_bad_slice_makes_those_beside_it_neither_bad_nor_good():
    level = changed(changed(np.full(COUNT, 100.0), [9, 10], 0.3), 12, 0.5)
    assert judged(level=level) == dict.fromkeys((9, 10, 12), Reason.DARK)


def test_a_trend_is_bad_where_it_is_left():
    level = np.linspace(100, 130, COUNT)
    level[14] += 60
    assert judged(level=level) == {14: Reason.BRIGHT}


def test_gain_and_offset_make_no_slice_unlike():
    one = cells()
    np.testing.assert_allclose(unlikeness(one, 3 * one - 40), 0, atol=1e-6)
    assert unlikeness(one, cells(1)).min() > 0.5


def test_each_tile_is_compared_by_itself():
    one, other = cells(), cells()
    other[:6] = cells(1)[:6]
    found = unlikeness(one, other)
    assert found.shape == (8, 8)
    assert (found[0] > 0.3).all()
    np.testing.assert_allclose(found[1:], 0, atol=1e-6)


def test_what_is_not_known_does_not_count():
    one, other = cells(), cells()
    one[:3], other[:5] = np.nan, np.nan
    other[6:12] = 7.0
    found = unlikeness(one, other)
    assert np.isnan(found[0]).all()  # a sixth of the tile is known
    np.testing.assert_array_equal(found[1], 1)  # one of the two shows nothing
    np.testing.assert_allclose(found[2:], 0, atol=1e-6)


def test_figures_tell_fine_detail_and_what_is_clipped():
    x = np.arange(64, dtype=np.uint8)
    image = np.broadcast_to(2 * x + 10, (48, 64)).copy()
    image[:12] = 0
    found = slice_figures(image, cell_means(image, 2))
    assert found.unknown == 0.25
    assert found.level == pytest.approx(10 + 63)
    np.testing.assert_array_equal(found.detail, [4, 16, 64, 0, 0, 0])
