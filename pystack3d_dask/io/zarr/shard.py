"""Shards of a Zarr array, written and read one compressed chunk at a time.

zarr holds the chunks of a shard and their concatenation before it writes (1.9 times the
values when they are noisy), and to replace a shard it first reads the old one, which it
cannot do when that is damaged. This writer holds one chunk, reads nothing, and takes
about two thirds of the time. The format is that of the ``sharding_indexed`` codec with
its index at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.io.zarr.chunk import (
    CHECKSUM_BYTES,
    Written,
    WrongBytesError,
    decode,
    encode,
    reading,
    with_checksum,
    write_file,
)

ABSENT = np.uint64(2**64 - 1)


def write_shard(path: Path, values: Array, slices: int, tile: tuple[int, int]) -> Written:
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
    Written
    """
    return write_file(path, _parts(values, slices, tile))


def _parts(values: Array, slices: int, tile: tuple[int, int]) -> Iterator[bytes]:
    """Yield the chunks of a shard, then its index."""
    rows, columns = (-(-n // t) for n, t in zip(values.shape[1:], tile, strict=True))
    index = np.full((slices, rows, columns, 2), ABSENT, dtype="<u8")
    offset = 0
    for z, y, x in np.ndindex(len(values), rows, columns):
        chunk = encode(_chunk(values[z], y, x, tile))
        index[z, y, x] = offset, len(chunk)
        offset += len(chunk)
        yield chunk
    yield with_checksum(index.tobytes())


def read_slice(
    path: Path,
    k: int,
    shape: tuple[int, int],
    slices: int,
    tile: tuple[int, int],
    dtype: np.dtype[Any],
) -> Array:
    """Read one slice of a shard that `write_shard` wrote, decoding its chunks only.

    Parameters
    ----------
    path : Path
        File of the shard.
    k : int
        Which of the shard's slices.
    shape : tuple of int
        Rows and columns of the slice.
    slices, tile : int, tuple of int
        As in `write_shard`.
    dtype : numpy.dtype
        Type of the values.

    Returns
    -------
    ndarray, shape ``shape``

    Raises
    ------
    DamageError
        When the shard is missing or damaged.
    """
    grid = tuple(-(-n // t) for n, t in zip(shape, tile, strict=True))
    image = np.empty(shape, dtype)
    with reading(path), path.open("rb") as file:
        index = _read_index(file, (slices, *grid))
        for y, x in np.ndindex(*grid):
            offset, size = (int(number) for number in index[k, y, x])
            if offset == ABSENT:
                message = f"slice {k} of the shard was never written"
                raise WrongBytesError(message)
            file.seek(offset)
            part = image[y * tile[0] : (y + 1) * tile[0], x * tile[1] : (x + 1) * tile[1]]
            part[...] = decode(file.read(size), dtype, tile)[: part.shape[0], : part.shape[1]]
    return image


def _read_index(file: BinaryIO, shape: tuple[int, ...]) -> Array:
    length = 16 * int(np.prod(shape)) + CHECKSUM_BYTES
    size = file.seek(0, 2)
    file.seek(max(0, size - length))
    data = file.read()
    if len(data) < length or with_checksum(data[:-CHECKSUM_BYTES]) != data:
        message = f"the checksum of its index does not match, the file has {size} bytes"
        raise WrongBytesError(message)
    return np.frombuffer(data[:-CHECKSUM_BYTES], "<u8").reshape(*shape, 2)


def _chunk(plane: Array, y: int, x: int, tile: tuple[int, int]) -> Array:
    rows, columns = tile
    part = plane[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns]
    chunk = np.zeros(tile, part.dtype.newbyteorder("<"))
    chunk[: part.shape[0], : part.shape[1]] = part
    return chunk
