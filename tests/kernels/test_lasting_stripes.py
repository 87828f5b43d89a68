"""Stripes that go on, told from what slices have in common at several distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from pystack3d_dask.kernels.destriping.lasting_stripes import (
    EXCESS,
    Shared,
    lasting_stripes,
    least_squares,
)

LAGS = np.arange(4)
GROUPS = 40
RATES = np.linspace(0.02, 0.8, GROUPS)[:, np.newaxis]
ALIKE = np.exp(-RATES * LAGS)


def shared(power, error=0.01, elsewhere=1.0):
    """Return what slices have in common, of specimens whose details change at all rates."""
    return Shared(
        power=power,
        error=np.full(GROUPS, error),
        elsewhere=np.full(GROUPS, elsewhere),
        alike=ALIKE,
        slowest=ALIKE[0],
        rings=np.arange(GROUPS),
        counts=np.full(GROUPS, 5),
    )


@pytest.mark.parametrize("correlation", [0.4, 0.7])
@pytest.mark.parametrize("specimen", [1.0, 2.0])
def test_stripes_that_go_on_are_found(correlation, specimen):
    found = lasting_stripes(shared(specimen * ALIKE + 30 * correlation**LAGS))
    assert found.correlation == pytest.approx(correlation)
    np.testing.assert_allclose(found.power, 30, rtol=0.15)


def test_those_that_are_new_in_each_slice_do_not_count():
    found = lasting_stripes(shared(ALIKE + 30 * (LAGS == 0)))
    assert not found.power.any()
    assert found.correlation == 0


def test_new_ones_and_those_that_go_on_are_told_apart():
    found = lasting_stripes(shared(ALIKE + 20 * 0.7**LAGS + 20 * (LAGS == 0)))
    assert found.correlation == pytest.approx(0.7, abs=0.1)
    assert float(found.power.mean()) == pytest.approx(20, rel=0.3)


@pytest.mark.parametrize("power", [30 * ALIKE, 30 * ALIKE[:1], 15 * ALIKE + 15 * ALIKE[:1]])
def test_upright_parts_of_a_specimen_do_not_count(power):
    assert not lasting_stripes(shared(ALIKE + power)).power.any()


def test_round_bodies_do_not_count():
    assert not lasting_stripes(shared(ALIKE + 30 * np.exp(-0.2 * LAGS**2))).power.any()


def test_little_is_left_alone():
    few = EXCESS - 1.1
    assert not lasting_stripes(shared(ALIKE + few * 0.5**LAGS)).power.any()
    assert not lasting_stripes(shared(ALIKE + 30 * 0.5**LAGS, error=40.0)).power.any()


def test_stripes_that_change_as_the_specimen_does_are_left_alone():
    found = lasting_stripes(shared(ALIKE + 30 * 0.9**LAGS)._replace(alike=0.9**LAGS + 0 * ALIKE))
    assert not found.power.any()


@given(st.integers(0, 2**31), st.integers(1, 4))
def test_amounts_are_those_of_nonnegative_least_squares(seed, count):
    random = np.random.default_rng(seed)
    parts, data = random.random((3, 5, count)), random.normal(size=(3, 5))
    amounts, misfit = least_squares(parts, data)
    assert (amounts >= 0).all()
    for part, values, found, left in zip(parts, data, amounts, misfit, strict=True):
        _, expected = optimize.nnls(part, values)
        assert left == pytest.approx(expected**2, rel=1e-4, abs=1e-6)
        assert np.sum((part @ found - values) ** 2) == pytest.approx(left, abs=1e-9)
