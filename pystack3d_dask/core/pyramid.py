"""Shapes of blocks and of multiscale levels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

from pystack3d_dask.core.typing import Triple

SLAB_SLICES = 16
SLAB_BYTES = 32 * 2**20
SLABS = 8  # at least, where the stack allows, so that several workers have something to do
THICK_SLAB_BYTES = 8 * SLAB_BYTES
THICK_SLABS = 6
COARSEST = 512


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
    toward cubes and an axis that is much coarser than the others waits for them. An axis
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
