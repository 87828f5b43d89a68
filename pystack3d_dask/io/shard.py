"""Shards of a Zarr array, written one compressed chunk at a time.

zarr holds the chunks of a shard and their concatenation before it writes (1.9 times the
values when they are noisy), and to replace a shard it first reads the old one, which it
cannot do when that is damaged. This writer holds one chunk, reads nothing, and takes
about two thirds of the time. The format is that of the ``sharding_indexed`` codec with
its index at the end.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pystack3d_dask.io.chunk import encode, replacing, with_checksum
from pystack3d_dask.spec import Array

ABSENT = np.uint64(2**64 - 1)


def write_shard(path: Path, values: Array, slices: int, tile: tuple[int, int]) -> int:
    """Write one shard, whatever was there before, in one atomic step.

    Every chunk that has values is stored, blank ones too, so that a blank shard differs
    from a missing one.

    Parameters
    ----------
    path : Path
        File of the shard.
    values : ndarray, shape (k, rows, columns)
        All values of the shard; ``k <= slices``.
    slices : int
        Slices that a shard of the array has; the array ends before those after ``k``.
    tile : tuple of int
        Rows and columns of a chunk; a chunk is one slice thick. Chunks that reach over
        the edge are filled up with zeros.

    Returns
    -------
    int
        Size of the file in bytes.
    """
    rows, columns = (-(-n // t) for n, t in zip(values.shape[1:], tile, strict=True))
    index = np.full((slices, rows, columns, 2), ABSENT, dtype="<u8")
    with replacing(path) as file:
        for z, y, x in np.ndindex(len(values), rows, columns):
            chunk = encode(_chunk(values[z], y, x, tile))
            index[z, y, x] = file.tell(), len(chunk)
            file.write(chunk)
        file.write(with_checksum(index.tobytes()))
        return file.tell()


def _chunk(plane: Array, y: int, x: int, tile: tuple[int, int]) -> Array:
    rows, columns = tile
    part = plane[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns]
    chunk = np.zeros(tile, part.dtype.newbyteorder("<"))
    chunk[: part.shape[0], : part.shape[1]] = part
    return chunk
