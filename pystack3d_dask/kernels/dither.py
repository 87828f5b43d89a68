"""Noise that makes rounding fair: gray levels between two of a type come out as both.

Without it a fraction is always rounded the same way. Where slices are brightened that were whole
numbers, some levels then stay empty and others get twice the pixels. With pseudo-random noise of
one level before rounding (Roberts, IRE Transactions on Information Theory 8, 1962) the mean of
many pixels is exact, and the histogram is even.

The noise of a voxel comes from its place alone, by the finalizer of MurmurHash3 (A. Appleby): it is
the same in any block, on any worker, and when a run is resumed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.backend import namespace
from pystack3d_dask.kernels.jit import compiled

BITS = 24  # of the hash that count: as many as float32 holds
WIDTH = 127 / 128  # levels: a whole number plus all of the noise still rounds to itself
PLACES = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)  # odd numbers that tell z, y and x apart
MIX = ((16, 0x85EBCA6B), (13, 0xC2B2AE35))
LAST_SHIFT = 16
WORD = 0xFFFFFFFF


def dithered(image: Any, z: int, corner: tuple[int, int]) -> Any:
    """Return a slice with the noise that makes rounding to whole numbers fair.

    Parameters
    ----------
    image : ndarray of float, shape (rows, columns)
        Of numpy or cupy; the same kind is returned. What is a whole number rounds to itself.
    z : int
        Index of the slice in the stack.
    corner : tuple of int
        Row and column, in the stack, of its first pixel.
    """
    if namespace(image) is not np:
        return dithered_on_arrays(image, z, corner)
    out = np.empty_like(image)
    _dither(image, z, *corner, out)
    return out


def dithered_on_arrays(image: Any, z: int, corner: tuple[int, int]) -> Any:
    """Return the same by operations on whole arrays, of numpy or cupy."""
    xp = namespace(image)
    row, column = (
        xp.arange(start, start + count).astype(np.uint32) * np.uint32(factor)
        for start, count, factor in zip(corner, image.shape, PLACES[1:], strict=True)
    )
    found = row[:, None] + column[None, :] + np.uint32(z * PLACES[0] & WORD)
    for shift, factor in MIX:
        found = (found ^ (found >> np.uint32(shift))) * np.uint32(factor)
    found ^= found >> np.uint32(LAST_SHIFT)
    noise = ((found >> np.uint32(32 - BITS)) + 0.5) / 2**BITS - 0.5
    return image + (WIDTH * noise).astype(image.dtype)


@compiled()
def _dither(image: Array, z: int, top: int, left: int, out: Array) -> None:
    rows, columns = image.shape
    word = np.uint64(WORD)
    for y in range(rows):
        start = np.uint64(z * PLACES[0] + (top + y) * PLACES[1]) & word
        for x in range(columns):
            found = (start + np.uint64((left + x) * PLACES[2])) & word
            for shift, factor in MIX:
                found = ((found ^ (found >> np.uint64(shift))) * np.uint64(factor)) & word
            found ^= found >> np.uint64(LAST_SHIFT)
            noise = (np.float64(found >> np.uint64(32 - BITS)) + 0.5) / 2**BITS - 0.5
            out[y, x] = image[y, x] + out.dtype.type(WIDTH * noise)
