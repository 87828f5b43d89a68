"""What corrections count in slices, one by one, and what that adds up to over a stack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.errors import Problem
from pystack3d_dask.kernels.intensity.quantiles import Limits
from pystack3d_dask.kernels.jit import compiled

MOST_BINS = 2**16  # as many as there are gray levels at most


def check_bins(path: str, nbins: int) -> Iterator[Problem]:
    """Yield an error for a number of bins that a histogram cannot have."""
    if not 2 <= nbins <= MOST_BINS:
        yield Problem(path, f"2 to {MOST_BINS} bins expected, found {nbins}")


def bin_centers(limits: tuple[float, float], nbins: int) -> Array:
    """Return the centers of the bins."""
    edges = np.linspace(*limits, nbins + 1)
    return (edges[1:] + edges[:-1]) / 2


def count_levels(image: Array, dtype: np.dtype[Any]) -> Arrays:
    """Count the gray levels of a slice, rounded and clipped to an integer type.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Any real type.
    dtype : numpy.dtype
        Integer type of at most 16 bits.

    Returns
    -------
    dict
        ``first``, the smallest level that occurs, and ``counts`` (int64): how often it and
        those above it occur, up to the largest.
    """
    limits = np.iinfo(dtype)
    counts = np.zeros(int(limits.max) - int(limits.min) + 1, np.int64)
    _count_levels(image, float(limits.min), float(limits.max), counts)
    occurring = np.flatnonzero(counts)
    first, last = occurring[0], occurring[-1]
    return {"first": np.array(first + int(limits.min)), "counts": counts[first : last + 1]}


def added_counts(summaries: Iterable[Arrays], dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Add up what `count_levels` found in slices.

    Parameters
    ----------
    summaries : iterable of dict
        ``first`` and ``counts`` of each slice.
    dtype : numpy.dtype
        Integer type of at most 16 bits.

    Returns
    -------
    levels, counts : ndarray of int64
        All levels of the type, and how often they occur.
    """
    limits = np.iinfo(dtype)
    levels = np.arange(int(limits.min), int(limits.max) + 1)
    counts = np.zeros(len(levels), np.int64)
    for summary in summaries:
        start = int(summary["first"]) - int(limits.min)
        counts[start : start + len(summary["counts"])] += summary["counts"]
    return levels, counts


def extremes(image: Array) -> Arrays:
    """Return the smallest and the largest level of a slice, as ``range``."""
    return {"range": np.array([image.min(), image.max()], np.float64)}


def widest(summaries: Iterable[Arrays]) -> Arrays:
    """Return the ``range`` that holds those which `extremes` found in slices."""
    ranges = np.array([summary["range"] for summary in summaries])
    return {"range": np.array([ranges[:, 0].min(), ranges[:, 1].max()])}


def limits_of(found: Arrays) -> Limits:
    """Return the ``range`` of a fit as numbers."""
    low, high = (float(limit) for limit in found["range"])
    return low, high


@compiled()
def _count_levels(image: Array, low: float, high: float, counts: Array) -> None:
    base = np.int64(low)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            value = min(max(np.float64(image[y, x]), low), high)
            counts[np.int64(np.rint(value)) - base] += 1
