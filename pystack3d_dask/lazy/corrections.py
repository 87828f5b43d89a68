"""Corrections as functions on lazy arrays, for notebooks and scripts.

They take a DataArray with dims (z, y, x) or (c, z, y, x), of numpy or dask arrays, and
return a lazy one. Values stay float32 between corrections; `to_source_type` rounds them in
the end, once, as the engine does.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from pystack3d_dask.core.chain import Chain
from pystack3d_dask.core.spec import AXES, Arrays, StackSpec, Triple
from pystack3d_dask.core.step import Step
from pystack3d_dask.errors import FitRequiredError, ParameterError, StackError
from pystack3d_dask.io.dtypes import DTYPES
from pystack3d_dask.io.ome.image import open_result as open_result_at
from pystack3d_dask.io.source import Source
from pystack3d_dask.io.sources import open_source
from pystack3d_dask.io.wrappers.scaled import Scaled, check_voxel_size
from pystack3d_dask.kernels.casting import cast
from pystack3d_dask.lazy.arrays import correct, fit_chain, lazy_source
from pystack3d_dask.project.config import build_step
from pystack3d_dask.project.project import borrowed_fits, check_steps, handed_out

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
        micrometres: in place of what the files tell.

    Returns
    -------
    DataArray, dims (c, z, y, x)
        Coordinates in micrometres where the size of voxels is given or the files tell it, else
        in pixels.

    Raises
    ------
    SourceError
        When the headers are wrong or do not agree.
    ValueError
        When voxels cannot have that size.
    """
    source: Source = open_source(path, channels=channels)
    if voxel_size is not None:
        source = Scaled(source, check_voxel_size(voxel_size))
    for note in source.notes:
        warnings.warn(note, stacklevel=2)
    return lazy_source(source)


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


def crop(stack: xr.DataArray, area: tuple[int, int, int, int]) -> xr.DataArray:
    """Keep a rectangle, ``area = [xmin, xmax, ymin, ymax]``, origin bottom left.

    See Also
    --------
    pystack3d_dask.corrections.cropping.Cropping
    """
    return applied(stack, (build_step("cropping", {"area": area}),))


def fit_background(stack: xr.DataArray, **parameters: Any) -> Fit:
    """Fit the background of a whole stack.

    Parameters
    ----------
    stack : DataArray
        The uncorrected stack.
    **parameters
        Those of `pystack3d_dask.corrections.bkg_removal.BackgroundRemoval`.
    """
    return fitted(stack, build_step("bkg_removal", parameters), "remove_background")


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
    return with_fit(stack, "bkg_removal", fit, parameters, "fit_background")


def fit_intensity(stack: xr.DataArray, **parameters: Any) -> Fit:
    """Find the grey level maps that match each slice's histogram to its neighbours'.

    Parameters
    ----------
    stack : DataArray
        The uncorrected stack.
    **parameters
        Those of `pystack3d_dask.corrections.intensity_rescaling.IntensityRescaling`.
    """
    return fitted(stack, build_step("intensity_rescaling", parameters), "rescale_intensity")


def rescale_intensity(stack: xr.DataArray, fit: Fit | None = None) -> xr.DataArray:
    """Match the histogram of each slice, as `fit_intensity` found it."""
    return with_fit(stack, "intensity_rescaling", fit, {}, "fit_intensity")


def fit_intensity_area(stack: xr.DataArray, **parameters: Any) -> Fit:
    """Find the factor per slice that gives an area the same mean everywhere.

    Parameters
    ----------
    stack : DataArray
        The uncorrected stack.
    **parameters
        Those of `pystack3d_dask.corrections.intensity_rescaling_area.IntensityRescalingArea`.
    """
    step = build_step("intensity_rescaling_area", parameters)
    return fitted(stack, step, "rescale_intensity_area")


def rescale_intensity_area(stack: xr.DataArray, fit: Fit | None = None) -> xr.DataArray:
    """Multiply each slice by its factor, as `fit_intensity_area` found it."""
    return with_fit(stack, "intensity_rescaling_area", fit, {}, "fit_intensity_area")


def fit_registration(stack: xr.DataArray, **parameters: Any) -> Fit:
    """Find how each slice lies on the slice before it.

    Parameters
    ----------
    stack : DataArray
        The unregistered stack. Of several channels the first is compared, or the one whose
        coordinate ``c`` is the parameter ``channel``.
    **parameters
        Those of `pystack3d_dask.corrections.registration_calculation.RegistrationCalculation`.
    """
    return fitted(stack, build_step("registration_calculation", parameters), "register")


def register(stack: xr.DataArray, fit: Fit | None = None, **parameters: Any) -> xr.DataArray:
    """Move every slice onto the first one.

    Parameters
    ----------
    stack : DataArray
        The unregistered stack.
    fit : Fit
        From `fit_registration`.
    **parameters
        Those of `corrections.registration_transformation.RegistrationTransformation`.
    """
    step = build_step("registration_transformation", parameters)
    if fit is None or fit.step.name not in step.needs:
        message = (
            "register needs the transformations of the whole stack: "
            "fit = fit_registration(stack, ...), then register(stack, fit)"
        )
        raise FitRequiredError(message)
    return applied(stack, (fit.step, step), fit)


