"""The result: an OME-Zarr 0.5 image that xarray opens too.

``scale{n}/image`` holds level n, axes (c, z, y, x), beside 1-D arrays with the coordinates.
A shard is one channel and one slab of whole slices, so that whoever has a slab writes
whole shards of every level and never touches a neighbor's.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray

from pystack3d_dask.core.geometry import assumed_axes
from pystack3d_dask.core.provenance import GRAY_LEVELS
from pystack3d_dask.core.pyramid import pooled_shape, pyramid
from pystack3d_dask.core.spec import AXES, StackSpec, shown_names
from pystack3d_dask.core.typing import Array, Triple
from pystack3d_dask.errors import StackError
from pystack3d_dask.io.ome.pyramid import pooled, pooled_positions
from pystack3d_dask.io.work import attributes
from pystack3d_dask.io.zarr.chunk import CODECS, Written
from pystack3d_dask.io.zarr.frame import frame_checksum, has_frame
from pystack3d_dask.io.zarr.shard import read_slice, write_shard

if TYPE_CHECKING:
    import xarray as xr

    from pystack3d_dask.io.on_demand import Stored

DIMS = ("c", *AXES)
OURS = "pystack3d_dask"
BAD = "bad"  # the coordinate along z that marks bad slices
TILE = 512
Unit = Literal["micrometer", "pixel", "unknown"]


def create_result(
    path: Path | str,
    *,
    channels: Sequence[str],
    spec: StackSpec,
    dtype: np.dtype[Any],
    slab: int,
    attrs: Mapping[str, Any] | None = None,
) -> None:
    """Make a result without pixels: what exists under ``path`` is well-formed.

    The center of the acquisition's first pixel is at zero, or where its files place it. A
    coordinate is in micrometers, or in indices (``units: pixel``) where the stack does not
    tell; on coarser levels it is the mean position of the voxels pooled. The multiscales
    metadata cannot hold irregular or descending z: they have the mean distance of slices from
    the lowest one up, and the coordinate ``z`` the true positions. There, too, voxels are
    taken for cubes along the axes that the attribute ``assumed`` of ``pystack3d_dask`` names,
    so that all axes in space have the same unit; or have their proportions, without a unit.

    Parameters
    ----------
    path : path-like
        Directory to be made.
    channels : sequence of str
        Names of the channels.
    spec : StackSpec
        Any one channel at the end of the chain.
    dtype : numpy.dtype
        Type of the stored values.
    slab : int
        Slices per block and per shard, see `slab_thickness`.
    attrs : mapping, optional
        What else to keep in the root attribute ``pystack3d_dask``.

    Raises
    ------
    FileExistsError
        If there is something at ``path``.
    """
    path = Path(path)
    if path.exists():
        msg = f"{path} exists; remove it before another result is made there"
        raise FileExistsError(msg)
    draft = path.with_name(f"{path.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    dtype = np.dtype(dtype).newbyteorder("=")
    axes = _axes(spec)
    factors = pyramid(spec.shape, spec.spacing(), slab)
    root = zarr.create_group(
        draft,
        attributes={
            "ome": {
                "version": "0.5",
                "multiscales": [_multiscale(_shown(spec), factors)],
                "omero": _omero(shown_names(channels, spec), dtype),
            },
            OURS: {**(attrs or {}), **_own(channels, spec), "complete": False},
        },
    )
    for level, factor in enumerate(factors):
        group = root.create_group(f"scale{level}", attributes={"downsampling": list(factor)})
        shape = pooled_shape(spec.shape, factor)
        _create_image(group, (len(channels), *shape), dtype, slab // factor[0])
        _create_coordinates(group, channels, axes, factor)
    _consolidate(draft)
    root = zarr.open_group(draft, mode="r+")  # with what was put into it
    root.update_attributes({OURS: {**root.attrs[OURS], "frame": frame_checksum(draft)}})
    os.replace(draft, path)


class ResultWriter:
    """Writes slabs to every level of a result.

    Parameters
    ----------
    path : path-like
        The result.
    """

    def __init__(self, path: Path | str) -> None:
        self._levels = tuple(_levels(path))

    def write(self, channel: int, z_start: int, values: Array) -> list[Written]:
        """Write a slab of one channel.

        Parameters
        ----------
        channel : int
            Index of the channel.
        z_start : int
            First slice: a multiple of the slab's thickness.
        values : ndarray, shape (k, rows, columns)
            Whole slices, as many as a slab has, or those that are left at the end of the
            stack.

        Returns
        -------
        list of Written
            A file per level.

        Raises
        ------
        ValueError
            If the values are not exactly one slab, or not of the result's type.
        """
        full, *coarser = self._levels
        _check_slab(full, channel, z_start, values)
        number = z_start // full.slices
        slabs = [values, *pooled(values, [level.factor for level in coarser])]
        return [
            write_shard(level.shard(channel, number), part, level.slices, level.tile)
            for level, part in zip(self._levels, slabs, strict=True)
        ]


class ResultReader:
    """Reads slices of a result, decoding nothing else.

    Parameters
    ----------
    path : path-like
        A complete result.
    """

    def __init__(self, path: Path | str) -> None:
        self._levels = tuple(_levels(path))

    @property
    def levels(self) -> int:
        """Number of levels; 0 is the full image."""
        return len(self._levels)

    def shape(self, level: int = 0) -> tuple[int, int, int, int]:
        """Return the extent of a level along c, z, y and x."""
        c, z, y, x = self._levels[level].image.shape
        return int(c), int(z), int(y), int(x)

    def downsampling(self, level: int) -> Triple:
        """Return how many voxels of the full image one of a level has, along z, y and x."""
        return self._levels[level].factor

    def chunks(self, level: int = 0) -> tuple[int, int, int]:
        """Return slices of a shard, rows and columns of a tile."""
        return self._levels[level].slices, *self._levels[level].tile

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values."""
        dtype: np.dtype[Any] = self._levels[0].image.dtype
        return dtype

    def read(self, channel: int, z: int, level: int = 0) -> Array:
        """Return one slice of a channel, shape (rows, columns).

        Raises
        ------
        DamageError
            When its shard is missing or damaged.
        """
        where = self._levels[level]
        shard, k = divmod(z, where.slices)
        _, _, rows, columns = self.shape(level)
        return read_slice(
            where.shard(channel, shard), k, (rows, columns), where.slices, where.tile, self.dtype
        )


