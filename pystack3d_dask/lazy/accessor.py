"""Corrections as methods of arrays: ``stack.stack3d.correct(...)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

if TYPE_CHECKING:
    from pystack3d_dask.core.step import Step
    from pystack3d_dask.lazy.corrections import Fit


@xr.register_dataarray_accessor("stack3d")  # type: ignore[no-untyped-call]
class Stack3D:
    """Corrections of a stack, dims (z, y, x) or (c, z, y, x).

    Parameters
    ----------
    stack : DataArray
        The stack.
    """

    def __init__(self, stack: xr.DataArray) -> None:
        self._stack = stack

    def fit(self, correction: Step) -> Fit:
        """Find what a correction must know about the whole stack; see `pystack3d_dask.fit`."""
        from pystack3d_dask.lazy.corrections import fit

        return fit(self._stack, correction)

    def correct(self, correction: Step, fit: Fit | None = None) -> xr.DataArray:
        """Correct the stack lazily; see `pystack3d_dask.correct`."""
        from pystack3d_dask.lazy.corrections import correct

        return correct(self._stack, correction, fit)

    def to_source_type(self, *, dither: bool = False) -> xr.DataArray:
        """Round and clip to the type of the acquisition; see `pystack3d_dask.to_source_type`."""
        from pystack3d_dask.lazy.corrections import to_source_type

        return to_source_type(self._stack, dither=dither)
