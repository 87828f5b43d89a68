"""Slices in a Zarr array or an OME-Zarr image, read where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import zarr

from pystack3d_dask.core.formatting import quoted
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.typing import Array, Triple
from pystack3d_dask.errors import HeadersError, PixelError, SourceError
from pystack3d_dask.io.dtypes import DTYPES, read_dtype
from pystack3d_dask.io.ome.ngff import NgffGeometry, read_ngff
from pystack3d_dask.io.units import is_position, micrometers_per
from pystack3d_dask.io.zarr.axes import (
    Axes,
    AxesError,
    axes_of_array,
    axes_of_image,
    canonical,
    is_named,
)
from pystack3d_dask.io.zarr.blosc import refusing_cut_buffers
from pystack3d_dask.io.zarr.files import CarefulStore
from pystack3d_dask.io.zarr.stamp import METADATA, chunk_files, stamp

MOST_SLICES = 1_000_000
LARGEST_SIDE = 1_000_000  # pixels
OURS = "pystack3d_dask"


@dataclass(frozen=True)
class ZarrChannel:
    """Where one channel lies.

    Parameters
    ----------
    path : str
        Directory of the array.
    axes : str
        Names of its axes, some of ``tczyx`` in any order.
    index : int
        Position along ``c``, if there is such an axis.
    first : int
        Slice of the array that is the first of the stack.
    """

    path: str
    axes: str
    index: int = 0
    first: int = 0


@dataclass(frozen=True)
class ZarrStack:
    """A stack in Zarr arrays, version 2 or 3, made by `open_zarr`.

    float64 is read as float32, beyond whose range it becomes infinite.

    Parameters
    ----------
    channels : tuple of str
        Names of the channels.
    specs : tuple of StackSpec
        One per channel.
    names : tuple of str
        Names made for the slices, with ``z=<number>um`` when positions are known.
    arrays : tuple of ZarrChannel
        One per channel.
    stamps : tuple of str
        Per channel, the digest of `pystack3d_dask.io.zarr.stamp.stamp`.
    notes : tuple of str
        What is worth saying about the arrays and their metadata.
    """

    channels: tuple[str, ...]
    specs: tuple[StackSpec, ...]
    names: tuple[str, ...]
    arrays: tuple[ZarrChannel, ...]
    stamps: tuple[str, ...]
    notes: tuple[str, ...] = ()
    chunked: ClassVar[bool] = True

    @property
    def chunks(self) -> Triple:
        """Extent of the shards of the first channel, or of the chunks where there are none."""
        where = self.arrays[0]
        array = _opened(where.path, self.stamps[0])
        extents = dict(zip(where.axes, array.shards or array.chunks, strict=True))
        return extents.get("z", 1), extents["y"], extents["x"]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the stamps of the arrays and of the selection, wherever they lie."""
        content = [
            (name, *_decisive(spec), array.axes, array.index, array.first, found)
            for name, spec, array, found in zip(
                self.channels, self.specs, self.arrays, self.stamps, strict=True
            )
        ]
        return sha256(repr(content).encode()).hexdigest()

    @property
    def contents(self) -> dict[str, str]:
        """The stamps of the arrays, by channel."""
        return dict(zip(self.channels, self.stamps, strict=True))

    @property
    def paths(self) -> dict[str, tuple[str, ...]]:
        """The paths of metadata and chunks, by channel."""
        return {
            name: tuple(map(str, _files(Path(array.path))))
            for name, array in zip(self.channels, self.arrays, strict=True)
        }

    def read(self, channel: int, region: Region) -> Array:
        """Return the pixels of a region, C-contiguous, in the type of the channel's spec.

        Raises
        ------
        PixelError
            Naming the array, the slices and the reason.
        ValueError
            When the region is not inside the stack.
        """
        spec, where = self.specs[channel], self.arrays[channel]
        region.check_inside(spec.shape)
        z, y, x = region.shifted((where.first, 0, 0)).slices
        index = {"t": 0, "c": where.index, "z": z, "y": y, "x": x}
        try:
            array = _opened(where.path, self.stamps[channel])
            values = array[tuple(index[axis] for axis in where.axes)]
        except Exception as error:  # codecs and stores may raise anything
            cause = _first_of(error)
            if isinstance(cause, MemoryError):
                raise cause from error
            msg = (
                f"{where.path}, slices {z.start} to {z.stop - 1}: the pixels cannot be read: "
                f"{str(cause) or type(cause).__name__}"
            )
            raise PixelError(msg) from error
        with np.errstate(over="ignore"):
            values = values.transpose(_upright(where.axes))
            return np.ascontiguousarray(values, spec.dtype).reshape(region.shape)

    def loss(self, channel: int, z: int) -> None:
        """Return that nothing stands in for a slice: one that cannot be read is an error."""

    def selected(self, start: int, stop: int) -> ZarrStack:
        """Return the stack without the slices outside ``start:stop``."""
        region = self.specs[0].region.with_z(start, stop).clipped(self.specs[0].shape)
        first, last = region.start[0], region.stop[0]
        return replace(
            self,
            specs=tuple(spec.cropped(region) for spec in self.specs),
            names=self.names[first:last],
            arrays=tuple(replace(array, first=array.first + first) for array in self.arrays),
        )

    def only(self, channels: Sequence[str]) -> ZarrStack:
        """Return the stack with these channels, in this order.

        Raises
        ------
        SourceError
            Naming those that do not exist.
        """
        missing = [name for name in channels if name not in self.channels]
        if missing:
            expected = f"expected some of {quoted(sorted(self.channels))}"
            msg = f"there is no channel {quoted(sorted(missing))}; {expected}"
            raise SourceError(msg)
        kept = [self.channels.index(name) for name in channels]
        return replace(
            self,
            channels=tuple(channels),
            specs=tuple(self.specs[k] for k in kept),
            arrays=tuple(self.arrays[k] for k in kept),
            stamps=tuple(self.stamps[k] for k in kept),
        )


