"""Levels of the chain on disk, between passes: one chunk per slice, or per part of a large one.

A block writes whole slices, so no two tasks ever touch one chunk. Chunks carry a checksum:
what was damaged on disk is found when it is read.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.typing import Array
from pystack3d_dask.io.zarr.chunk import CODECS, Written, decode, encode, reading, write_file

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
    remove_store(path)
    _, height, width = spec.shape
    rows = max(1, min(height, CHUNK_BYTES // max(1, width * dtype.itemsize)))
    zarr.create_array(
        path,
        shape=(channels, *spec.shape),
        chunks=(1, 1, -(-height // -(-height // rows)), width),
        dtype=dtype,
        compressors=CODECS,
        chunk_key_encoding={"name": "default", "separator": "."},  # one directory for all
        dimension_names=("c", "z", "y", "x"),
        attributes=dict(attrs),
    )


def remove_store(path: Path) -> None:
    """Remove a directory with Zarr arrays; nothing happens where there is none.

    It is gone at once, under its name: a process that is killed meanwhile leaves no store that
    still says that it is complete.
    """
    gone = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    with suppress(FileNotFoundError):
        path.rename(gone)
        shutil.rmtree(gone)


def attributes(path: Path) -> dict[str, Any]:
    """Return the attributes of a Zarr array or group; none without readable metadata."""
    try:
        attrs: dict[str, Any] = json.loads((path / "zarr.json").read_bytes())["attributes"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return {}
    return attrs if isinstance(attrs, dict) else {}


def names(path: Path, token: str) -> bool:
    """Return whether a token stands in the metadata of a store; quicker than `attributes`."""
    try:
        return token.encode() in (path / "zarr.json").read_bytes()
    except FileNotFoundError:
        return False


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
        self._path = path
        array: Any = zarr.open_array(path, mode="r")
        self._encode_key = array.metadata.encode_chunk_key
        self._dtype: np.dtype[Any] = array.dtype
        self._rows, self._width = array.chunks[2:]

    def read(self, channel: int, region: Region, dtype: np.dtype[Any]) -> Array:
        """Return a region of a channel in the type of the channel.

        Raises
        ------
        DamageError
            When a chunk is missing or damaged.
        """
        out = np.empty(region.shape, dtype)
        (_, top, left), (_, bottom, right) = region.start, region.stop
        for image, z in zip(out, region.z, strict=True):
            for part in range(top // self._rows, -(-bottom // self._rows)):
                first = part * self._rows
                start, stop = max(first, top), min(first + self._rows, bottom)
                chunk = self._chunk(self._file(channel, z, part))
                image[start - top : stop - top] = chunk[start - first : stop - first, left:right]
        return out

    def write(self, channel: int, z: int, image: Array) -> list[Written]:
        """Write one whole slice of a channel; return the files."""
        written = []
        for part, first in enumerate(range(0, len(image), self._rows)):
            rows = image[first : first + self._rows]
            chunk = np.zeros((self._rows, self._width), self._dtype)
            chunk[: len(rows)] = rows
            written.append(write_file(self._file(channel, z, part), [encode(chunk)]))
        return written

    def _file(self, channel: int, z: int, part: int) -> Path:
        return self._path / str(self._encode_key((channel, z, part, 0)))

    def _chunk(self, file: Path) -> Array:
        with reading(file):
            return decode(file.read_bytes(), self._dtype, (self._rows, self._width))
