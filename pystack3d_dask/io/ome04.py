"""A result written again as OME-Zarr 0.4, for programs that do not read version 0.5 yet.

Arrays ``0``, ``1``, ... in Zarr version 2, axes (c, z, y, x), hold the levels of the
result. A chunk is as thick as a shard of the result, so that each is written once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Blosc

from pystack3d_dask.io.ome import ResultReader

VERSION = "0.4"


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
    arrays = [_create(root, reader, level) for level in range(reader.levels)]
    for done, (level, channel, start) in enumerate(slabs, start=1):
        stop = min(start + reader.chunks(level)[0], reader.shape(level)[1])
        slab = np.stack([reader.read(channel, z, level) for z in range(start, stop)])
        arrays[level][channel, start:stop] = slab
        yield done, len(slabs)
    if path.exists():
        shutil.rmtree(path)
    os.replace(draft, path)


def _create(root: zarr.Group, reader: ResultReader, level: int) -> Any:
    return root.create_array(
        str(level),
        shape=reader.shape(level),
        dtype=reader.dtype,
        chunks=(1, *reader.chunks(level)),
        compressors=Blosc(cname="zstd", clevel=5, shuffle=Blosc.BITSHUFFLE),
        chunk_key_encoding={"name": "v2", "separator": "/"},
        fill_value=0,
    )


def _attributes(result: Path) -> dict[str, Any]:
    """Return the metadata of the result, with the paths and in the places of version 0.4."""
    ome: Any = zarr.open_group(result, mode="r").attrs["ome"]
    multiscale = ome["multiscales"][0]
    datasets = [
        {**dataset, "path": str(level)} for level, dataset in enumerate(multiscale["datasets"])
    ]
    return {
        "multiscales": [{**multiscale, "version": VERSION, "datasets": datasets}],
        "omero": {**ome["omero"], "version": VERSION},
    }
