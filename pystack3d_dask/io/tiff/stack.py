"""Slices in TIFF files: one slice per file, or one page per slice."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from pystack3d_dask.core.formatting import listed, listed_below
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.typing import Array, Triple
from pystack3d_dask.errors import HeadersError
from pystack3d_dask.io.dtypes import read_dtype
from pystack3d_dask.io.microscopes.slice_metadata import SliceMetadata
from pystack3d_dask.io.numbering import notes_on_channels
from pystack3d_dask.io.tiff.geometry import TiffGeometry, read_geometry
from pystack3d_dask.io.tiff.header import Slice, ome_of, slices_of
from pystack3d_dask.io.tiff.metadata import distance_notes, notes, positions, summary
from pystack3d_dask.io.tiff.ome import set_order
from pystack3d_dask.io.tiff.page import Layout, Plane, Window, read_page

Samples = Literal["luminance", "channels"]

Places = dict[tuple[str, int], tuple[int, int, int]]

SUFFIXES = (".tif", ".tiff")
LUMINANCE = (np.float32(0.299), np.float32(0.587), np.float32(0.114))  # Rec. 601
THREADS = 8  # hides the latency of network drives; parsing itself is short
SHOWN = 10
Z_IN_NAME = re.compile(r"z=([-+]?\d+(?:\.\d*)?)um")


@dataclass(frozen=True)
class TiffChannel:
    """Where the slices of one channel lie.

    Parameters
    ----------
    folder : str
        Directory of the files.
    planes : tuple of Plane
        One per slice.
    layout : Layout
        Common to all of them.
    samples : tuple of int
        Half-open range of the samples of a pixel that are read; more than one are
        weighted to the luminance.
    faults : mapping of Plane to str
        Why pixels cannot be read, as far as the headers tell: files that are cut short.
    """

    folder: str
    planes: tuple[Plane, ...]
    layout: Layout
    samples: tuple[int, int]
    faults: Mapping[Plane, str] = field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values that are read."""
        return read_dtype(self.layout.dtype)

    def read(self, z: int, window: Window, out: Array) -> None:
        """Read a window of slice ``z`` into ``out``, shape (rows, columns)."""
        plane, count = self.planes[z], window.samples[1] - window.samples[0]
        with np.errstate(over="ignore"):
            if count == 1:
                read_page(self.folder, plane, window, self.layout, out[None])
                return
            colors = np.empty((count, *out.shape), self.dtype)
            read_page(self.folder, plane, window, self.layout, colors)
            out[...] = luminance(colors)


