"""Corrections as functions on lazy arrays, for notebooks and scripts.

They take a DataArray with dims (z, y, x) or (c, z, y, x), of numpy or dask arrays, and
return a lazy one. Values stay float32 between corrections; `to_source_type` rounds them in
the end, once, as the engine does.
"""

from __future__ import annotations

import inspect
import json
import warnings
import zipfile
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from pystack3d_dask.core.chain import Chain
from pystack3d_dask.core.provenance import provenance
from pystack3d_dask.core.registry import registry
from pystack3d_dask.core.spec import AXES, StackSpec
from pystack3d_dask.core.step import Step
from pystack3d_dask.core.typing import Arrays, Triple
from pystack3d_dask.errors import FitRequiredError, ParameterError, StackError
from pystack3d_dask.io.dtypes import DTYPES
from pystack3d_dask.io.ome.image import BAD, bad_coordinate
from pystack3d_dask.io.ome.image import open_result as open_result_at
from pystack3d_dask.io.source import Source
from pystack3d_dask.io.sources import open_source
from pystack3d_dask.io.wrappers.scaled import Scaled, check_voxel_size
from pystack3d_dask.kernels.backend import namespace
from pystack3d_dask.kernels.casting import cast
from pystack3d_dask.kernels.dither import dithered
from pystack3d_dask.lazy.arrays import correct_array, fit_chain, lazy_source
from pystack3d_dask.project.config import build_step, checked_step
from pystack3d_dask.project.project import borrowed_fits, check_steps, handed_out

SOURCE_TYPE = "source_dtype"  # attribute of a DataArray: the type of the acquisition


