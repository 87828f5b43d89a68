"""Coarser copies of a stack: how thick a slab is, which levels there are, and the pooling."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pystack3d_dask.core.spec import Array, Triple

SLAB_SLICES = 16
SLAB_BYTES = 32 * 2**20
SLABS = 8  # at least, where the stack allows, so that several workers have something to do
THICK_SLAB_BYTES = 8 * SLAB_BYTES
THICK_SLABS = 6
COARSEST = 512
BAND_ROWS = 32  # rows pooled at a time: their sums stay in the cache


def slab_thickness(shape: Sequence[int], itemsize: int) -> int:
    """Return how many slices a block has, which is also how many a shard has.

    Parameters
    ----------
    shape : sequence of int
        Slices, rows and columns of the stack.
    itemsize : int
        Bytes per voxel.

    Returns
    -------
    int
        The largest power of two up to 16 whose slab of whole slices stays within
        32 MiB and leaves 8 slabs or more, and at least 1.
    """
    return _thickness(shape, itemsize, SLAB_BYTES, SLABS)


def thick_slab(shape: Sequence[int], itemsize: int) -> int:
    """Return how many slices a block has where the edges of blocks are costly.

    As `slab_thickness`, but within 256 MiB, and leaving 6 slabs or more.
    """
    return _thickness(shape, itemsize, THICK_SLAB_BYTES, THICK_SLABS)


def _thickness(shape: Sequence[int], itemsize: int, most_bytes: int, slabs: int) -> int:
    fitting = most_bytes // max(1, prod(shape[1:]) * itemsize)
    return 1 << (max(1, min(SLAB_SLICES, fitting, shape[0] // slabs)).bit_length() - 1)


def pyramid(
    shape: Sequence[int], spacing: tuple[float, float, float], slab: int
) -> tuple[Triple, ...]:
    """Return the down-sampling factors of every level, counted from the full image.

    The first level is the image itself. Each further level halves the axes whose voxels
    are at most sqrt(2) times as long as the shortest at that level, so that voxels grow
    towards cubes and an axis that is much coarser than the others waits for them. An axis
    of length 1 is never halved, and z only while its factor divides ``slab``, so that
    whoever holds a slab can make its part of every level alone; an axis that cannot be
    halved does not hold back the others. The last level is the first one with at most
    512 rows and columns.

    Parameters
    ----------
    shape : sequence of int
        Slices, rows and columns of the stack.
    spacing : tuple of float
        Distance of voxels along z, y and x, in any one unit.
    slab : int
        Slices per block.

    Returns
    -------
    tuple of tuple of int
        Factors along z, y and x, one triple per level.
    """
    factors = [(1, 1, 1)]
    while max(pooled_shape(shape, factors[-1])[1:]) > COARSEST:
        factors.append(_next_factor(shape, spacing, slab, factors[-1]))
    return tuple(factors)


def _next_factor(
    shape: Sequence[int], spacing: tuple[float, float, float], slab: int, factor: Triple
) -> Triple:
    lengths = pooled_shape(shape, factor)
    splits_slab = slab % (2 * factor[0]) != 0
    free = (lengths[0] > 1 and not splits_slab, lengths[1] > 1, lengths[2] > 1)
    voxel = [distance * f for distance, f in zip(spacing, factor, strict=True)]
    shortest = min(length for length, is_free in zip(voxel, free, strict=True) if is_free)
    z, y, x = (
        2 * f if is_free and length <= sqrt(2) * shortest else f
        for f, is_free, length in zip(factor, free, voxel, strict=True)
    )
    return z, y, x


def pooled_shape(shape: Sequence[int], factor: Sequence[int]) -> Triple:
    """Return the shape of a level; what is left over at an edge makes a voxel of its own."""
    z, y, x = (-(-n // f) for n, f in zip(shape, factor, strict=True))
    return z, y, x


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
    for axis in (1, 0, 2):  # columns last: pairs of neighbours are the slowest to add
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