def finish_result(
    path: Path | str,
    attrs: Mapping[str, Any],
    windows: Sequence[tuple[float, float]] | None = None,
) -> None:
    """Mark a result as complete.

    Parameters
    ----------
    path : path-like
        The result.
    attrs : mapping
        What the root attribute ``pystack3d_dask`` says from now on, beside what it said.
    windows : sequence of tuple of float, optional
        Per channel, the values that viewers show as black and white; the range of the
        type without it.
    """
    root = zarr.open_group(path, mode="r+")
    ome = root.attrs["ome"]
    if windows is not None:
        for channel, (start, end) in zip(ome["omero"]["channels"], windows, strict=True):
            channel["window"] |= {"start": float(start), "end": float(end)}
    root.update_attributes({"ome": ome, OURS: {**root.attrs[OURS], **attrs, "complete": True}})


def update_state(path: Path | str, attrs: Mapping[str, Any]) -> None:
    """Change what the root attribute ``pystack3d_dask`` of a result says."""
    root = zarr.open_group(path, mode="r+")
    root.update_attributes({OURS: {**root.attrs[OURS], **attrs}})


def is_complete(path: Path | str, token: str) -> bool:
    """Return whether there is a complete result with ``token`` in its attributes."""
    state = result_state(path)
    return bool(state.get("complete")) and state.get("token") == token and is_intact(path)


def is_intact(path: Path | str) -> bool:
    """Return whether all of a result but its pixels is as it was made."""
    return has_frame(path, result_state(path).get("frame"))


def open_result(path: Path | str, level: int = 0) -> xr.DataArray:
    """Open a complete result lazily.

    Parameters
    ----------
    path : path-like
        The result.
    level : int
        Level of the pyramid: 0 is the image itself, each further one is coarser.

    Returns
    -------
    DataArray, dims (c, z, y, x)
        Backed by dask, one chunk per shard, with its coordinates. What is selected of it is
        all that is read, in tiles.

    Raises
    ------
    StackError
        If there is no result, or an incomplete one, or no such level.
    """
    return stored_result(path, level).as_dask()


