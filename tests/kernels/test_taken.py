"""Harm of what was taken away, found from neighboring slices, against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from striped import rms, specimen, stripes

from pystack3d_dask.kernels.taken import NAMES, RUN, harm, products

SHAPE = (24, 128, 128)
SPECIMEN = specimen(SHAPE, (5.0, 4.0, 4.0))
STRIPES = stripes(SHAPE)
PART = SPECIMEN - SPECIMEN.mean(axis=1, keepdims=True)
"""The specimen without its mean columns, which are upright."""
UPRIGHT = SPECIMEN - PART


def judged(before, after):
    """Return the harm to a stack with one window, from runs that follow each other."""
    found = [
        products(before[z : z + RUN, None], after[z : z + RUN, None])
        for z in range(0, len(before) - RUN + 1, RUN)
    ]
    return harm({name: np.array([each[name] for each in found]) for name in NAMES})


def change(before, after, truth):
    """Return by how much the squared error changed, apart from the means of slices."""
    return rms(after - truth) ** 2 - rms(before - truth) ** 2


def test_stripes_that_go_are_a_gain():
    found = judged(SPECIMEN + STRIPES, SPECIMEN)
    square = rms(STRIPES) ** 2
    assert found.rms == pytest.approx(rms(STRIPES))
    assert found.change == pytest.approx(-square, abs=0.15 * square)
    assert found.share < 0.1
    assert found.contrast == pytest.approx(rms(SPECIMEN + STRIPES))


def test_upright_structure_that_goes_is_harm():
    found = judged(SPECIMEN, PART)
    square = rms(UPRIGHT) ** 2
    assert found.change == pytest.approx(square, rel=0.1)
    assert found.share > 0.95
    assert found.change > 4 * found.uncertainty


@given(stripes_taken=st.floats(0, 1.5), structure_taken=st.floats(0, 1))
def test_the_change_of_the_error_needs_no_truth(stripes_taken, structure_taken):
    before = SPECIMEN + STRIPES
    after = before - stripes_taken * STRIPES - structure_taken * UPRIGHT
    true = change(before, after, SPECIMEN)
    found = judged(before, after)
    assert found.change == pytest.approx(true, abs=0.15 * rms(STRIPES) ** 2)


@pytest.mark.parametrize("is_upright", [True, False])
def test_the_control_tells_a_specimen_from_what_is_in_one_direction_only(is_upright):
    fine = specimen(SHAPE, (5.0, 1.5, 1.5))
    power = np.fft.fft2(fine - fine.mean())
    y, x = (np.abs(np.fft.fftfreq(n)) for n in SHAPE[1:])
    along, across = (y[:, None], x) if is_upright else (x, y[:, None])
    wedge = (along < 0.4 * across) & (across > 0.02)
    of_specimen = np.fft.ifft2(power * wedge).real
    curtain = stripes((1, 128, 128), rms=20)
    curtains = np.broadcast_to(curtain if is_upright else curtain.transpose(0, 2, 1), SHAPE)
    specimen_goes = judged(fine, fine - of_specimen)
    curtains_go = judged(fine + curtains, fine)
    assert specimen_goes.turned == pytest.approx(1, abs=0.4)  # the specimen of a few slices
    assert curtains_go.turned < 0.3
    assert min(specimen_goes.share, curtains_go.share) > 0.9


def test_noise_that_goes_is_a_gain_too():
    noise = np.random.default_rng(5).normal(0, 6, SHAPE)
    found = judged(SPECIMEN + noise, SPECIMEN)
    assert found.change == pytest.approx(-36, rel=0.15)


def test_slices_that_drift_are_laid_upon_each_other():
    path = [(3 * (k % 5) - 6, 2 * k - 24) for k in range(len(SPECIMEN))]

    def drifting(stack):
        moved = [np.roll(each, by, (0, 1)) for each, by in zip(stack, path, strict=True)]
        return np.stack(moved)[:, 16:-16, 16:-16]

    before, after = drifting(SPECIMEN), drifting(PART)
    found = judged(before, after)
    assert found.change == pytest.approx(change(before, after, before), rel=0.1)
    assert found.share > 0.9


@pytest.mark.parametrize("level", [0.0, 200.0])
def test_where_nothing_was_taken_nothing_is_judged(level):
    for before in (SPECIMEN, np.full(SHAPE, level)):
        found = judged(before, before)
        assert (found.rms, found.change) == (0, 0)
        assert np.isnan(found.share)


def test_gray_levels_may_be_of_any_type_and_scale():
    before = np.rint(SPECIMEN + STRIPES).astype(np.uint8)
    found = judged(before, np.rint(SPECIMEN).astype(np.uint8))
    large = judged(before * 257.0, np.rint(SPECIMEN) * 257.0)
    assert large.change == pytest.approx(found.change * 257**2)
    assert large.share == pytest.approx(found.share)


def test_few_runs_have_no_uncertainty():
    found = judged(SPECIMEN[: 2 * RUN], PART[: 2 * RUN])
    assert found.change > 0
    assert np.isnan(found.uncertainty)


@pytest.mark.parametrize("width", [2, 12])
def test_stripes_on_nothing_are_not_laid_upon_each_other(width):
    noise = np.random.default_rng(5).normal(0, 3, (24, 256, 256))
    added = stripes(noise.shape, rms=14, width=width)
    found = judged(120 + noise + added, 120 + noise)
    assert found.change == pytest.approx(-(rms(added) ** 2), abs=3 * found.uncertainty)
    assert found.change < -0.75 * rms(added) ** 2
    assert found.share < 0.15


def test_what_is_added_is_no_share_of_the_slices():
    found = judged(SPECIMEN, SPECIMEN + STRIPES)
    assert found.change > 0
    assert np.isnan(found.share) or found.share < 0.5