def _first_of(error: Exception) -> Exception:
    """Return the first exception of a group: zarr reads chunks in tasks, which fail together."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _decisive(spec: StackSpec) -> tuple[object, ...]:
    """Return what metadata around an array tell of it."""
    return spec.shape, spec.z, spec.pixel_size, spec.proportions, spec.offset


def _files(path: Path) -> Iterator[Path]:
    yield from (path / name for name in METADATA if (path / name).is_file())
    yield from (path / chunk.path for chunk in chunk_files(path))


@lru_cache(maxsize=32)
def _opened(path: str, stamp: str) -> zarr.Array[Any]:
    """Open an array once per process, and again when it was replaced."""
    return refusing_cut_buffers(zarr.open_array(CarefulStore(path, read_only=True), mode="r"))


def _upright(axes: str) -> list[int]:
    """Return the order that makes (z, y, x) of the axes that are left of an array."""
    left = [axis for axis in axes if axis in "zyx"]
    return [left.index(axis) for axis in "zyx" if axis in left]


def is_zarr(path: Path) -> bool:
    """Return whether a directory is a Zarr array or group."""
    return any((path / name).is_file() for name in METADATA[:3])


def open_zarr(locations: Mapping[str, Path]) -> ZarrStack:
    """Open Zarr arrays or images as one stack.

    Parameters
    ----------
    locations : mapping of str to Path
        By name of the channel: an array with axes (y, x), (z, y, x) or (c, z, y, x), or others
        that its metadata name, or an OME-Zarr image, version 0.1 to 0.5, of which the highest
        resolution is taken. Axes in another order are transposed, which a note says. Units
        in its metadata give pixel size and slice positions, scales without a unit the
        proportions of voxels; an array of coordinates named
        ``z`` next to the image gives the true positions, in micrometers unless its
        attribute ``units`` says otherwise. An image with several channels on its own keeps
        their labels; among others its channels are named ``ESB:label``.

    Raises
    ------
    SourceError
        With everything that is wrong.
    """
    images: dict[str, _Image] = {}
    problems = []
    for name, path in locations.items():
        try:
            images[name] = _image(path)
        except SourceError as error:
            problems.append(str(error))
    shapes = {name: image.shape for name, image in images.items()}
    if len(set(shapes.values())) > 1:
        problems.append(f"channels must have the same shape (z, y, x); found {shapes}")
    if problems:
        raise HeadersError("\n  ".join(["the Zarr cannot be opened as a stack:", *problems]))
    channels = {
        label: (image, index)
        for name, image in images.items()
        for index, label in enumerate(image.named(name, alone=len(images) == 1))
    }
    first = next(iter(images.values()))
    names = tuple(_names(first))
    stamps = {image.path: stamp(image.path) for image in images.values()}
    return ZarrStack(
        channels=tuple(channels),
        specs=tuple(image.spec(first.z, names) for image, _ in channels.values()),
        names=names,
        arrays=tuple(ZarrChannel(str(i.path), i.axes, k) for i, k in channels.values()),
        stamps=tuple(stamps[image.path].digest for image, _ in channels.values()),
        notes=(
            *dict.fromkeys(note for image in images.values() for note in image.notes),
            *(_undated(path) for path, found in stamps.items() if not found.has_times),
        ),
    )


def _undated(path: Path) -> str:
    return (
        f"{path}: its files carry no times, so that only those of another size count as changed; "
        'fingerprint = "content" compares all bytes'
    )


@dataclass(frozen=True)
class _Image:
    """What the metadata of one location say."""

    path: Path
    axes: str
    extents: dict[str, int]
    dtype: np.dtype[Any]
    labels: tuple[str, ...] = ()
    geometry: NgffGeometry = field(default_factory=NgffGeometry)
    axes_note: str = ""

    @property
    def z(self) -> tuple[float, ...] | None:
        return self.geometry.z

    @property
    def notes(self) -> tuple[str, ...]:
        found = [self.axes_note, *self.geometry.notes]
        return tuple(f"{self.path}: {note}" for note in found if note)

    @property
    def shape(self) -> Triple:
        return self.extents.get("z", 1), self.extents["y"], self.extents["x"]

    def named(self, location: str, *, alone: bool) -> tuple[str, ...]:
        """Return the names of the channels."""
        count = self.extents.get("c", 1)
        labels = self.labels if len(set(self.labels)) == count else ()
        if count == 1:
            return labels if alone and labels else (location,)
        labels = labels or tuple(str(k) for k in range(count))
        return labels if alone else tuple(f"{location}:{label}" for label in labels)

    def spec(self, z: tuple[float, ...] | None, names: tuple[str, ...]) -> StackSpec:
        """Return the spec of any of the channels."""
        return StackSpec(
            shape=self.shape,
            dtype=self.dtype,
            source_dtype=self.dtype,
            z=z,
            names=names,
            pixel_size=self.geometry.pixel_size,
            proportions=None if z else self.geometry.proportions,
            offset=self.geometry.offset,
        )


def _names(image: _Image) -> Iterator[str]:
    for k in range(image.shape[0]):
        position = "" if image.z is None else f"_z={image.z[k]:.4f}um"
        yield f"slice_{k:04d}{position}.tif"


def _image(path: Path) -> _Image:
    try:
        node = zarr.open(CarefulStore(path, read_only=True), mode="r")
        if isinstance(node, zarr.Array):
            return _plain(path, node)
        return _multiscale(path, node)
    except SourceError:
        raise
    except Exception as error:  # damaged metadata may raise anything
        msg = (
            f"{path}: its metadata are damaged, or tell of values that are no gray levels: "
            f"{type(error).__name__}: {error}"
        )
        raise SourceError(msg) from error


def _plain(path: Path, array: zarr.Array[Any]) -> _Image:
    try:
        return _checked(path, array, axes_of_array(_dimensions(array), array.shape))
    except AxesError as error:
        msg = f"{path}: {error}"
        raise SourceError(msg) from error


def _dimensions(array: zarr.Array[Any]) -> list[str | None] | None:
    """Return the names of the axes of an array, as Zarr version 3 or xarray store them."""
    names = getattr(array.metadata, "dimension_names", None)
    if names is None or not any(names):
        names = array.attrs.get("_ARRAY_DIMENSIONS")
    return list(names) if isinstance(names, Sequence) else None


def _checked(path: Path, array: zarr.Array[Any], axes: Axes) -> _Image:
    dtype = np.dtype(array.dtype).name
    if dtype not in DTYPES:
        msg = f"{path}: its values are {dtype}; expected {', '.join(DTYPES)}: convert it"
        raise SourceError(msg)
    if 0 in array.shape:
        msg = f"{path}: the array is empty, its shape is {array.shape}"
        raise SourceError(msg)
    limits = [LARGEST_SIDE if axis in "yx" else MOST_SLICES for axis in axes.order]
    if any(extent > limit for extent, limit in zip(array.shape, limits, strict=True)):
        msg = (
            f"{path}: its shape is {array.shape}, more than {LARGEST_SIDE} x {LARGEST_SIDE} pixels "
            f"or {MOST_SLICES} slices; its metadata are damaged"
        )
        raise SourceError(msg)
    extents = dict(zip(axes.order, array.shape, strict=True))
    return _Image(path, axes.order, extents, read_dtype(dtype), axes_note=axes.note)


def _multiscale(path: Path, group: zarr.Group) -> _Image:
    attrs = group.attrs.asdict()
    metadata = attrs.get("ome", attrs)
    if not metadata.get("multiscales"):
        msg = (
            f"{path}: a Zarr group without OME-Zarr image metadata (multiscales); give the path "
            f"of an array or image; inside are {quoted(sorted(group.keys())) or 'nothing'}"
        )
        raise SourceError(msg)
    if not attrs.get(OURS, {}).get("complete", True):
        msg = f"{path}: the result is not complete; `pystack3d-dask run` continues it"
        raise SourceError(msg)
    multiscale = metadata["multiscales"][0]
    dataset = multiscale["datasets"][0]  # the specification puts the highest resolution first
    array = group[dataset["path"]]
    image = _checked(path / array.path, array, _axes(path, multiscale, array))  # as zarr found it
    multiscale = {**multiscale, "axes": list(map(canonical, multiscale.get("axes") or "tczyx"))}
    own = attrs.get(OURS, {})
    geometry = read_ngff(multiscale, dataset, image.extents, own.get("assumed", ()))
    labels = own.get("channel_names") or _labels(metadata)
    return replace(
        image,
        labels=tuple(labels) if all(labels) else (),
        geometry=_with_coordinates(geometry, group, dataset["path"], image.shape[0]),
    )


def _labels(metadata: Mapping[str, Any]) -> list[str]:
    channels = metadata.get("omero", {}).get("channels", [])
    return [str(channel.get("label", "")) for channel in channels]


def _axes(path: Path, multiscale: Mapping[str, Any], array: zarr.Array[Any]) -> Axes:
    """Return the axes of an image, unless its array names others."""
    try:
        axes = axes_of_image(multiscale, array.shape)
        names = _dimensions(array)
        own = axes_of_array(names, array.shape).order if is_named(names) else axes.order
    except AxesError as error:
        msg = f"{path}: {error}"
        raise SourceError(msg) from error
    if own != axes.order:
        msg = (
            f"{path}: its metadata name the axes {', '.join(axes.order)}, its array "
            f"{', '.join(own)}: correct one of them"
        )
        raise SourceError(msg)
    return axes


def _with_coordinates(
    geometry: NgffGeometry, group: zarr.Group, dataset: str, count: int
) -> NgffGeometry:
    """Return the geometry with the positions in the array ``z`` next to the image, if any."""
    array = group.get(f"{dataset.rpartition('/')[0]}/z".lstrip("/"))
    if not isinstance(array, zarr.Array) or array.shape != (count,):
        return geometry
    scale = micrometers_per(array.attrs.get("units", "micrometer"))
    if scale is None:
        return geometry
    z = tuple((np.asarray(refusing_cut_buffers(array)[:], np.float64) * scale).tolist())
    wrong = [each for each in z if not is_position(each)]
    if not wrong:
        return replace(geometry, z=z)
    note = f"the coordinate z holds a position of {wrong[0]:g} micrometers: damaged, and left aside"
    return replace(geometry, notes=(*geometry.notes, note))
