"""Stacks and results for `xarray.open_dataset`, as ``engine="pystack3d"``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from pystack3d_dask.core.spec import AXES
from pystack3d_dask.core.typing import Array
from pystack3d_dask.io.ome.image import result_state, stored_result
from pystack3d_dask.io.on_demand import NAME, Stored, View
from pystack3d_dask.lazy.arrays import stored_source
from pystack3d_dask.lazy.corrections import open_slices

DIMS = ("c", *AXES)


class StackBackend(BackendEntrypoint):
    """Opens a directory of slices, or a result, as a dataset with the variable ``image``."""

    description = "Stacks of slices, and results of pystack3d-dask"
    open_dataset_parameters: ClassVar[tuple[str, ...] | None] = (
        "filename_or_obj",
        "drop_variables",
        "channels",
        "voxel_size",
        "scale",
    )

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        channels: Sequence[str] = (".",),
        voxel_size: Sequence[float] | None = None,
        scale: int = 0,
    ) -> xr.Dataset:
        """Open a stack or a result; pixels are read when they are used.

        Parameters
        ----------
        filename_or_obj : path-like
            A directory of slices, a TIFF file or a Zarr, as for `pystack3d_dask.open_stack`; or
            a result, such as ``my_stack/process/result.zarr``.
        drop_variables : str or iterable of str, optional
            What to leave out.
        channels : sequence of str
            Of a stack: its sub-directories, one per channel.
        voxel_size : sequence of float, optional
            Of a stack: x, y and z of a voxel in micrometers, in place of what the files say.
        scale : int
            Of a result: the level of its pyramid, 0 for full size.

        Raises
        ------
        StackError
            When there is no stack and no result.
        """
        path = Path(os.fspath(filename_or_obj))
        if "token" in result_state(path):
            stored = stored_result(path, scale)
        else:
            stored = stored_source(open_slices(path, tuple(channels), voxel_size))
        dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables or ()
        return _dataset(stored).drop_vars([*dropped], errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return False: other engines open Zarr and TIFF files, too; this one is asked for."""
        return False


class _Pixels(BackendArray):
    """Pixels of a stack on disk, for xarray."""

    def __init__(self, pixels: Any) -> None:
        self._view = View(pixels)
        self.shape, self.dtype = self._view.shape, self._view.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, index: tuple[int | slice, ...]) -> Array:
        return self._view[index]


def _dataset(stored: Stored) -> xr.Dataset:
    data = indexing.LazilyIndexedArray(_Pixels(stored.pixels))
    chunks = dict(zip(DIMS, stored.chunks, strict=True))
    variable = xr.Variable(DIMS, data, stored.attrs, {"preferred_chunks": chunks})
    return xr.Dataset({NAME: variable}, stored.coords)
