"""Borders of slices: found, hidden and put back."""

from __future__ import annotations

import numpy as np
import pytest

from pystack3d_dask.kernels.destriping.borders import (
    inside_borders,
    with_borders,
    without_borders,
)


def image(top=0, bottom=0, left=0, right=0, level=0):
    """Return noise with borders."""
    values = np.random.default_rng(0).normal(100, 20, (40, 50)).astype(np.float32)
    values[:top] = values[40 - bottom :] = level
    values[:, :left] = values[:, 50 - right :] = level
    return values


@pytest.mark.parametrize("level", [0, 7])
@pytest.mark.parametrize("widths", [(0, 0, 0, 0), (3, 0, 0, 2), (0, 5, 9, 0), (4, 4, 4, 4)])
def test_borders_are_found_and_hidden(widths, level):
    given = image(*widths, level=level)
    top, bottom, left, right = widths
    inside = inside_borders(given)
    assert inside == (slice(top, 40 - bottom), slice(left, 50 - right))
    hidden = without_borders(given, inside)
    assert hidden.shape == given.shape
    assert hidden.min(axis=0).min() != level or level == 7
    np.testing.assert_array_equal(hidden[inside], given[inside])
    assert inside_borders(hidden) == (slice(0, 40), slice(0, 50))


def test_borders_are_put_back():
    given = image(3, 0, 0, 2)
    inside = inside_borders(given)
    found = with_borders(np.full(given.shape, 9, np.float32), given, inside)
    np.testing.assert_array_equal(found[inside], 9)
    np.testing.assert_array_equal(found[:3], 0)
    np.testing.assert_array_equal(found[:, 48:], 0)


@pytest.mark.parametrize(
    "given",
    [np.zeros((5, 6)), np.tile(np.arange(6.0), (5, 1)), np.tile(np.arange(5.0)[:, None], (1, 6))],
    ids=["constant", "columns of one level", "rows of one level"],
)
def test_where_nothing_would_be_left_nothing_is_border(given):
    assert inside_borders(given) == (slice(0, 5), slice(0, 6))
    assert without_borders(given, inside_borders(given)) is given
