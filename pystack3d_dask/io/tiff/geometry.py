"""The size of voxels that headers of TIFF files tell: ImageJ, OME-XML, resolution tags.

ImageJ and OME-XML name their unit, so that any size counts. Resolution tags without them are
often meant for screens and printers: they count where they are finer than 20 micrometers.
ImageJ's origin (``xorigin`` and so on, in voxels) and OME-XML's ``PositionZ`` place the stack.
What is damaged is left aside with a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Any
from xml.etree.ElementTree import Element

from tifffile import TiffFile, TiffPage

from pystack3d_dask.io.microscopes.slice_metadata import LARGEST, MetadataError, parse_xml
from pystack3d_dask.io.tiff.header import COARSEST_PIXEL, RESOLUTION_UNITS
from pystack3d_dask.io.units import is_length, is_position, micrometers_per, number

Triple = tuple[float, float, float]
AXES = ("z", "y", "x")
UNCALIBRATED = ("", "pixel", "pixels", "px", "voxel", "voxels", "reference frame", "null")
SCREENS_AND_PRINTERS = (72, 96, 100, 120, 144, 150, 200, 240, 300, 350, 400, 600, 1200)  # per inch
IMAGEJ_KEY = re.compile(r"^(\w+)=(.*?)\r?$", re.MULTILINE)


@dataclass(frozen=True)
class TiffGeometry:
    """What the header of the first slice tells of the voxels of a stack.

    Parameters
    ----------
    pixel_size : tuple of float, optional
        Height and width of a pixel in micrometers.
    distance : float, optional
        Distance of slices in micrometers.
    z : tuple of float, optional
        Position of each slice in micrometers, where each has its own.
    proportions : tuple of float, optional
        Extents along z, y and x in a unit that is not known, where that is all.
    origin : tuple of float
        Position of the first voxel along z, y and x, in micrometers or the unknown unit.
    label : str
        Name of the channel; empty without one.
    notes : tuple of str
        What is left aside, and why.
    """

    pixel_size: tuple[float, float] | None = None
    distance: float | None = None
    z: tuple[float, ...] | None = None
    proportions: Triple | None = None
    origin: Triple = (0.0, 0.0, 0.0)
    label: str = ""
    notes: tuple[str, ...] = ()

    def positions(self, slices: int) -> tuple[float, ...] | None:
        """Return the position of each of some slices in micrometers, where they are known."""
        if self.z is not None and len(self.z) == slices:
            return self.z
        if self.distance is None or slices < 2:
            return None
        return tuple(self.origin[0] + k * self.distance for k in range(slices))


def read_geometry(path: str) -> TiffGeometry:
    """Return what the header of a file tells of the voxels; see `TiffGeometry`."""
    try:
        with TiffFile(path) as tif:
            page = tif.pages.first
            if page.is_imagej:
                found = _of_imagej(page)
            elif page.is_ome:
                found = _of_ome(page, path)
            else:
                found = _Found()
            return found.geometry(_of_tags(page), path)
    except Exception as error:  # damaged metadata may raise anything, and do not close a stack
        note = f"{path}: its voxel size cannot be read: {error or type(error).__name__}"
        return TiffGeometry(notes=(note,))


@dataclass(frozen=True)
class _Found:
    """Extents along z, y, x as metadata tell them, NaN for none, with the micrometers of a unit."""

    extents: Triple = (nan, nan, nan)
    units: tuple[str, str, str] = ("", "", "")
    origin: Triple = (0.0, 0.0, 0.0)  # in voxels
    z: tuple[float, ...] | None = None
    label: str = ""
    notes: list[str] = field(default_factory=list)

    def geometry(self, tags: _Found, path: str) -> TiffGeometry:
        """Return what these tell, and resolution tags where these do not."""
        notes = [*self.notes]
        z, y, x = self._lengths(notes)
        known = _both(y, x)
        if known is None and all(unit.strip().lower() in UNCALIBRATED for unit in self.units[1:]):
            _, y, x = tags._lengths(notes)
            known = _coarse_left_aside(_both(y, x), notes)
        proportions = None
        if known is None and z is None:
            proportions = self._proportions(notes)
        scale: Triple = proportions or (z or 0.0, *(known or (0.0, 0.0)))
        start = [0.0 - place * size for place, size in zip(self.origin, scale, strict=True)]
        if not all(map(is_position, start)):
            notes.append("its origin is no position")
            start = [0.0, 0.0, 0.0]
        return TiffGeometry(
            pixel_size=known,
            distance=z,
            z=self.z,
            proportions=proportions,
            origin=(start[0], start[1], start[2]),
            label=self.label,
            notes=tuple(f"{path}: {note}; it is left aside" for note in dict.fromkeys(notes)),
        )

    def _lengths(self, notes: list[str]) -> list[float | None]:
        found: list[float | None] = []
        for axis, extent, unit in zip(AXES, self.extents, self.units, strict=True):
            scale = micrometers_per(unit)
            length = nan if scale is None else extent * scale
            if scale is None and unit.strip().lower() not in UNCALIBRATED:
                notes.append(f"its unit of length along {axis}, {unit[:40]!r}, is not known")
            elif scale is not None and not isnan(extent) and not is_length(length):
                notes.append(f"it tells voxels of {length:g} µm along {axis}: damaged")
            found.append(length if is_length(length) else None)
        return found

    def _proportions(self, notes: list[str]) -> Triple | None:
        z, y, x = (1.0 if isnan(extent) else extent for extent in self.extents)
        if not all(map(is_length, (z, y, x))):
            notes.append(f"it tells voxels of {x:g} x {y:g} x {z:g} (x, y, z): damaged")
            return None
        return None if z == y == x else (z, y, x)


def _both(height: float | None, width: float | None) -> tuple[float, float] | None:
    """Return the size of a pixel; one with a single known side is a square."""
    if height is None and width is None:
        return None
    return height or width or nan, width or height or nan


def _coarse_left_aside(
    size: tuple[float, float] | None, notes: list[str]
) -> tuple[float, float] | None:
    if size is None or max(size) < COARSEST_PIXEL:
        return size
    per_inch = RESOLUTION_UNITS[2] / size[1]
    if all(abs(per_inch - usual) > 0.5 for usual in SCREENS_AND_PRINTERS):
        notes.append(
            f"its resolution tags tell pixels of {size[1]:.6g} x {size[0]:.6g} µm (x, y), coarser "
            f"than {COARSEST_PIXEL:g} µm, which is often meant for printers (voxel_size gives the "
            "true one)"
        )
    return None


def _of_tags(page: TiffPage) -> _Found:
    unit = {2: "inch", 3: "cm"}.get(int(page.resolutionunit), "")
    return _Found((nan, *_per_pixel(page)), ("", unit, unit))


def _per_pixel(page: TiffPage) -> tuple[float, float]:
    """Return height and width of a pixel in the unit of the resolution tags; NaN for none."""
    height, width = _inverse(page, "YResolution"), _inverse(page, "XResolution")
    return (nan, nan) if isnan(height) or isnan(width) else (height, width)


def _inverse(page: TiffPage, name: str) -> float:
    value = page.tags.valueof(name)
    is_fraction = isinstance(value, tuple) and len(value) == 2
    above, below = value if is_fraction else (number(value), 1)
    return below / above if above > 0 and below > 0 else nan


def _of_imagej(page: TiffPage) -> _Found:
    told = dict(IMAGEJ_KEY.findall(page.imagej_description or ""))
    unit = told.get("unit", "").strip()
    notes: list[str] = []
    distance = number(told.get("spacing"))
    if "spacing" in told and not distance:
        notes.append("it tells a spacing of 0")
        distance = nan
    elif "spacing" in told and isnan(distance):
        notes.append(f"its spacing is {told['spacing'][:40]!r}, no number")
    elif distance < 0:  # ImageJ takes it so
        notes.append(f"its spacing is negative, {distance:g}: the sign says nothing")
    height, width = _per_pixel(page)
    if micrometers_per(unit) is not None:
        damaged = _has_resolution(page) and isnan(height)
        notes += ["its resolution tags are damaged"] if damaged else []
        # what ImageJ takes where there are none
        height, width = (height, width) if _has_resolution(page) else (1.0, 1.0)
    origin = [number(told.get(f"{axis}origin", 0)) for axis in AXES]
    return _Found(
        extents=(abs(distance), height, width),
        units=(told.get("zunit", unit), told.get("yunit", unit), unit),
        origin=(origin[0], origin[1], origin[2]),
        notes=notes,
    )


def _has_resolution(page: TiffPage) -> bool:
    return "XResolution" in page.tags or "YResolution" in page.tags


def _of_ome(page: TiffPage, path: str) -> _Found:
    try:
        text = page.description
        if len(text) > LARGEST:
            return _Found(notes=[f"its OME-XML takes more than {LARGEST} bytes"])
        pixels = next(_named(parse_xml(text.encode(), path), "Pixels"), None)
    except MetadataError as error:
        return _Found(notes=[f"its OME-XML cannot be read ({error})"])
    if pixels is None:
        return _Found()
    notes: list[str] = []
    sizes = [_attribute(pixels, f"PhysicalSize{axis}", notes) for axis in "ZYX"]
    units = [pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX"]
    names = [each.get("Name", "") for each in _named(pixels, "Channel")]
    return _Found(
        extents=(sizes[0], sizes[1], sizes[2]),
        units=(units[0], units[1], units[2]),
        z=_planes(pixels),
        label=names[0].strip() if len(names) == 1 else "",
        notes=notes,
    )


def _named(root: Element, name: str) -> Iterator[Element]:
    """Yield the elements of a name, in any namespace."""
    return (each for each in root.iter() if each.tag.rpartition("}")[2].rpartition(":")[2] == name)


def _attribute(element: Element, name: str, notes: list[str]) -> float:
    told = element.get(name)
    value = number(told)
    if told is not None and isnan(value):
        notes.append(f"its {name} is {told[:40]!r}, no number")
    return value


def _planes(pixels: Element) -> tuple[float, ...] | None:
    """Return the position of each slice that OME-XML tells, where all have their own."""
    planes = [_plane(each.attrib) for each in _named(pixels, "Plane")]
    positions = [z for z in planes if z is not None]
    if not positions or len(positions) < len(planes) or len(set(positions)) < len(positions):
        return None
    return tuple(positions)


def _plane(attributes: Mapping[str, Any]) -> float | None:
    scale = micrometers_per(attributes.get("PositionZUnit"))
    z = number(attributes.get("PositionZ")) * scale if scale is not None else nan
    return z if is_position(z) else None
