"""Corrections as functions on lazy arrays, for notebooks and scripts.

They take a DataArray with dims (z, y, x) or (c, z, y, x), of numpy or dask arrays, and
return a lazy one. Values stay float32 between corrections; `to_source_type` rounds them in
the end, once, as the engine does.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from pystack3d_dask.chain import Chain
from pystack3d_dask.config import build_step
from pystack3d_dask.errors import FitRequiredError, ParameterError, StackError
from pystack3d_dask.io.dtypes import DTYPES
from pystack3d_dask.io.ome import open_result as open_result_at
from pystack3d_dask.io.sources import open_source
from pystack3d_dask.lazy import correct, fit_chain, lazy_source
from pystack3d_dask.project import check_steps
from pystack3d_dask.spec import AXES, Arrays, StackSpec, Triple
from pystack3d_dask.step import Step
from pystack3d_dask.values import cast

SOURCE_TYPE = "source_dtype"  # attribute of a DataArray: the type of the acquisition


@dataclass(frozen=True)
class Fit:
    """What a correction found out about a whole stack: small, and savable.

    Parameters
    ----------
    step : Step
        The correction with its parameters.
    channels : tuple of dict
        Arrays per channel.
    shape : tuple of int
        Slices, rows and columns of the stack: it fits no other.
    """

    step: Step
    channels: tuple[Arrays, ...]
    shape: Triple

    def save(self, path: str | Path) -> None:
        """Write the fit to a file ``*.npz``."""
        about = {
            "step": self.step.name,
            "parameters": self.step.parameters(),
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


def open_stack(path: str | Path, channels: tuple[str, ...] = (".",)) -> xr.DataArray:
    """Open slices as a lazy array; pixels are read when they are computed.

    Parameters
    ----------
    path : path-like
        A directory of TIFF slices, a multi-page TIFF, a Zarr array or OME-Zarr image.
    channels : tuple of str
        Sub-directories, one per channel.

    Returns
    -------
    DataArray, dims (c, z, y, x)
        Coordinates in micrometres where the files tell, else in pixels.

    Raises
    ------
    SourceError
        When the headers are wrong or do not agree.
    """
    source = open_source(path, channels=channels)
    for note in source.notes:
        warnings.warn(note, stacklevel=2)
    return lazy_source(source)


def open_result(directory: str | Path) -> xr.DataArray:
    """Open the result of a project as a lazy array, dims (c, z, y, x).

    Raises
    ------
    StackError
        When there is none, or the run is not complete.
    """
    return open_result_at(Path(directory) / "process" / "result.zarr")


def crop(stack: xr.DataArray, area: tuple[int, int, int, int]) -> xr.DataArray:
    """Keep a rectangle, ``area = [xmin, xmax, ymin, ymax]``, origin bottom left.

    See Also
    --------
    pystack3d_dask.steps.cropping.Cropping
    """
    return _applied(stack, build_step("cropping", {"area": area}))


def fit_background(stack: xr.DataArray, **parameters: Any) -> Fit:
    """Fit the background of a whole stack.

    Parameters
    ----------
    stack : DataArray
        The uncorrected stack.
    **parameters
        Those of `pystack3d_dask.steps.bkg_removal.BackgroundRemoval`.
    """
    return _fitted(stack, build_step("bkg_removal", parameters), "remove_background")


def remove_background(
    stack: xr.DataArray, fit: Fit | None = None, **parameters: Any
) -> xr.DataArray:
    """Subtract a background: one that was fitted, or one that each slice fits for itself.

    Parameters
    ----------
    stack : DataArray
        The uncorrected stack.
    fit : Fit, optional
        From `fit_background`.
    **parameters
        Without a fit: those of a background per slice, such as ``orders=[2, 2]``.
    """
    return _with_fit(stack, "bkg_removal", fit, parameters, "fit_background")


def fit_intensity(stack: xr.DataArray, **parameters: Any) -> Fit:
    """Find the grey level maps that match each slice's histogram to its neighbours'.

    Parameters
    ----------
    stack : DataArray
        The uncorrected stack.
    **parameters
        Those of `pystack3d_dask.steps.intensity_rescaling.IntensityRescaling`.
    """
    return _fitted(stack, build_step("intensity_rescaling", parameters), "rescale_intensity")


def rescale_intensity(stack: xr.DataArray, fit: Fit | None = None) -> xr.DataArray:
    """Match the histogram of each slice, as `fit_intensity` found it."""
    return _with_fit(stack, "intensity_rescaling", fit, {}, "fit_intensity")


def fit_intensity_area(stack: xr.DataArray, **parameters: Any) -> Fit:
    """Find the factor per slice that gives an area the same mean everywhere.

    Parameters
    ----------
    stack : DataArray
        The uncorrected stack.
    **parameters
        Those of `pystack3d_dask.steps.intensity_rescaling_area.IntensityRescalingArea`.
    """
    step = build_step("intensity_rescaling_area", parameters)
    return _fitted(stack, step, "rescale_intensity_area")


def rescale_intensity_area(stack: xr.DataArray, fit: Fit | None = None) -> xr.DataArray:
    """Multiply each slice by its factor, as `fit_intensity_area` found it."""
    return _with_fit(stack, "intensity_rescaling_area", fit, {}, "fit_intensity_area")


def to_source_type(stack: xr.DataArray) -> xr.DataArray:
    """Round and clip corrected values to the type of the acquisition."""
    dtype = _source_type(stack)
    return stack.copy(data=da.asarray(stack.data).map_blocks(cast, dtype, "float32", dtype=dtype))


def _with_fit(
    stack: xr.DataArray, name: str, fit: Fit | None, parameters: Mapping[str, Any], fitter: str
) -> xr.DataArray:
    if fit is None:
        step = build_step(name, parameters)
        if step.fit_scope == "stack":
            message = (
                f"{name} needs a fit to the whole stack first: fit = {fitter}(stack, ...), "
                "then pass that fit"
            )
            raise FitRequiredError(message)
        return _applied(stack, step)
    if parameters:
        message = f"a fit brings its own parameters: leave out {', '.join(parameters)}"
        raise StackError(message)
    if fit.step.name != name:
        message = f"this fit is one of {fit.step.name}; {fitter} makes those that fit here"
        raise StackError(message)
    return _applied(stack, fit.step, fit)


def _fitted(stack: xr.DataArray, step: Step, function: str) -> Fit:
    if step.fit_scope != "stack":
        message = (
            f"with these parameters {step.name} needs no fit to the whole stack: "
            f"call {function}(stack, ...) with them"
        )
        raise StackError(message)
    spec = _checked_spec(stack, step)
    chain = Chain((step,), spec)
    fits = tuple(fit_chain(channel, chain, 0) for channel in _channels(stack))
    return Fit(step, fits, spec.shape)


def _applied(stack: xr.DataArray, step: Step, fit: Fit | None = None) -> xr.DataArray:
    spec = _checked_spec(stack, step)
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
    fits = [{} if fit is None else {step.name: arrays} for arrays in _fits(fit, len(channels))]
    chains = [Chain((step,), spec, known) for known in fits]
    corrected = [correct(each, chain) for each, chain in zip(channels, chains, strict=True)]
    _, rows, columns = chains[0].pulled(chains[0].levels[-1].region, 1, 0).slices
    like = stack.isel(y=rows, x=columns)
    data = da.stack(corrected) if stack.ndim == 4 else corrected[0]
    attrs = {**stack.attrs, SOURCE_TYPE: str(spec.source_dtype)}
    return xr.DataArray(data, dims=like.dims, coords=like.coords, attrs=attrs, name=stack.name)


def _fits(fit: Fit | None, count: int) -> tuple[Arrays, ...]:
    return ({},) * count if fit is None else fit.channels


def _checked_spec(stack: xr.DataArray, step: Step) -> StackSpec:
    spec = _spec(stack)
    errors = [p for p in check_steps([step], [spec]) if p.severity == "error"]
    if errors:
        raise ParameterError(errors)
    return spec


def _spec(stack: xr.DataArray) -> StackSpec:
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
    z, y, x = (_micrometres(stack, axis) for axis in AXES)
    shape = stack.shape[-3:]
    return StackSpec(
        shape=(shape[0], shape[1], shape[2]),
        dtype=stack.dtype,
        source_dtype=_source_type(stack),
        z=None if z is None else tuple(z),
        pixel_size=None if y is None or x is None else (_step(y), _step(x)),
    )


def _micrometres(stack: xr.DataArray, axis: str) -> list[float] | None:
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
