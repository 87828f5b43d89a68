"""Shards of a Zarr array, written one compressed chunk at a time.

zarr holds the chunks of a shard and their concatenation before it writes (1.9 times the
values when they are noisy), and to replace a shard it first reads the old one, which it
cannot do when that is damaged. This writer holds one chunk, reads nothing, and takes
about two thirds of the time. The format is that of the ``sharding_indexed`` codec with
its index at the end.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import imagecodecs
import numpy as np
from zarr.codecs import BloscCodec, Crc32cCodec

from pystack3d_dask.spec import Array

# what `_encoded` does, in words for the array's metadata; bitshuffle is what makes lz4
# gain anything on noise
LEVEL = 5
CODECS = (BloscCodec(cname="lz4", clevel=LEVEL, shuffle="bitshuffle"), Crc32cCodec())
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
    with _replacing(path) as file:
        for z, y, x in np.ndindex(len(values), rows, columns):
            chunk = _encoded(_chunk(values[z], y, x, tile))
            index[z, y, x] = file.tell(), len(chunk)
            file.write(chunk)
        file.write(_with_checksum(index.tobytes()))
        return file.tell()


def _chunk(plane: Array, y: int, x: int, tile: tuple[int, int]) -> Array:
    rows, columns = tile
    part = plane[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns]
    chunk = np.zeros(tile, part.dtype.newbyteorder("<"))
    chunk[: part.shape[0], : part.shape[1]] = part
    return chunk


def _encoded(chunk: Array) -> bytes:
    # imagecodecs, since numcodecs takes its number of threads from a global
    data = imagecodecs.blosc_encode(
        chunk.tobytes(),
        level=LEVEL,
        compressor="lz4",
        shuffle="bitshuffle",
        typesize=chunk.itemsize,
        numthreads=1,
    )
    return _with_checksum(bytes(data))


def _with_checksum(data: bytes) -> bytes:
    checksum: int = google_crc32c.value(data)
    return data + checksum.to_bytes(4, "little")


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
