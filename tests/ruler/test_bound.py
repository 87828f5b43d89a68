"""The bound of what linear filters can do about stripes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ruler.bound import stripe_bound
from ruler.cases import CASES, acquire
from stack_tools import correct

from pystack3d_dask.corrections.destriping import Destriping

SHAPE = (12, 160, 160)


@pytest.mark.parametrize("kind", ["long", "short", "wide", "tilted"])
def test_neighbors_come_near_the_bound_and_not_below(kind):
    acquired = acquire(CASES[f"upright: {kind} stripes"], 3, SHAPE)
    bound = stripe_bound(acquired)
    left = correct(Destriping(neighbors=3), acquired.slices) - acquired.clean
    left = left - left.mean(axis=(1, 2), keepdims=True)
    rms = float(np.sqrt(np.mean(left**2, dtype=np.float64)))
    assert 1 < bound < rms < 2 * bound


def test_stripes_that_go_on_are_harder():
    new, persistent = (
        stripe_bound(acquire(CASES[f"porous: {name}"], 3, SHAPE))
        for name in ("long stripes", "stripes along z")
    )
    assert new < persistent


def test_other_cases_have_none():
    acquired = acquire(CASES["porous: vignetting"], 3, SHAPE)
    assert np.isnan(stripe_bound(acquired))
    striped = acquire(CASES["porous: long stripes"], 3, SHAPE)
    few = replace(striped, slices=striped.slices[:6], clean=striped.clean[:6])
    assert np.isnan(stripe_bound(few))
