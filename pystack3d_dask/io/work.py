"""Levels of the chain on disk, between passes: one chunk per slice, or per part of a large one.

A block writes whole slices, so no two tasks ever touch one chunk. Chunks carry a checksum:
what was damaged on disk is found when it is read.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from pystack3d_dask.spec import Array, Region, StackSpec

CHUNK_BYTES = 16 * 2**20


def create_level(
    path: Path,
    spec: StackSpec,
    channels: int,
    dtype: np.dtype[Any],
    attrs: Mapping[str, Any],
) -> None:
    """Make an empty level, in place of what there was.

    Parameters
    ----------
    path : Path
        Directory of the array.
    spec : StackSpec
        Any one channel at this level.
    channels : int
        Number of channels.
    dtype : numpy.dtype
        Type that holds the values of every channel.
    attrs : mapping
        Attributes to begin with.
    """
    remove_level(path)
    _, height, width = spec.shape
    rows = max(1, min(height, CHUNK_BYTES // max(1, width * dtype.itemsize)))
    zarr.create_array(
        path,
        shape=(channels, *spec.shape),
        chunks=(1, 1, -(-height // -(-height // rows)), width),
        dtype=dtype,
        compressors=[
            BloscCodec(typesize=dtype.itemsize, cname="lz4", clevel=5, shuffle="shuffle"),
            Crc32cCodec(),
        ],
        dimension_names=("c", "z", "y", "x"),
        attributes=dict(attrs),
    )


def remove_level(path: Path) -> None:
    """Remove a level; nothing happens where there is none."""
    if path.exists():
        shutil.rmtree(path)


def attributes(path: Path) -> dict[str, Any]:
    """Return the attributes of a level, or of any array or group; none without a readable one."""
    try:
        return dict(zarr.open(path, mode="r").attrs)
    except (FileNotFoundError, ValueError, KeyError):
        return {}


def update_attrs(path: Path, attrs: Mapping[str, Any]) -> None:
    """Add to the attributes of a level."""
    zarr.open_array(path, mode="r+").update_attributes(dict(attrs))


class Level:
    """A level that is open for reading and writing.

    Parameters
    ----------
    path : Path
        Directory of the array.
    """

    def __init__(self, path: Path) -> None:
        config = {"write_empty_chunks": True}  # a blank slice must not look like a missing one
        self._array: Any = zarr.open_array(path, mode="r+", config=config)

    def read(self, channel: int, region: Region, dtype: np.dtype[Any]) -> Array:
        """Return a region of a channel in the type of the channel."""
        values = np.asarray(self._array[(channel, *region.slices)])
        return values.astype(dtype, copy=False)

    def write(self, channel: int, z: int, image: Array) -> None:
        """Write one whole slice of a channel."""
        self._array[channel, z] = image