def stored_result(path: Path | str, level: int = 0) -> Stored:
    """Return a complete result for xarray; see `open_result`."""
    # not at the top: workers and most commands do without these, and start sooner
    import xarray as xr

    from pystack3d_dask.io.on_demand import Stored

    state = result_state(path)
    if not state:
        msg = f"{path}: there is no result here; `pystack3d-dask run` makes one"
        raise StackError(msg)
    if not state["complete"]:
        msg = f"{path}: the result is not complete; `pystack3d-dask run` continues it"
        raise StackError(msg)
    levels = list(_levels(path))
    if not 0 <= level < len(levels):
        msg = f"{path}: a level from 0 to {len(levels) - 1} expected, found {level}"
        raise StackError(msg)
    image: xr.DataArray = xr.open_zarr(path, group=f"scale{level}", chunks=None)["image"]
    found = {name: (name, image[name].values, image[name].attrs) for name in AXES}
    coords = {"c": channel_names(image["c"].values), **found}
    if level == 0:
        coords |= bad_coordinate(state.get("bad_content", ()), image.sizes["z"])
    attrs = {**image.attrs, **state.get("provenance", {})}
    blocks = (1, levels[level].slices, *image.shape[2:])
    return Stored(levels[level].image, blocks, coords, attrs)


def coordinates(channels: Sequence[str], spec: StackSpec) -> dict[str, Any]:
    """Return the coordinates of a stack, as `open_result` gives them and xarray takes them.

    Parameters
    ----------
    channels : sequence of str
        Names of the channels.
    spec : StackSpec
        Any one channel.
    """
    spatial = {axis.name: (axis.name, axis.positions, axis.attributes) for axis in _axes(spec)}
    return {"c": channel_names(channels), **spatial, **bad_coordinate(spec.bad, spec.shape[0])}


def bad_coordinate(slices: Sequence[int], count: int) -> dict[str, Any]:
    """Return the coordinate that marks bad slices among ``count``; nothing if there are none."""
    if not slices:
        return {}
    marks = np.isin(np.arange(count), slices)
    return {BAD: ("z", marks, {"long_name": "bad slice"})}


def channel_names(names: Iterable[Any]) -> NDArray[np.object_]:
    """Return names as an array that can be saved in any format, unlike numpy's strings."""
    return np.array([str(name) for name in names], dtype=object)


@dataclass(frozen=True)
class _Axis:
    """An axis of the full image, in a unit, in indices ("pixel"), or in an unknown unit."""

    name: str
    positions: NDArray[np.float64]
    step: float
    unit: Unit

    @property
    def attributes(self) -> dict[str, str]:
        return {"long_name": self.name, "units": self.unit}


def _axes(spec: StackSpec) -> tuple[_Axis, ...]:
    dz, *steps = (1.0, *spec.pixel_size) if spec.pixel_size else spec.proportions or (1.0,) * 3
    other: Unit = "pixel" if spec.proportions is None else "unknown"
    unit: Unit = "micrometer" if spec.pixel_size else other
    z = _Axis("z", np.arange(spec.shape[0], dtype=np.float64) * dz + spec.offset[0], dz, other)
    if spec.z is not None:
        z = _Axis("z", np.asarray(spec.z, np.float64), spec.slice_distance or 1.0, "micrometer")
    y, x = (
        _Axis(name, np.arange(start, start + count, dtype=np.float64) * step + offset, step, unit)
        for name, start, count, step, offset in zip(
            "yx", spec.origin, spec.shape[1:], steps, spec.offset[1:], strict=True
        )
    )
    return z, y, x


def _shown(spec: StackSpec) -> tuple[_Axis, ...]:
    """Return the axes for viewers, which draw all of them in one unit."""
    if not spec.is_measured:  # the position of a single slice says nothing of its pixels
        return _axes(replace(spec, z=None))
    dz, *pixel = spec.spacing()
    z = spec.z
    if spec.slice_distance is None:
        start = z[0] if z else 0.0
        z = tuple(start + k * dz for k in range(spec.shape[0]))
    return _axes(replace(spec, z=z, pixel_size=(pixel[0], pixel[1])))


def _multiscale(axes: Sequence[_Axis], factors: Sequence[Triple]) -> dict[str, Any]:
    space: list[dict[str, str]] = [
        {"name": axis.name, "type": "space"}
        | ({"unit": axis.unit} if axis.unit == "micrometer" else {})
        for axis in axes
    ]
    return {
        "name": "image",
        "type": "mean",
        "axes": [{"name": "c", "type": "channel"}, *space],
        "datasets": [
            {
                "path": f"scale{level}/image",
                "coordinateTransformations": _transformations(axes, factor),
            }
            for level, factor in enumerate(factors)
        ],
    }