def destripe(stack: xr.DataArray, **parameters: Any) -> xr.DataArray:
    """Remove stripes from every slice.

    Parameters
    ----------
    stack : DataArray
        The striped stack.
    **parameters
        Those of `pystack3d_dask.corrections.destriping.Destriping`, such as
        ``filters=[{"name": "Gabor", "noise_level": 20, "sigma": [1, 30]}]``.
    """
    return applied(stack, (build_step("destriping", parameters),))


def resample(stack: xr.DataArray, **parameters: Any) -> xr.DataArray:
    """Make slices at regular, or given, positions along z.

    Parameters
    ----------
    stack : DataArray
        Its coordinate z says where its slices lie, unless ``z_source`` is a list.
    **parameters
        Those of `pystack3d_dask.corrections.resampling.Resampling`, such as ``dz=0.01``.
    """
    return applied(stack, (build_step("resampling", parameters),))


def to_source_type(stack: xr.DataArray) -> xr.DataArray:
    """Round and clip corrected values to the type of the acquisition."""
    dtype = _source_type(stack)
    return stack.copy(data=da.asarray(stack.data).map_blocks(cast, dtype, "float32", dtype=dtype))


def with_fit(
    stack: xr.DataArray, name: str, fit: Fit | None, parameters: Mapping[str, Any], fitter: str
) -> xr.DataArray:
    """Return a stack lazily corrected with a fit, or with parameters that need none.

    Parameters
    ----------
    stack : DataArray
        The uncorrected stack.
    name : str
        The correction.
    fit : Fit, optional
        What ``fitter`` returned.
    parameters : mapping
        Without a fit: those of the correction.
    fitter : str
        Name of the function that makes fits for it.

    Raises
    ------
    FitRequiredError, StackError
        Naming that function.
    """
    if fit is None:
        step = build_step(name, parameters)
        if step.fit_scope == "stack":
            message = (
                f"{name} needs a fit to the whole stack first: fit = {fitter}(stack, ...), "
                "then pass that fit"
            )
            raise FitRequiredError(message)
        return applied(stack, (step,))
    if parameters:
        message = f"a fit brings its own parameters: leave out {', '.join(parameters)}"
        raise StackError(message)
    if fit.step.name != name:
        message = f"this fit is one of {fit.step.name}; {fitter} makes those that fit here"
        raise StackError(message)
    return applied(stack, (fit.step,), fit)


def fitted(stack: xr.DataArray, step: Step, function: str) -> Fit:
    """Return the fit of a step to a stack; ``function`` is the one that applies it."""
    if step.fit_scope != "stack":
        message = (
            f"with these parameters {step.name} needs no fit to the whole stack: "
            f"call {function}(stack, ...) with them"
        )
        raise StackError(message)
    spec = _checked_spec(stack, (step,))
    chain, names, channels = Chain((step,), spec), _names(stack), _channels(stack)
    found = {
        index: fit_chain(channel, chain, 0)
        for index, channel in enumerate(channels)
        if step.name not in borrowed_fits((step,), names, index)
    }
    return Fit(step, tuple(handed_out(found, len(channels))), spec.shape)


def applied(stack: xr.DataArray, steps: tuple[Step, ...], fit: Fit | None = None) -> xr.DataArray:
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
    fits = [{} if fit is None else {fit.step.name: found} for found in _fits(fit, len(channels))]
    chains = [Chain(steps, spec, known) for known in fits]
    corrected = [correct(each, chain) for each, chain in zip(channels, chains, strict=True)]
    data = da.stack(corrected) if stack.ndim == 4 else corrected[0]
    return _like(stack, data, spec, chains[0].levels[-1])


def _like(stack: xr.DataArray, data: Any, spec: StackSpec, end: StackSpec) -> xr.DataArray:
    """Return values with the coordinates that are left of a stack's."""
    top, left = (a - b for a, b in zip(end.origin, spec.origin, strict=True))
    kept = {"y": slice(top, top + end.shape[1]), "x": slice(left, left + end.shape[2])}
    coords = dict(stack.isel(kept).coords)
    if end.shape[0] != spec.shape[0] or end.z != spec.z:
        # what lay beside the slices before says nothing of those that were made
        coords = {name: each for name, each in coords.items() if "z" not in each.dims}
        coords["z"] = ("z", np.array(end.z), {"units": "micrometer"})
    attrs = {**stack.attrs, SOURCE_TYPE: str(spec.source_dtype)}
    return xr.DataArray(data, dims=stack.dims, coords=coords, attrs=attrs, name=stack.name)


def _fits(fit: Fit | None, count: int) -> tuple[Arrays, ...]:
    return ({},) * count if fit is None else fit.channels


def _checked_spec(stack: xr.DataArray, steps: tuple[Step, ...]) -> StackSpec:
    spec = _spec(stack)
    found = check_steps(steps, [spec], _names(stack))
    errors = [problem for problem in found if problem.severity == "error"]
    if errors:
        raise ParameterError(errors)
    for problem in found:
        if problem.severity == "warning":
            warnings.warn(str(problem), stacklevel=4)
    return spec


def _names(stack: xr.DataArray) -> tuple[str, ...]:
    """Return the names of the channels."""
    return tuple(str(name) for name in stack.c.values) if "c" in stack.dims else (".",)


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
