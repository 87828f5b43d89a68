"""Metadata of an acquisition, of its slices and a set-up file of Zeiss Atlas, for its parameters.

Slices tell of themselves; a set-up may be one of another acquisition. It counts only where it
does not contradict them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Generic, Literal, NamedTuple, TypeVar

from pystack3d_dask.core.area import Area
from pystack3d_dask.core.spec import HERE, StackSpec
from pystack3d_dask.io.microscopes.fibics import SetupMetadata, read_setup, setup_files
from pystack3d_dask.io.microscopes.slice_metadata import (
    MetadataError,
    Rectangle,
    SliceMetadata,
    joined,
)
from pystack3d_dask.io.source import Source
from pystack3d_dask.io.sources import open_source
from pystack3d_dask.io.tiff.header import pixel_size_origin
from pystack3d_dask.io.tiff.metadata import differ, shown
from pystack3d_dask.io.tiff.stack import Z_IN_NAME, Samples, TiffStack
from pystack3d_dask.project.channels import choose_channels
from pystack3d_dask.project.regions import scanned_regions, separate

T = TypeVar("T")
ZSource = Literal["names", "metadata", "coordinates"]

MARGIN = 20  # pixels around the region of interest that are kept
THICKNESS_TOLERANCE = 0.05  # between nominal and measured slice thickness, relative
ZARR_ORIGIN = "metadata of the Zarr"
POLICY = "slice_{slice_nb}_z={z_coord}um.tif"


class Found(NamedTuple, Generic[T]):
    """A value and, where metadata told it, which ones."""

    value: T
    origin: str = ""


@dataclass(frozen=True)
class Acquisition:
    """What is known about an acquisition.

    Parameters
    ----------
    source : Source
        The slices.
    channels : Found
        Names of the channels.
    pixel_size : Found, optional
        Height and width of a pixel in micrometers.
    area : Found
        What to keep of the image, ``(xmin, xmax, ymin, ymax)`` with origin bottom left: the
        region of interest and 20 pixels around it, else the whole image without a data bar.
    regions : tuple of tuple of int
        The same for each region of interest where there are several; ``area`` is then the
        whole image.
    dz : Found, optional
        Slice distance in micrometers.
    z_source : {"names", "metadata", "coordinates"}, optional
        Where the position of each slice is from.
    policy : str
        How names hold the number and the position of a slice.
    notes : tuple of str
        Where sources disagree, and what cannot be used.
    samples : {"luminance", "channels"}, optional
        How color is read.
    microscope : Found, optional
        Maker, detector, position and tilt of the stage.
    """

    source: Source
    channels: Found[tuple[str, ...]]
    pixel_size: Found[tuple[float, float]] | None
    area: Found[Area]
    regions: tuple[Area, ...]
    dz: Found[float] | None
    z_source: ZSource | None
    policy: str
    notes: tuple[str, ...]
    samples: Samples | None
    microscope: Found[str] | None

    @property
    def taken(self) -> tuple[str, ...]:
        """What metadata told, and which."""
        size = self.pixel_size
        told = [
            ("channels " + ", ".join(self.channels.value), self.channels.origin),
            (f"pixels of {shown(size.value)}" if size else "", size.origin if size else ""),
            (f"cropping area {list(self.area.value)}", self.area.origin),
            (f"dz = {self.dz.value} µm" if self.dz else "", self.dz.origin if self.dz else ""),
            self.microscope or ("", ""),
        ]
        return tuple(f"{what}: {origin}" for what, origin in told if origin)


@dataclass(frozen=True)
class _Setup:
    name: str
    metadata: SetupMetadata


def describe(directory: Path, samples: Samples | None = None) -> Acquisition:
    """Return what the slices of a directory tell, and a set-up beside or above them.

    Parameters
    ----------
    directory : Path
        With slices in itself, or in sub-directories, one per channel.
    samples : {"luminance", "channels"}, optional
        How to read color, see `pystack3d_dask.io.sources.open_source`.

    Raises
    ------
    SourceError
        When there are no slices, or they do not agree. Metadata never keep a stack closed.
    """
    notes: list[str] = []
    folders, left_out = choose_channels(directory)
    notes += left_out
    setup = _find_setup(directory, folders, notes)
    source, channels, setup = _open(directory, folders, samples, setup, notes)
    metadata = _metadata(source)
    notes += source.notes
    notes += () if samples == "channels" else _other_detectors(source, metadata)
    notes += _pixels_of_unknown_size(source, setup)
    z_source = _z_source(source)
    area, regions = _area(source, metadata, setup, notes)
    return Acquisition(
        source=source,
        channels=channels,
        pixel_size=_pixel_size(source, metadata),
        area=area,
        regions=regions,
        dz=_dz(source.specs[0], z_source, setup, notes),
        z_source=z_source,
        policy=_policy(source.names[0]) if z_source == "names" else POLICY,
        notes=tuple(notes),
        samples=samples,
        microscope=_microscope(source, metadata[0]),
    )


def _find_setup(directory: Path, folders: Sequence[str], notes: list[str]) -> _Setup | None:
    beside = [directory.absolute() / folder for folder in folders]
    found = setup_files([*beside, *(folder.parent for folder in beside)])
    if len(found) > 1:
        others = ", ".join(str(path) for path in found[1:])
        notes.append(f"several set-up files; {found[0]} is looked at, not {others}")
    try:
        return _Setup(found[0].name, read_setup(found[0])) if found else None
    except MetadataError as error:
        notes.append(f"{error}; nothing is taken from it")
        return None


def _open(
    directory: Path,
    folders: tuple[str, ...],
    samples: Samples | None,
    setup: _Setup | None,
    notes: list[str],
) -> tuple[Source, Found[tuple[str, ...]], _Setup | None]:
    """Open the detectors of the set-up, if there are any and it is one of these slices."""
    opened = partial(open_source, directory, samples=samples)
    if setup is None:
        return opened(channels=folders), Found(folders), None
    named = tuple(name for name in setup.metadata.detectors if name in folders)
    channels = Found(named, setup.name) if named else Found(folders)
    source = opened(channels=channels.value)
    conflicts = list(_conflicts(setup.metadata, source))
    if conflicts:
        notes.append(
            f"{setup.name} is of another acquisition, nothing is taken from it: "
            + "; ".join(conflicts)
        )
        source = source if channels.value == folders else opened(channels=folders)
        return source, Found(folders), None
    left_out = [name for name in folders if name not in channels.value]
    if left_out:
        notes.append(f"{setup.name} has no such detectors: {', '.join(left_out)} are left out")
    return source, channels, setup


def _metadata(source: Source) -> tuple[SliceMetadata | None, ...]:
    return source.metadata if isinstance(source, TiffStack) else (None,) * len(source.channels)


def _conflicts(setup: SetupMetadata, source: Source) -> Iterator[str]:
    """Yield what a set-up tells otherwise than the slices do."""
    spec = source.specs[0]
    _, rows, columns = spec.shape
    if setup.shape and differ(setup.shape, (rows, columns)):
        yield (
            f"it tells {setup.shape[1]} x {setup.shape[0]} pixels, the images have "
            f"{columns} x {rows} (x, y)"
        )
    if setup.pixel_size and spec.pixel_size and differ(setup.pixel_size, spec.pixel_size):
        yield f"it tells pixels of {shown(setup.pixel_size)}, the slices {shown(spec.pixel_size)}"
    known = {name.casefold() for name in setup.detectors}
    for each in _metadata(source):
        if known and each is not None and each.detector and each.detector.casefold() not in known:
            yield f"it tells detectors {', '.join(setup.detectors)}, the slices {each.detector}"


def _other_detectors(source: Source, metadata: Sequence[SliceMetadata | None]) -> Iterator[str]:
    for name, each in zip(source.channels, metadata, strict=True):
        detector = each.detector if each is not None else None
        if name not in HERE and detector and detector.casefold() not in name.casefold():
            yield f"channel {name!r}: detector {detector} by the metadata of its first slice"


def _pixel_size(
    source: Source, metadata: Sequence[SliceMetadata | None]
) -> Found[tuple[float, float]] | None:
    """Return the size that plans and runs use, and where it is from."""
    size, first = source.specs[0].pixel_size, metadata[0]
    if size is None:
        return None
    if first is not None and first.pixel_size == size:
        return Found(size, _slice_origin(source))
    return Found(size, _header_origin(source))


def _header_origin(source: Source) -> str:
    if not isinstance(source, TiffStack):
        return ZARR_ORIGIN
    files = source.files[0]
    return pixel_size_origin(os.path.join(files.folder, files.planes[0].file))


def _microscope(source: Source, metadata: SliceMetadata | None) -> Found[str] | None:
    if metadata is None:
        return None
    stage, tilt = metadata.stage, metadata.tilt
    told = [
        metadata.maker,
        f"detector {metadata.detector}" if metadata.detector else "",
        "stage at {:.6g}, {:.6g}, {:.6g} µm (x, y, z)".format(*stage) if stage else "",
        f"tilt {tilt:.4g}°" if tilt is not None else "",
    ]
    return Found(", ".join(filter(None, told)), _slice_origin(source))


def _pixels_of_unknown_size(source: Source, setup: _Setup | None) -> Iterator[str]:
    size = setup.metadata.pixel_size if setup is not None else None
    if setup is not None and size and source.specs[0].pixel_size is None:
        yield (
            f"{setup.name} tells pixels of {shown(size)}, the slices tell none: coordinates of "
            "results count pixels"
        )


def _slice_origin(source: Source) -> str:
    return f"TIFF metadata of {source.names[0]}"


def _area(
    source: Source,
    metadata: Sequence[SliceMetadata | None],
    setup: _Setup | None,
    notes: list[str],
) -> tuple[Found[Area], tuple[Area, ...]]:
    """Return what to keep, and each region of interest if there are several."""
    _, rows, columns = source.specs[0].shape
    regions, origin = _regions(source, metadata, setup, notes)
    kept = [_kept(each, (rows, columns)) for each in regions]
    if len(kept) == 1:
        origin = f"region of interest and {MARGIN} pixels around it, {origin}"
        return Found(kept[0], origin), ()
    if kept:
        choices = " or ".join(f"{list(each)}" for each in kept)
        notes.append(
            f"{origin}: {len(kept)} regions of interest, most of what is around them is empty; "
            f"the whole image is kept, [cropping] area = {choices} keeps one"
        )
        return Found((0, columns, 0, rows)), tuple(kept)
    bar = max((each.bar_rows((rows, columns)) for each in metadata if each), default=0)
    if not bar:
        return Found((0, columns, 0, rows)), ()
    notes += _other_bar(source, metadata[0], bar)
    origin = f"without the data bar of {bar} rows, {_slice_origin(source)}"
    return Found((0, columns, bar, rows), origin), ()


def _regions(
    source: Source,
    metadata: Sequence[SliceMetadata | None],
    setup: _Setup | None,
    notes: list[str],
) -> tuple[tuple[Rectangle, ...], str]:
    """Return the regions of interest inside the images, and where they are from."""
    _, rows, columns = source.specs[0].shape
    box = joined(
        each.region
        for each in metadata
        if each is not None and each.region and each.shape in (None, (rows, columns))
    )
    origin = _slice_origin(source)
    told: tuple[Rectangle, ...] = () if box is None else (box,)
    if box is None and setup is not None:
        told, origin = setup.metadata.regions, setup.name
    inside = [each.clipped((rows, columns)) for each in told]
    found = separate(each for each in inside if not each.is_empty)
    if told and not found:
        notes.append(f"{origin}: the region of interest lies outside the images, all is kept")
    return (scanned_regions(source, found[0]) if box is not None and found else found), origin


def _kept(region: Rectangle, shape: tuple[int, int]) -> Area:
    kept = region.grown(MARGIN).clipped(shape)
    return kept.left, kept.right, shape[0] - kept.bottom, shape[0] - kept.top


def _other_bar(source: Source, first: SliceMetadata | None, bar: int) -> Iterator[str]:
    if first is not None and first.bar and first.bar != bar:
        yield (
            f"{_slice_origin(source)}: a data bar of {first.bar} rows, but {bar} rows are below "
            "the scanned image, which are left out"
        )


def _dz(
    spec: StackSpec, z_source: ZSource | None, setup: _Setup | None, notes: list[str]
) -> Found[float] | None:
    """Return the nominal slice thickness, or the median step where that contradicts it."""
    positions = spec.z_metadata or spec.z or ()
    steps = [abs(b - a) for a, b in pairwise(positions)]
    step = float(f"{median(steps):.4g}") if steps else 0.0
    nominal = setup.metadata.thickness if setup is not None else None
    where = "TIFF metadata" if spec.z_metadata else "names" if z_source == "names" else "headers"
    if setup is not None and nominal is not None:
        if not step or not differ((nominal,), (step,), THICKNESS_TOLERANCE):
            return Found(nominal, f"slice thickness, {setup.name}")
        notes.append(
            f"slices are {nominal} µm thick by {setup.name}, {step} µm apart by their {where}, "
            "which is used"
        )
    if not step:
        return None
    return Found(step, "" if where == "names" else f"median step of z, {where}")


def _z_source(source: Source) -> ZSource | None:
    if all(Z_IN_NAME.search(name) for name in source.names):
        return "names"
    if source.specs[0].z_metadata is not None:
        return "metadata"
    return "coordinates" if source.specs[0].z is not None else None


def _policy(name: str) -> str:
    """Return a name with fields in place of the number and the position of the slice."""
    z = Z_IN_NAME.search(name)
    if z is None:
        return POLICY
    before = re.sub(r"\d+(?=\D*$)", "{slice_nb}", name[: z.start(1)])
    return f"{before}{{z_coord}}{name[z.end(1) :]}"