def _transformations(axes: Sequence[_Axis], factor: Triple) -> list[dict[str, Any]]:
    pairs = list(zip(axes, factor, strict=True))
    ends = [pooled_positions(axis.positions, f)[[0, -1]] for axis, f in pairs]
    first = [float(min(each)) for each in ends]
    return [
        {"type": "scale", "scale": [1.0, *(axis.step * f for axis, f in pairs)]},
        {"type": "translation", "translation": [0.0, *first]},
    ]


def _own(channels: Sequence[str], spec: StackSpec) -> dict[str, Any]:
    """Return what metadata of OME-Zarr cannot say, for whoever takes the result for a source."""
    return {"assumed": list(assumed_axes(spec)), "channel_names": list(channels)}


def _omero(channels: Sequence[str], dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return how viewers show the channels: in gray, one at a time."""
    low, high = (0.0, 1.0)
    if dtype.kind in "iu":
        low, high = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    window = {"min": low, "max": high, "start": low, "end": high}
    return {
        "channels": [
            {"label": name, "color": "FFFFFF", "active": index == 0, "window": window}
            for index, name in enumerate(channels)
        ],
        "rdefs": {"model": "greyscale"},
    }


def _create_image(
    group: Any, shape: tuple[int, int, int, int], dtype: np.dtype[Any], slices: int
) -> None:
    counts = [-(-n // TILE) for n in shape[2:]]
    # tiles of equal size: padding the last one to 512 could double what is stored
    tile = tuple(-(-n // count) for n, count in zip(shape[2:], counts, strict=True))
    whole = tuple(t * count for t, count in zip(tile, counts, strict=True))
    group.create_array(
        "image",
        shape=shape,
        dtype=dtype,
        chunks=(1, 1, *tile),
        shards=(1, slices, *whole),
        compressors=CODECS,
        fill_value=0,
        dimension_names=DIMS,
        attributes=GRAY_LEVELS,
    )


def _create_coordinates(
    group: Any, channels: Sequence[str], axes: Sequence[_Axis], factor: Triple
) -> None:
    # the only type of strings that Zarr 3 specifies: fixed-length ones warn
    names = np.array(channels, dtype=np.dtypes.StringDType())
    group.create_array("c", data=names, dimension_names=("c",))
    for axis, f in zip(axes, factor, strict=True):
        group.create_array(
            axis.name,
            data=pooled_positions(axis.positions, f),
            dimension_names=(axis.name,),
            attributes=axis.attributes,
        )


def _consolidate(path: Path) -> None:
    """Put all metadata into the root as well, without which xarray warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        zarr.consolidate_metadata(path)


def result_state(path: Path | str) -> dict[str, Any]:
    """Return what the root attribute ``pystack3d_dask`` says; nothing without a result."""
    state = attributes(Path(path)).get(OURS, {})
    return state if isinstance(state, dict) else {}


@dataclass(frozen=True)
class _Level:
    """Where the shards of a level are and how they are cut."""

    directory: Path
    image: Any
    factor: Triple

    @property
    def slices(self) -> int:
        return int(self.image.shards[1])

    @property
    def tile(self) -> tuple[int, int]:
        rows, columns = self.image.chunks[2:]
        return int(rows), int(columns)

    def shard(self, channel: int, number: int) -> Path:
        key = self.image.metadata.encode_chunk_key((channel, number, 0, 0))
        return Path(self.directory, key)


def _levels(path: Path | str) -> Iterator[_Level]:
    root = zarr.open_group(path, mode="r")
    for dataset in root.attrs["ome"]["multiscales"][0]["datasets"]:
        image = root[dataset["path"]]
        z, y, x = root[dataset["path"].split("/")[0]].attrs["downsampling"]
        # as zarr found it: inside the result, whatever its metadata say
        yield _Level(Path(path, image.path), image, (z, y, x))


def _check_slab(level: _Level, channel: int, z_start: int, values: Array) -> None:
    channels, depth, *plane = level.image.shape
    if not 0 <= channel < channels:
        msg = f"channel is {channel}; the result has channels 0 to {channels - 1}"
        raise ValueError(msg)
    if z_start % level.slices or not 0 <= z_start < depth:
        msg = (
            f"z_start is {z_start}; a slab starts at a multiple of {level.slices} below {depth}, "
            "others would overwrite their neighbors"
        )
        raise ValueError(msg)
    expected = (min(level.slices, depth - z_start), *plane)
    if values.shape != expected or values.dtype != level.image.dtype:
        msg = (
            f"the slab at slice {z_start} has shape {values.shape} and type {values.dtype}; "
            f"expected {expected} and {level.image.dtype}"
        )
        raise ValueError(msg)
