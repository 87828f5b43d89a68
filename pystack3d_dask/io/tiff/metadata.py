"""What the metadata of all slices of a channel tell together, and where they disagree."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pystack3d_dask.io.microscopes.slice_metadata import SliceMetadata, joined
from pystack3d_dask.io.tiff.header import Slice

Positions = tuple[float, ...] | None
PixelSize = tuple[float, float] | None

TOLERANCE = 0.01  # of lengths from several sources, relative
Z_TOLERANCE = 1e-4  # of positions, in micrometers; names round them to this


def summary(slices: Sequence[Slice]) -> SliceMetadata | None:
    """Return what the first slice tells, with the box around the regions of all slices."""
    first = slices[0].metadata
    if first is None:
        return None
    boxes = [each.metadata.region for each in slices if each.metadata is not None]
    return replace(first, region=joined(box for box in boxes if box is not None))


def positions(slices: Sequence[Slice]) -> Positions:
    """Return the position of each slice in micrometers; None unless all tell theirs."""
    found = tuple(z for z in map(_position, slices) if z is not None)
    return found if len(found) == len(slices) else None


def notes(
    slices: Sequence[Slice], folder: str, z_of_names: Positions, pixel_of_tags: PixelSize
) -> Iterator[str]:
    """Yield why metadata of a channel are not used, and where they contradict the files.

    Parameters
    ----------
    slices : sequence of Slice
        All slices of the channel.
    folder : str
        Where their files are.
    z_of_names : tuple of float, optional
        Positions that the names of the files tell.
    pixel_of_tags : tuple of float, optional
        Pixel size that the resolution tags of the first file tell.
    """
    damaged = [each.damage for each in slices if each.damage]
    if damaged:
        others = f" (and {len(damaged) - 1} more slices)" if len(damaged) > 1 else ""
        yield f"{damaged[0]}{others}; the stack is opened without them"
    yield from _missing_positions(slices, folder)
    first = slices[0].metadata
    if first is None:
        return
    where = os.path.join(folder, slices[0].plane.file)
    yield from _wrong_shape(first, slices[0], where)
    yield from _wrong_pixel_size(first, pixel_of_tags, where)
    yield from _changed_pixel_size(slices, first, folder)
    yield from _moved(slices, folder, z_of_names)


def distance_notes(z: Positions, told: float | None, where: str) -> Iterator[str]:
    """Yield that slices are not as far apart as the header of a file tells.

    Parameters
    ----------
    z : tuple of float, optional
        Positions of the slices that are used.
    told : float, optional
        Distance in micrometers that ImageJ or OME-XML tell.
    where : str
        The file.
    """
    if z is None or told is None or len(z) < 2:
        return
    found = abs(z[-1] - z[0]) / (len(z) - 1)
    if differ([found], [told]):
        yield (
            f"{where}: slices {told:.6g} µm apart by its description, {found:.6g} µm on average by "
            "their positions, which are used"
        )


def differ(one: Sequence[float], other: Sequence[float], tolerance: float = TOLERANCE) -> bool:
    """Return whether two lists of lengths are not the same to within a relative tolerance."""
    pairs = zip(one, other, strict=True)
    return any(abs(a - b) > tolerance * max(abs(a), abs(b)) for a, b in pairs)


def shown(pixel_size: tuple[float, float]) -> str:
    """Return a pixel size for messages."""
    return f"{pixel_size[1]:.6g} x {pixel_size[0]:.6g} µm (x, y)"


def _position(item: Slice) -> float | None:
    return None if item.metadata is None else item.metadata.z


def _missing_positions(slices: Sequence[Slice], folder: str) -> Iterator[str]:
    missing = [each for each in slices if _position(each) is None]
    if missing and len(missing) < len(slices):
        where = os.path.join(folder, missing[0].plane.file)
        yield (
            f"{where}: no z position in its metadata ({len(missing)} of {len(slices)} slices have "
            "none); positions in metadata are not used"
        )


def _wrong_shape(first: SliceMetadata, item: Slice, where: str) -> Iterator[str]:
    rows, columns = item.layout[:2]
    is_whole = first.bar_rows((rows, columns)) > 0
    if first.shape is not None and first.shape != (rows, columns) and not is_whole:
        yield (
            f"{where}: its metadata tell {first.shape[1]} x {first.shape[0]} pixels, the image has "
            f"{columns} x {rows} (x, y): it was changed after acquisition"
        )


def _wrong_pixel_size(first: SliceMetadata, other: PixelSize, where: str) -> Iterator[str]:
    if first.pixel_size and other and differ(first.pixel_size, other):
        yield (
            f"{where}: pixels of {shown(first.pixel_size)} by its metadata, of {shown(other)} by "
            "its resolution tags; the metadata are used"
        )


def _changed_pixel_size(
    slices: Sequence[Slice], first: SliceMetadata, folder: str
) -> Iterator[str]:
    for item in slices:
        size = item.metadata.pixel_size if item.metadata is not None else None
        if size and first.pixel_size and differ(size, first.pixel_size):
            where = os.path.join(folder, item.plane.file)
            yield (
                f"{where}: pixels of {shown(size)} by its metadata, in the first slice of "
                f"{shown(first.pixel_size)}, which is used for all"
            )
            return


def _moved(slices: Sequence[Slice], folder: str, z_of_names: Positions) -> Iterator[str]:
    told = positions(slices)
    if told is None or z_of_names is None:
        return
    gaps = [abs(a - b) for a, b in zip(told, z_of_names, strict=True)]
    worst = max(range(len(gaps)), key=gaps.__getitem__)
    if gaps[worst] > Z_TOLERANCE:
        where = os.path.join(folder, slices[worst].plane.file)
        yield (
            f"{where}: z = {told[worst]:.6g} µm by its metadata, {z_of_names[worst]:.6g} µm by its "
            'name; the names are used (z_source = "metadata" for the others)'
        )
