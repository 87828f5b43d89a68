"""Lazy arrays as the source of a project: written once, as OME-Zarr."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from pystack3d_dask.core.pyramid import slab_thickness
from pystack3d_dask.core.typing import Array
from pystack3d_dask.errors import StackError
from pystack3d_dask.io.ome.image import (
    ResultWriter,
    create_result,
    finish_result,
    is_complete,
    result_state,
)
from pystack3d_dask.io.tiff.stack import tiff_names
from pystack3d_dask.io.work import remove_store
from pystack3d_dask.lazy.corrections import channel_names, stack_spec

NAME = "stack.zarr"


def store_stack(stack: xr.DataArray, directory: Path) -> Path:
    """Write a stack to ``directory/stack.zarr``, if it is not there already.

    Parameters
    ----------
    stack : DataArray, dims (z, y, x) or (c, z, y, x)
        Computed slab by slab, with the scheduler of dask that is set.
    directory : Path
        Made where it does not exist.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    StackError
        When the array is no stack, or something else is at the place.
    """
    spec, names = stack_spec(stack), channel_names(stack)
    path, token = directory / NAME, tokenize(stack)
    if path.exists():
        if "token" not in result_state(path):
            message = f"{path} is something else than an array that was written there: move it"
            raise StackError(message)
        if is_complete(path, token):
            return directory
        remove_store(path)
    directory.mkdir(parents=True, exist_ok=True)
    if tiff_names(directory):
        message = f"{directory} has slices of its own: name another directory for the array"
        raise StackError(message)
    slab, about = slab_thickness(spec.shape, stack.dtype.itemsize), {"token": token}
    create_result(path, channels=names, spec=spec, dtype=stack.dtype, slab=slab, attrs=about)
    data = da.asarray(stack.data).reshape(len(names), *spec.shape)
    writer = ResultWriter(path)
    slabs = data.rechunk((1, slab, -1, -1))
    slabs.map_blocks(_write, writer, slab, dtype=np.uint8, chunks=(1, 1, 1, 1)).compute()
    finish_result(path, {})
    return directory


def _write(values: Array, writer: ResultWriter, slab: int, block_id: tuple[int, ...]) -> Array:
    channel, number = block_id[:2]
    writer.write(channel, number * slab, values[0])
    return np.zeros((1, 1, 1, 1), np.uint8)
