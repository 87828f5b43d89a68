"""Ranks and percentiles of gray levels, and integers that sort like floats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pystack3d_dask.core.typing import Array

Limits = tuple[float, float]
SIGN = np.uint32(1 << 31)


def ranks(count: int, percentiles: Limits) -> tuple[Array, NDArray[np.float64]]:
    """Return between which ranks percentiles lie, and where there.

    Linear interpolation, as numpy has it (Hyndman and Fan, The American Statistician 1996,
    definition 7).

    Parameters
    ----------
    count : int
        Number of values.
    percentiles : tuple of float
        0 to 100.

    Returns
    -------
    ends : ndarray of int64, shape (2, percentiles)
        Ranks, from 0, of the values below and above.
    fraction : ndarray, shape (percentiles,)
        Weight of the value above.
    """
    place = np.array(percentiles) / 100 * (count - 1)
    below = np.floor(place).astype(np.int64)
    return np.stack([below, np.minimum(below + 1, count - 1)]), place - below


def ranked(counts: Array, wanted: Array) -> tuple[Array, Array]:
    """Return the bin in which each rank falls, and its rank there.

    Parameters
    ----------
    counts : ndarray of int, shape (bins,)
        How many values are in each bin; bins are in the order of values.
    wanted : ndarray of int
        Ranks, from 0, below the sum of the counts.
    """
    upto = np.cumsum(counts)
    bins = np.searchsorted(upto, wanted, side="right")
    return bins, wanted - (upto - counts)[bins]


def sorting_keys(image: Array) -> NDArray[np.uint32]:
    """Return integers that sort like the float32 values that they stand for."""
    bits = np.ascontiguousarray(image, np.float32).view(np.uint32)
    # a set sign turns the order round
    return np.where(bits & SIGN, ~bits, bits | SIGN)


def of_sorting_keys(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Return the values for which `sorting_keys` stand."""
    return np.where(keys & SIGN, keys ^ SIGN, ~keys).view(np.float32)
