"""A result written again as OME-Zarr 0.4, for programs that do not read version 0.5 yet.

Arrays ``0``, ``1``, ... in Zarr version 2, axes (c, z, y, x), hold the levels of the
result. A chunk is as thick as a shard of the result, so that each is written once. What is
held meanwhile is one slab of slices, and a chunk per thread.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Blosc

from pystack3d_dask.core.typing import Array
from pystack3d_dask.io.ome.image import OURS, ResultReader
from pystack3d_dask.io.zarr.chunk import LEVEL, compress, write_file

VERSION = "0.4"
COMPRESSOR = "zstd"
THREADS = 8  # each holds a slice or a chunk


def is_version_04(path: Path) -> bool:
    """Return whether a directory is an OME-Zarr 0.4 image."""
    if not (path / ".zgroup").is_file():
        return False
    multiscales: Any = zarr.open_group(path, mode="r", zarr_format=2).attrs.get("multiscales", [])
    return any(each.get("version") == VERSION for each in multiscales)


def write_version_04(result: Path, path: Path) -> Iterator[tuple[int, int]]:
    """Write a complete result as OME-Zarr 0.4, in place of what is at ``path``.

    It appears there once it is complete.

    Parameters
    ----------
    result : Path
        The result.
    path : Path
        Directory to be made.

    Yields
    ------
    tuple of int
        How many chunks' thicknesses of slices are written, and how many there are.

    Raises
    ------
    PixelError
        When a shard of the result is missing or damaged.
    """
    reader = ResultReader(result)
    draft = path.with_name(f"{path.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    root = zarr.create_group(draft, zarr_format=2, attributes=_attributes(result))
    slabs = [
        (level, channel, z)
        for level in range(reader.levels)
        for channel in range(reader.shape(level)[0])
        for z in range(0, reader.shape(level)[1], reader.chunks(level)[0])
    ]
    for level in range(reader.levels):
        _create(root, reader, level)
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        for done, (level, channel, start) in enumerate(slabs, start=1):
            slab = _read_slab(pool, reader, level, channel, start)
            folder = draft / str(level) / str(channel) / str(start // len(slab))
            _write_chunks(pool, folder, slab, reader.chunks(level)[1:])
            yield done, len(slabs)
    if path.exists():
        shutil.rmtree(path)
    os.replace(draft, path)


def _read_slab(pool: Executor, reader: ResultReader, level: int, channel: int, start: int) -> Array:
    """Return as many slices as a chunk has, blank ones behind the end of the stack."""
    _, count, rows, columns = reader.shape(level)
    slices = reader.chunks(level)[0]
    slab = np.zeros((slices, rows, columns), reader.dtype)

    def read(k: int) -> None:
        slab[k] = reader.read(channel, start + k, level)

    list(pool.map(read, range(min(slices, count - start))))
    return slab


def _write_chunks(pool: Executor, folder: Path, slab: Array, tile: tuple[int, int]) -> None:
    """Write the chunks of a slab, filled up with zeros where they reach over the edge.

    Blank ones are left out, as zarr does.
    """

    def write(place: tuple[int, ...]) -> None:
        y, x = place
        part = slab[:, y * tile[0] : (y + 1) * tile[0], x * tile[1] : (x + 1) * tile[1]]
        if not part.any():
            return
        chunk = np.zeros((len(slab), *tile), slab.dtype)
        chunk[:, : part.shape[1], : part.shape[2]] = part
        write_file(folder / str(y) / str(x), [compress(chunk, COMPRESSOR)])

    _, rows, columns = slab.shape
    grid = np.ndindex(-(-rows // tile[0]), -(-columns // tile[1]))
    list(pool.map(write, grid))


def _create(root: zarr.Group, reader: ResultReader, level: int) -> None:
    root.create_array(
        str(level),
        shape=reader.shape(level),
        dtype=reader.dtype,
        chunks=(1, *reader.chunks(level)),
        compressors=Blosc(cname=COMPRESSOR, clevel=LEVEL, shuffle=Blosc.BITSHUFFLE),
        chunk_key_encoding={"name": "v2", "separator": "/"},
        fill_value=0,
    )


def _attributes(result: Path) -> dict[str, Any]:
    """Return the metadata of the result, with the paths and in the places of version 0.4."""
    attrs: Any = zarr.open_group(result, mode="r").attrs
    ome, own = attrs["ome"], attrs[OURS]
    multiscale = ome["multiscales"][0]
    datasets = [
        {**dataset, "path": str(level)} for level, dataset in enumerate(multiscale["datasets"])
    ]
    return {
        "multiscales": [{**multiscale, "version": VERSION, "datasets": datasets}],
        "omero": {**ome["omero"], "version": VERSION},
        OURS: {key: own[key] for key in ("assumed", "channel_names") if key in own},
    }