@dataclass(frozen=True)
class TiffStack:
    """A stack in TIFF files, made by `open_tiff`.

    Values are left as they are stored, also where the file says that white is zero or
    brings a color map. float64 is read as float32, beyond whose range it becomes infinite.

    Parameters
    ----------
    channels : tuple of str
        Names of the channels.
    specs : tuple of StackSpec
        One per channel. ``z`` is known when every slice of the first channel has its own
        file with ``z=<number>um`` in its name, or metadata with its position, or when
        ImageJ or OME-XML tell the distance of slices in the first file; ``pixel_size``
        when metadata, ImageJ, OME-XML or resolution tags of the first file tell it.
    names : tuple of str
        Names of the slices of the first channel.
    files : tuple of TiffChannel
        One per channel.
    metadata : tuple of SliceMetadata, optional
        One per channel: those of its first slice, None without any. The region of the
        first channel holds those of all its slices.
    notes : tuple of str
        What is worth saying about the metadata.
    """

    channels: tuple[str, ...]
    specs: tuple[StackSpec, ...]
    names: tuple[str, ...]
    files: tuple[TiffChannel, ...]
    metadata: tuple[SliceMetadata | None, ...]
    notes: tuple[str, ...]
    chunked: ClassVar[bool] = False

    @property
    def chunks(self) -> Triple:
        """Extent of a slice."""
        return 1, *self.specs[0].shape[1:]

    @property
    def faults(self) -> list[str]:
        """Why slices cannot be read, as far as their headers tell, with their files."""
        return [
            f"{os.path.join(files.folder, plane.file)}, page {plane.page}: {files.faults[plane]}"
            for files in self.files
            for plane in files.planes
            if plane in files.faults
        ]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of names, sizes and modification times of the files, and of the layout.

        Pixels are not read, and the directory plays no part: a project that is moved keeps
        its fingerprint.
        """
        content = [
            (name, tuple(files.layout), files.samples, [tuple(plane) for plane in files.planes])
            for name, files in zip(self.channels, self.files, strict=True)
        ]
        return sha256(repr(content).encode()).hexdigest()

    @property
    def contents(self) -> dict[str, str]:
        """Sizes and modification times of the files, by channel and name."""
        return {where: f"{plane.size} {plane.mtime_ns}" for where, _, plane in self._planes()}

    @property
    def paths(self) -> dict[str, tuple[str, ...]]:
        """The path of each file, by channel and name."""
        return {
            where: (os.path.join(folder, plane.file),) for where, folder, plane in self._planes()
        }

    def _planes(self) -> Iterator[tuple[str, str, Plane]]:
        """Yield every plane, with channel and name, and its folder."""
        for name, files in zip(self.channels, self.files, strict=True):
            for plane in files.planes:
                yield f"{name}/{plane.file}".removeprefix("./"), files.folder, plane

    def read(self, channel: int, region: Region) -> Array:
        """Return the pixels of a region; only what it touches is read and decoded.

        Parameters
        ----------
        channel : int
            Index of the channel.
        region : Region
            Inside the stack.

        Returns
        -------
        ndarray, shape ``region.shape``
            C-contiguous, in the type of the channel's spec.

        Raises
        ------
        PixelError
            Naming the file, the page and the reason.
        ValueError
            When the region is not inside the stack.
        """
        spec, files = self.specs[channel], self.files[channel]
        region.check_inside(spec.shape)
        out = np.empty(region.shape, spec.dtype)
        if not region.size:
            return out
        _, rows, columns = zip(region.start, region.stop, strict=True)
        window = Window(files.samples, rows, columns)
        for k, z in enumerate(region.z):
            files.read(z, window, out[k])
        return out

    def loss(self, channel: int, z: int) -> None:
        """Return that nothing stands in for a slice: one that cannot be read is an error."""

    def selected(self, start: int, stop: int) -> TiffStack:
        """Return the stack without the slices outside ``start:stop``."""
        region = self.specs[0].region.with_z(start, stop).clipped(self.specs[0].shape)
        kept = slice(region.start[0], region.stop[0])
        return replace(
            self,
            specs=tuple(spec.cropped(region) for spec in self.specs),
            names=self.names[kept],
            files=tuple(replace(files, planes=files.planes[kept]) for files in self.files),
        )


def luminance(pixels: Array) -> Array:
    """Weight red, green and blue by Rec. 601, rounded to the nearest integer for integers.

    Parameters
    ----------
    pixels : ndarray, shape (3, rows, columns)
        Equal samples give their own value.

    Returns
    -------
    ndarray, shape (rows, columns)
        In the type of ``pixels``.
    """
    red, green, blue = (weight * plane for weight, plane in zip(LUMINANCE, pixels, strict=True))
    values: Array = red + green + blue
    return (np.rint(values) if pixels.dtype.kind in "iu" else values).astype(pixels.dtype)


def tiff_names(path: Path) -> list[str]:
    """Return the names of the TIFF files of a directory, sorted, without hidden ones."""
    with os.scandir(path) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name.lower().endswith(SUFFIXES)
            and not entry.name.startswith(".")
            and not os.path.isdir(entry.path)
        )


def open_tiff(locations: Mapping[str, Path], samples: Samples | None = None) -> TiffStack:
    """Open the slices of one or more channels as one stack, reading all headers.

    Parameters
    ----------
    locations : mapping of str to Path
        Directory or file by name of the channel. In a directory of several files each file
        is a slice (a reduced second page, a thumbnail, is skipped); in a file on its own
        each page is one.
    samples : {"luminance", "channels"}, optional
        What to do with color: weight it to one value, or make a channel of each sample,
        named ``R``, ``G``, ``B`` (``ESB:R`` and so on where there are several channels).

    Raises
    ------
    SourceError
        With everything that is wrong in the headers: files that cannot be read, other
        types than integers up to 16 bit, float32 and float64, color without ``samples``,
        slices that differ from most, channels that differ in the number of slices.
    """
    first = next(iter(locations))
    with ThreadPoolExecutor(THREADS) as pool:
        scans = {
            name: _scan(path, samples, pool, metadata=name == first)
            for name, path in locations.items()
        }
    problems = [problem for scan in scans.values() for problem in scan.problems]
    problems.extend(_differences(list(scans.values())))
    problems.extend(() if problems else _unequal_counts(scans))
    if problems:
        raise HeadersError(report(problems))
    return _assembled(scans, samples)


def _assembled(scans: Mapping[str, _Scan], samples: Samples | None) -> TiffStack:
    channels = {
        label: (files, summary(scan.slices))
        for name, scan in scans.items()
        for label, files in _channels(name, scan, samples, alone=len(scans) == 1)
    }
    files = tuple(each for each, _ in channels.values())
    metadata = tuple(each for _, each in channels.values())
    scan, planes = next(iter(scans.values())), files[0].planes
    z_names, z_metadata, names = _positions(planes), positions(scan.slices), _names(planes)
    told = read_geometry(os.path.join(scan.folder, planes[0].file))
    size = (metadata[0] and metadata[0].pixel_size) or told.pixel_size
    z = _chosen(z_names, z_metadata, told.positions(len(planes)))
    is_unknown = size is None and z is None
    specs = tuple(
        StackSpec(
            shape=(len(each.planes), each.layout.rows, each.layout.columns),
            dtype=each.dtype,
            source_dtype=each.dtype,
            z=z,
            z_metadata=z_metadata,
            names=names,
            pixel_size=size,
            proportions=told.proportions if is_unknown else None,
            offset=_offset(told, size, is_unknown=is_unknown),
            label=told.label or "image",
        )
        for each in files
    )
    by_channel = {
        name: _names([item.plane for item in each.slices]) for name, each in scans.items()
    }
    remarks = (
        *scan.notes,
        *notes(scan.slices, scan.folder, z_names, told.pixel_size),
        *told.notes,
        *distance_notes(z, told.distance, os.path.join(scan.folder, planes[0].file)),
        *notes_on_channels(by_channel),
    )
    return TiffStack(tuple(channels), specs, names, files, metadata, remarks)


def _chosen(*candidates: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return next((each for each in candidates if each is not None), None)


def _offset(
    told: TiffGeometry, size: tuple[float, float] | None, *, is_unknown: bool
) -> tuple[float, float, float]:
    """Return where the first voxel is, in the unit that counts."""
    if is_unknown:
        return told.origin if told.proportions else (0.0, 0.0, 0.0)
    return (0.0, *told.origin[1:]) if size == told.pixel_size else (0.0, 0.0, 0.0)


def _channels(
    name: str, scan: _Scan, samples: Samples | None, *, alone: bool
) -> Iterator[tuple[str, TiffChannel]]:
    """Yield the channel, or with ``samples = "channels"`` one for each sample of its pixels."""
    planes, layout = tuple(item.plane for item in scan.slices), scan.slices[0].layout
    faults = {item.plane: item.fault for item in scan.slices if item.fault}
    if layout.samples == 1 or samples == "luminance":
        read = (0, 1 if layout.samples == 1 else len(LUMINANCE))
        yield name, TiffChannel(scan.folder, planes, layout, read, faults)
        return
    colored = scan.slices[0].is_rgb and layout.samples <= len("RGBA")
    for k in range(layout.samples):
        label = "RGBA"[k] if colored else str(k)
        label = label if alone else f"{name}:{label}"
        yield label, TiffChannel(scan.folder, planes, layout, (k, k + 1), faults)


def _names(planes: Sequence[Plane]) -> tuple[str, ...]:
    if len({plane.file for plane in planes}) == len(planes):
        return tuple(plane.file for plane in planes)
    stem = Path(planes[0].file).stem
    return tuple(f"{stem}_{k:04d}.tif" for k in range(len(planes)))


def _positions(planes: Sequence[Plane]) -> tuple[float, ...] | None:
    found = {plane.file: Z_IN_NAME.search(plane.file) for plane in planes}
    if len(found) < len(planes) or not all(found.values()):
        return None
    return tuple(float(match[1]) for match in found.values() if match)


class _Scan(NamedTuple):
    """The headers of one channel, and what is wrong with them."""

    folder: str
    slices: list[Slice]
    problems: list[str]
    notes: tuple[str, ...] = ()


def _scan(
    location: Path, samples: Samples | None, pool: ThreadPoolExecutor, *, metadata: bool
) -> _Scan:
    """Read the headers of a channel, with ``metadata`` those of all slices, or of the first."""
    try:
        folder, names = _files(location)
    except OSError as error:
        return _Scan(str(location), [], [f"{location}: {error.strerror or error}"])
    if not names:
        return _Scan(folder, [], [f"{location}: no slices; expected *.tif or *.tiff files"])
    first, *others = (os.path.join(folder, name) for name in names)
    try:
        places, remarks = _places(first, names)
    except ValueError as error:
        return _Scan(folder, [], [f"{first}: {error}"])
    scan_file = partial(_scan_file, samples=samples, alone=len(names) == 1, part=bool(places))
    results = [scan_file(first, metadata=True)]
    # most stacks have no metadata: those are not looked for in thousands of files
    wanted = metadata and any(item.has_metadata for item in results[0][0])
    results += pool.map(partial(scan_file, metadata=wanted), others)
    slices = [item for found, _ in results for item in found]
    problems = [problem for _, problem in results if problem]
    if places and not problems:
        slices, problems = _in_places(slices, places, first)
    return _Scan(folder, slices, problems, remarks)


def _places(first: str, names: Sequence[str]) -> tuple[Places, tuple[str, ...]]:
    """Return where pages belong in a stack that is an OME-TIFF set, and what to say of it."""
    if len(names) == 1:
        return {}, ()
    try:
        ome = ome_of(first)
    except Exception:  # damage is reported when the file is scanned
        return {}, ()
    if ome is None:
        return {}, ()
    places = set_order(ome, names)
    missing = len(ome.names) - len(names)
    if not places or missing <= 0:
        return places, ()
    return places, (f"{first}: {missing} of the {len(ome.names)} files of its set are missing",)


def _in_places(slices: list[Slice], places: Places, first: str) -> tuple[list[Slice], list[str]]:
    """Return the slices of an OME-TIFF set in order, or what is wrong."""
    found = [(item.plane.file, item.plane.page) for item in slices]
    if set(found) != set(places) or len(found) != len(places):
        return slices, [
            f"{first}: its OME-XML tells of {len(places)} planes in these files, which have "
            f"{len(found)} pages: they are incomplete, or were changed; save them anew"
        ]
    return sorted(slices, key=lambda item: places[item.plane.file, item.plane.page]), []


def _files(location: Path) -> tuple[str, list[str]]:
    if location.is_dir():
        return str(location), tiff_names(location)
    location.stat()
    return str(location.parent), [location.name]


def _scan_file(
    path: str, samples: Samples | None, *, alone: bool, part: bool, metadata: bool
) -> tuple[list[Slice], str]:
    try:
        slices = slices_of(path, alone=alone, metadata=metadata, part=part)
        _check_color(slices[0], samples)
    except OSError as error:
        return [], f"{path}: {error.strerror or error}"
    except ValueError as error:
        return [], f"{path}: {error}"
    except Exception as error:  # a damaged header may raise anything
        return [], f"{path}: its header is damaged: {type(error).__name__}: {error}"
    return slices, ""


def _check_color(found: Slice, samples: Samples | None) -> None:
    count = found.layout.samples
    if count == 1 or samples == "channels":
        return
    if samples is None:
        kind = f"{'RGB' if found.is_rgb else 'not gray'} ({count} samples per pixel)"
        msg = (
            f'it is {kind}; convert it, or set samples = "luminance" or "channels" '
            "(`init --samples luminance` writes it)"
        )
        raise ValueError(msg)
    if not found.is_rgb or count < len(LUMINANCE):
        msg = (
            f'its {count} samples per pixel are not RGB; set samples = "channels" '
            "(`init --samples channels` writes it)"
        )
        raise ValueError(msg)


def _differences(scans: Sequence[_Scan]) -> Iterator[str]:
    """Yield what keeps slices that can each be read from being one stack."""
    shape = _most_common([item.layout[:2] for scan in scans for item in scan.slices])
    for scan in scans:
        kind = _most_common([item.layout[2:] for item in scan.slices])
        for item in scan.slices:
            where = os.path.join(scan.folder, item.plane.file)
            where += f", page {item.plane.page}" if item.plane.page else ""
            if item.layout[:2] != shape:
                yield f"{where}: {_size(item.layout[:2])}; expected {_size(shape)} like most slices"
            if item.layout[2:] != kind:
                yield f"{where}: {_kind(item.layout[2:])}; expected {_kind(kind)} like most slices"


def _unequal_counts(scans: Mapping[str, _Scan]) -> Iterator[str]:
    counts = {name: len(scan.slices) for name, scan in scans.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name!r} has {count}" for name, count in counts.items())
        yield f"channels must have the same number of slices: {found}"


def _most_common(values: Sequence[Any]) -> Any:
    return Counter(values).most_common(1)[0][0] if values else None


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]} rows and {shape[1]} columns"


def _kind(kind: tuple[int, str]) -> str:
    return kind[1] if kind[0] == 1 else f"{kind[1]} with {kind[0]} samples per pixel"


def report(problems: Sequence[str]) -> str:
    """Return a message with what keeps slices from being one stack, the first ten of it."""
    lines = listed_below(_grouped(problems), SHOWN)
    return "\n  ".join(["the slices cannot be opened as one stack:", *lines])


def _grouped(problems: Sequence[str]) -> list[str]:
    """Return what is wrong, each fault once, after the files that have it."""
    places: dict[str, list[str]] = {}
    for place, _, why in (problem.partition(": ") for problem in problems):
        places.setdefault(why, []).append(place)
    told = places.pop("", [])
    for why, (first, *others) in places.items():
        folder = os.path.dirname(first) + os.sep
        names = listed([first, *(each.removeprefix(folder) for each in others)], SHOWN)
        told.append(f"{names}: {why}")
    return told
