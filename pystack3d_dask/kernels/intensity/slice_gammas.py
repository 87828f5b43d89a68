"""Gamma of every slice, from how lines between slices that lie near each other are bent.

A slice whose gray levels were bent, ``shown = true ** gamma`` between black and white, lies on a
curve over its neighbors. Only jumps are undone: what bends slowly may be the specimen's.
"""

from __future__ import annotations

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.intensity.running_lines import running_lines
from pystack3d_dask.kernels.intensity.slice_gains import (
    SMALLEST,
    SURE,
    Pairs,
    among_seen,
    around,
    solved,
)

WIDEST = 3.0  # gamma that is undone at most, and its inverse at least


def slice_gammas(
    pairs: Pairs, bends: Array, count: int, reference: int, mean: float, contrast: float
) -> Array:
    """Return the gamma of slices, against those around them.

    Parameters
    ----------
    pairs : Pairs
        At least one.
    bends : ndarray of float, shape (pairs,)
        See `pair_lines.PairLine`.
    count : int
        Slices.
    reference : int
        Slices that a slice is compared with.
    mean, contrast : float
        Mean and standard deviation of gray levels; black is 0.

    Returns
    -------
    ndarray of float64, shape (count,)
        1 where a slice is bent no more than its neighborhood, by what is sure and noticeable.
    """
    gamma = np.ones(count)
    if mean <= 0:
        return gamma
    seen, pairs = among_seen(pairs)
    weights = (contrast / np.maximum(pairs.spread, 1e-6 * contrast)) ** 2
    bend, beside = solved(pairs, bends, weights, len(seen))
    error = around(pairs, beside, len(seen))
    is_short = reference < len(seen)
    slow = running_lines(bend, reference)[0] if is_short else np.median(bend)
    jump = bend - slow
    is_sure = np.abs(jump) > np.maximum(SURE * np.maximum(error, np.median(error)), SMALLEST)
    # second derivative of a power at the mean, over the first one
    found = np.clip(1 + 2 * jump * mean / contrast, 1 / WIDEST, WIDEST)
    gamma[seen] = np.where(is_sure, found, 1.0)
    return gamma


def straightened(values: Array, gamma: float, mean: float) -> Array:
    """Return gray levels with a gamma undone; black and the mean stay.

    Parameters
    ----------
    values : ndarray
        Gray levels; those below 0 stay as they are.
    gamma : float
        Of the slice.
    mean : float
        Mean gray level of the stack, above 0.
    """
    over = np.maximum(values, 0) / mean
    return np.where(values > 0, mean * over ** (1 / gamma), values).astype(values.dtype)


def as_before(values: Array, bent: Array) -> tuple[float, float]:
    """Return the scale and offset that give gray levels the mean and contrast of others.

    Parameters
    ----------
    values, bent : ndarray, equal shapes
        Levels that are to be scaled, and those whose mean and contrast they get.
    """
    if values.size < 2 or values.std() == 0:
        return 1.0, 0.0
    scale = float(bent.std(dtype=np.float64) / values.std(dtype=np.float64))
    return scale, float(bent.mean(dtype=np.float64) - scale * values.mean(dtype=np.float64))
