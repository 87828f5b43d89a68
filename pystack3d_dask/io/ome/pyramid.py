"""Coarser copies of a stack: how thick a slab is, which levels there are, and the pooling."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pystack3d_dask.core.pyramid import pooled_shape
from pystack3d_dask.core.typing import Array, Triple

BAND_ROWS = 32  # rows pooled at a time: their sums stay in the cache


def pooled_positions(positions: Array, factor: int) -> NDArray[np.float64]:
    """Return the mean of each ``factor`` consecutive positions, of fewer at the end."""
    sums = np.add.reduceat(positions.astype(np.float64), np.arange(0, len(positions), factor))
    return sums / _counts(len(positions), factor)


def pooled(values: Array, factors: Iterable[Triple]) -> list[Array]:
    """Return the means of a slab's voxels on several levels.

    A voxel of any level is the mean of the voxels of the full image that it covers,
    rounded once, to the nearest integer (ties to even) where the type is one. At an odd
    edge it is the mean of those that exist. So the result does not depend on the levels
    between, nor on the thickness of the slab as long as the factors divide it.

    Parameters
    ----------
    values : ndarray, shape (slices, rows, columns)
        Integers or floats.
    factors : iterable of tuple of int
        Factors along z, y and x: powers of two, each level's a multiple of the one before.

    Returns
    -------
    list of ndarray
        One array per level, of the type of ``values``.
    """
    factors = tuple(factors)
    levels = [np.empty(pooled_shape(values.shape, f), values.dtype) for f in factors]
    # a band ends where a voxel of the coarsest level does
    rows = max([BAND_ROWS, *(f[1] for f in factors)])
    for top in range(0, values.shape[1], rows):
        band = values[:, top : top + rows]
        sums, before = band, (1, 1, 1)
        for level, factor in zip(levels, factors, strict=True):
            sums = _coarser_sums(sums, before, factor, _sum_type(values.dtype, factor))
            start = top // factor[1]
            level[:, start : start + sums.shape[1]] = _means(sums, band.shape, factor, level.dtype)
            before = factor
    return levels


def _coarser_sums(sums: Array, before: Triple, factor: Triple, dtype: np.dtype[Any]) -> Array:
    for axis in (1, 0, 2):  # columns last: pairs of neighbors are the slowest to add
        for _ in range((factor[axis] // before[axis]).bit_length() - 1):
            sums = _pair_sums(sums, axis, dtype)
    return sums


def _pair_sums(values: Array, axis: int, dtype: np.dtype[Any]) -> Array:
    along = values.swapaxes(0, axis)
    even, odd = along[0::2], along[1::2]
    if len(even) == len(odd):
        sums = np.add(even, odd, dtype=dtype)
    else:
        sums = even.astype(dtype)
        sums[: len(odd)] += odd
    return sums.swapaxes(0, axis)


def _means(
    sums: Array, shape: Sequence[int], factor: Triple, dtype: np.dtype[Any]
) -> NDArray[np.floating[Any]]:
    z, y, x = (_counts(n, f) for n, f in zip(shape, factor, strict=True))
    counts = z[:, None, None] * y[:, None] * x
    means: NDArray[np.floating[Any]] = np.divide(sums, counts, dtype=_mean_type(dtype, factor))
    if dtype.kind != "f":
        np.rint(means, out=means)
    return means


def _mean_type(dtype: np.dtype[Any], factor: Triple) -> np.dtype[Any]:
    """Return the fastest type in which a mean lies on its own side of the nearest half."""
    if dtype.kind == "f":
        return dtype
    fits = _largest(dtype) * prod(factor) < 2**23
    return np.dtype(np.float32 if fits else np.float64)


def _sum_type(dtype: np.dtype[Any], factor: Triple) -> np.dtype[Any]:
    """Return the smallest type that holds the sum of a coarse voxel: narrow ones add faster."""
    if dtype.kind == "f":
        return dtype
    sign = -1 if dtype.kind == "i" else 1
    return np.min_scalar_type(sign * _largest(dtype) * prod(factor))


def _largest(dtype: np.dtype[Any]) -> int:
    limits = np.iinfo(dtype)
    return max(int(limits.max), -int(limits.min))


def _counts(length: int, factor: int) -> NDArray[np.float32]:
    return np.minimum(factor, length - np.arange(0, length, factor)).astype(np.float32)
