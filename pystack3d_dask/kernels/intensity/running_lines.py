"""Running lines through values of slices, which single values far off do not draw."""

from __future__ import annotations

import numpy as np

from pystack3d_dask.core.typing import Array

STEPS = 8
WIDTH = 2.0  # standard deviations beside a line at which a slice counts a quarter
CENTRAL = 1.4826


def running_lines(values: Array, length: int) -> tuple[Array, Array]:
    """Return what robust lines through the slices around each say of it, with it and without it.

    Parameters
    ----------
    values : ndarray of float64, shape (slices,)
        One for each slice.
    length : int
        Slices of a line, odd; fewer at the ends.
    """
    reach = length // 2
    padded = np.pad(values, reach, constant_values=np.nan)
    seen = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    place = np.arange(-reach, reach + 1.0)
    others = np.isfinite(seen) & (place != 0)
    return _line_at_zero(seen, place, np.isfinite(seen)), _line_at_zero(seen, place, others)


def _line_at_zero(seen: Array, place: Array, taken: Array) -> Array:
    """Return robust lines (weights of Geman and McClure) through rows of values, at 0."""
    known = np.where(taken, seen, np.nan)
    values = np.where(taken, seen, 0.0)
    found, slope = np.nanmedian(known, axis=1), np.zeros(len(seen))
    for _ in range(STEPS):
        beside = np.abs(known - found[:, None] - slope[:, None] * place)
        scale = WIDTH * CENTRAL * np.nanmedian(beside, axis=1, keepdims=True) + 1e-12
        weights = np.where(taken, 1 / (1 + (np.nan_to_num(beside) / scale) ** 2) ** 2, 0.0)
        total = weights.sum(axis=1)
        middle, mean = ((weights * each).sum(axis=1) / total for each in (place, values))
        off = place - middle[:, None]
        slope = (weights * off * values).sum(axis=1) / (weights * off**2).sum(axis=1)
        found = mean - slope * middle
    return found