@dataclass(frozen=True)
class Fit:
    """What a correction found out about a whole stack: small, and savable.

    Parameters
    ----------
    correction : Step
        The correction with its parameters.
    channels : tuple of dict
        Arrays per channel.
    shape : tuple of int
        Slices, rows and columns of the stack: it fits no other.
    """

    correction: Step
    channels: tuple[Arrays, ...]
    shape: Triple

    def save(self, path: str | Path) -> None:
        """Write the fit to a file ``*.npz``."""
        about = {
            "step": self.correction.name,
            "parameters": self.correction.parameters(),
            "shape": self.shape,
        }
        arrays = {
            f"{index}|{name}": array
            for index, arrays in enumerate(self.channels)
            for name, array in arrays.items()
        }
        with Path(path).open("wb") as file:
            np.savez(file, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Fit:
        """Read a fit that `save` wrote.

        Raises
        ------
        StackError
            When the file is something else.
        """
        try:
            return cls._load(Path(path))
        except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            message = f"{path}: a fit that was saved expected, found something else ({error})"
            raise StackError(message) from error

    @classmethod
    def _load(cls, path: Path) -> Fit:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            channels: dict[int, Arrays] = {}
            for name in file.files:
                if name != "about":
                    index, key = name.split("|")
                    channels.setdefault(int(index), {})[key] = file[name]
        given = {key: value for key, value in about["parameters"].items() if value is not None}
        step = build_step(about["step"], given)
        slices, rows, columns = about["shape"]
        arrays = tuple(channels[index] for index in sorted(channels))
        return cls(step, arrays, (slices, rows, columns))


def open_stack(
    path: str | Path,
    channels: tuple[str, ...] = (".",),
    voxel_size: Sequence[float] | None = None,
) -> xr.DataArray:
    """Open slices as a lazy array; pixels are read when they are computed.

    Parameters
    ----------
    path : path-like
        A directory of TIFF slices, a multi-page TIFF, a Zarr array or OME-Zarr image.
    channels : tuple of str
        Sub-directories, one per channel.
    voxel_size : sequence of float, optional
        Width and height of pixels, and the distance of slices where that is given, too, in
        micrometers: in place of what the files tell.

    Returns
    -------
    DataArray, dims (c, z, y, x)
        Coordinates in micrometers where the size of voxels is given or the files tell it, else
        in pixels.

    Raises
    ------
    SourceError
        When the headers are wrong or do not agree.
    ValueError
        When voxels cannot have that size.
    """
    return lazy_source(open_slices(path, channels, voxel_size))


def open_slices(
    path: str | Path, channels: tuple[str, ...], voxel_size: Sequence[float] | None
) -> Source:
    """Return the source at a path, and warn of what its notes say; see `open_stack`."""
    source: Source = open_source(path, channels=channels)
    if voxel_size is not None:
        source = Scaled(source, check_voxel_size(voxel_size))
    for note in source.notes:
        warnings.warn(note, stacklevel=_outside())
    return source


def open_result(directory: str | Path, level: int = 0) -> xr.DataArray:
    """Open the result of a project as a lazy array, dims (c, z, y, x).

    Parameters
    ----------
    directory : path-like
        The project.
    level : int
        Level of the pyramid: 0 is the result itself, each further one is coarser.

    Raises
    ------
    StackError
        When there is none, or the run is not complete, or there is no such level.
    """
    return open_result_at(Path(directory) / "process" / "result.zarr", level)


def to_source_type(stack: xr.DataArray, *, dither: bool = False) -> xr.DataArray:
    """Round and clip corrected values to the type of the acquisition.

    Parameters
    ----------
    stack : DataArray
        What `correct` returned; it stays as it is.
    dither : bool
        Whether noise of one gray level is added before values are rounded to integers. It depends
        on the place in the array: round first, then select.

    Returns
    -------
    DataArray
        Lazy; halves are rounded to even numbers, as NumPy does.
    """
    dtype = _source_type(stack)
    values = da.asarray(stack.data)
    if dither and dtype.kind in "iu" and values.dtype.kind == "f":
        values = values.map_blocks(_dithered, dtype=values.dtype, meta=values._meta)
    return stack.copy(data=values.map_blocks(cast, dtype, "float32", dtype=dtype))


def _dithered(block: Any, block_info: Any = None) -> Any:
    """Return a block of a stack, of one or several channels, with noise in every slice."""
    *_, first, top, left = (start for start, _ in block_info[0]["array-location"])
    out = namespace(block).empty_like(block)
    for place in np.ndindex(block.shape[:-2]):
        out[place] = dithered(block[place], first + place[-1], (top, left))
    return out


def fit(stack: xr.DataArray, correction: Step) -> Fit:
    """Find what a correction must know about the whole stack; computes, at once.

    Parameters
    ----------
    stack : DataArray, dims (z, y, x) or (c, z, y, x)
        The stack as it comes to the correction. Of several channels each has a fit of its own,
        or all share that of one of them, as the correction says (`RegistrationCalculation`).
    correction : Step
        A correction with a fit to the stack, such as `BackgroundRemoval` with three orders.

    Returns
    -------
    Fit
        Small, and savable; `correct` takes it.

    Raises
    ------
    ParameterError
        When the parameters are wrong, or do not suit the stack.
    StackError
        When the array is no stack, or the correction needs no fit.

    See Also
    --------
    correct

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> import pystack3d_dask as ps
    >>> stack = xr.DataArray(np.arange(24.0).reshape(4, 2, 3), dims=("z", "y", "x"))
    >>> found = ps.fit(stack, ps.PercentileClipping(percentiles=(0, 100)))
    >>> float(ps.correct(stack, found.correction, found).max())
    1.0
    """
    step = checked_step(correction)
    if step.fit_scope != "stack":
        message = (
            f"with these parameters {_class(step.name)} needs no fit to the whole stack: "
            "correct(stack, correction) is enough"
        )
        raise StackError(message)
    spec = _checked_spec(stack, (step,))
    chain, names, channels = Chain((step,), spec), channel_names(stack), _channels(stack)
    found = {
        index: fit_chain(channel, chain, 0)
        for index, channel in enumerate(channels)
        if step.name not in borrowed_fits((step,), names, index)
    }
    return Fit(step, tuple(handed_out(found, len(channels))), spec.shape)


def correct(stack: xr.DataArray, correction: Step, fit: Fit | None = None) -> xr.DataArray:
    """Correct a stack lazily.

    Values are rounded by `to_source_type` only, once, after the last correction.

    Parameters
    ----------
    stack : DataArray, dims (z, y, x) or (c, z, y, x)
        The stack, of numpy, dask or CuPy arrays; it does not change.
    correction : Step
        The correction with its parameters.
    fit : Fit, optional
        What `fit` found for it; for `RegistrationTransformation` what it found for
        `RegistrationCalculation`, for `SliceRepair` what it found for `SliceCheck`. Not needed by
        corrections that see each slice by itself.

    Returns
    -------
    DataArray
        With the dims, coordinates and attributes of the stack; ``map_blocks`` where a slice
        needs itself only, else ``map_overlap``. The coordinate ``bad`` along z, where there is
        one, marks slices that take no part in later fits: `SliceCheck` with its fit makes it.

    Raises
    ------
    FitRequiredError
        When the correction needs a fit and there is none.
    ParameterError
        When the parameters are wrong, or do not suit the stack.
    StackError
        When the array is no stack, or the fit is one of another correction or stack.

    See Also
    --------
    fit, to_source_type

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> import pystack3d_dask as ps
    >>> stack = xr.DataArray(np.zeros((4, 20, 30), np.uint8), dims=("z", "y", "x"))
    >>> ps.correct(stack, ps.Cropping(area=(5, 25, 0, 10))).shape
    (4, 10, 20)
    """
    step = checked_step(correction)
    if fit is None:
        if step.needs:
            raise FitRequiredError(_missing(step))
        return _applied(stack, (step,), None)
    if fit.correction.name not in (step.name, *step.needs):
        message = f"{_class(step.name)} cannot use a fit of {_class(fit.correction.name)}"
        raise StackError(message)
    if fit.correction.name != step.name:
        return _applied(stack, (fit.correction, step), fit)
    if fit.correction != step:
        message = (
            f"the fit of {_class(step.name)} was made with other parameters: "
            f"{_difference(fit.correction, step)}"
        )
        raise StackError(message)
    return _applied(stack, (step,), fit)


def _missing(step: Step) -> str:
    """Return which fit is missing, and how to make it."""
    needed = ", ".join(map(_class, step.needs))
    first = "correction" if step.needs == (step.name,) else f"{needed}(...)"
    return (
        f"{_class(step.name)} needs a fit of {needed} to the whole stack first: "
        f"found = fit(stack, {first}), then correct(stack, correction, found)"
    )


def _class(name: str) -> str:
    """Return the name of the class of a step."""
    known = registry().get(name)
    return name if known is None else known.__name__


def _difference(fitted: Step, given: Step) -> str:
    """Return the parameters that differ."""
    other = given.parameters()
    changed = {k: v for k, v in fitted.parameters().items() if other.get(k) != v}
    return ", ".join(f"{k} = {v!r}, not {other.get(k)!r}" for k, v in changed.items())


def _applied(stack: xr.DataArray, steps: tuple[Step, ...], fit: Fit | None) -> xr.DataArray:
    """Return a stack lazily corrected by some steps, one of which may have a fit."""
    spec = _checked_spec(stack, steps)
    channels = _channels(stack)
    if fit is not None and len(fit.channels) != len(channels):
        message = f"the fit is one of {len(fit.channels)} channels, the stack has {len(channels)}"
        raise StackError(message)
    if fit is not None and fit.shape != spec.shape:
        message = (
            f"the fit is one of a stack of (z, y, x) = {fit.shape} voxels, this one has "
            f"{spec.shape}: correct the whole stack, then select"
        )
        raise StackError(message)
    fits = [{} if fit is None else {fit.correction.name: found} for found in _fits(fit, channels)]
    chains = [Chain(steps, spec, known) for known in fits]
    corrected = [correct_array(each, chain) for each, chain in zip(channels, chains, strict=True)]
    data = da.stack(corrected) if stack.ndim == 4 else corrected[0]
    return _like(stack, data, spec, chains[0])


def _like(stack: xr.DataArray, data: Any, spec: StackSpec, chain: Chain) -> xr.DataArray:
    """Return values with the coordinates that are left of a stack's."""
    end, steps = chain.levels[-1], chain.steps
    top, left = (a - b for a, b in zip(end.origin, spec.origin, strict=True))
    kept = {"y": slice(top, top + end.shape[1]), "x": slice(left, left + end.shape[2])}
    coords: dict[Hashable, Any] = dict(stack.isel(kept).coords)
    coords.pop(BAD, None)
    if end.shape[0] != spec.shape[0] or end.z != spec.z:
        # what lay beside the slices before says nothing of those that were made
        coords = {name: each for name, each in coords.items() if "z" not in each.dims}
        if end.z is not None:
            coords["z"] = ("z", np.array(end.z), {"long_name": "z", "units": "micrometer"})
    coords.update(bad_coordinate(end.bad, end.shape[0]))
    attrs = {**stack.attrs, SOURCE_TYPE: str(spec.source_dtype), **provenance(steps, stack.attrs)}
    return xr.DataArray(data, dims=stack.dims, coords=coords, attrs=attrs, name=stack.name)


def _fits(fit: Fit | None, channels: Sequence[Any]) -> tuple[Arrays, ...]:
    return ({},) * len(channels) if fit is None else fit.channels


def _checked_spec(stack: xr.DataArray, steps: tuple[Step, ...]) -> StackSpec:
    spec = stack_spec(stack)
    found = check_steps(steps, [spec], channel_names(stack))
    errors = [problem for problem in found if problem.severity == "error"]
    if errors:
        raise ParameterError(errors)
    for problem in found:
        if problem.severity == "warning":
            warnings.warn(str(problem), stacklevel=_outside())
    return spec


def _outside() -> int:
    """Return the ``stacklevel`` at which a warning names the line of a user."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith("pystack3d_dask."):
        frame, level = frame.f_back, level + 1
    return level


def channel_names(stack: xr.DataArray) -> tuple[str, ...]:
    """Return the names of the channels."""
    return tuple(str(name) for name in stack.c.values) if "c" in stack.dims else (".",)


def stack_spec(stack: xr.DataArray) -> StackSpec:
    """Return what is known about a stack; raise StackError where an array is none."""
    expected = "a DataArray with dims (z, y, x) or (c, z, y, x) expected"
    if not isinstance(stack, xr.DataArray):
        message = f"{expected}, found {type(stack).__name__}: xarray.DataArray(array, dims=...)"
        raise StackError(message)
    if stack.dims not in (AXES, ("c", *AXES)):
        message = f"{expected}, found {stack.dims}: stack.transpose(...) reorders them"
        raise StackError(message)
    if stack.dtype.name not in DTYPES:
        message = f"values of type {', '.join(DTYPES)} expected, found {stack.dtype}"
        raise StackError(message)
    if not stack.size:
        message = f"the stack is empty: {dict(stack.sizes)}"
        raise StackError(message)
    z, y, x = (_micrometers(stack, axis) for axis in AXES)
    shape = stack.shape[-3:]
    marked = stack.coords[BAD].values if BAD in stack.coords else np.zeros(0)
    return StackSpec(
        shape=(shape[0], shape[1], shape[2]),
        dtype=stack.dtype,
        source_dtype=_source_type(stack),
        z=None if z is None else tuple(z),
        pixel_size=None if y is None or x is None else (_step(y), _step(x)),
        bad=tuple(np.flatnonzero(marked).tolist()),
    )


def _micrometers(stack: xr.DataArray, axis: str) -> list[float] | None:
    known = axis in stack.coords and stack[axis].attrs.get("units") == "micrometer"
    return [float(value) for value in stack[axis].values] if known else None


def _step(positions: list[float]) -> float:
    return (positions[-1] - positions[0]) / max(len(positions) - 1, 1) or 1.0


def _source_type(stack: xr.DataArray) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(stack.attrs.get(SOURCE_TYPE, stack.dtype))
    return dtype


def _channels(stack: xr.DataArray) -> list[Any]:
    data = da.asarray(stack.data)
    return [data] if data.ndim == 3 else [data[index] for index in range(data.shape[0])]
