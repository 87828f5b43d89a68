"""What Zeiss Atlas, which Fibics makes, tells about an acquisition.

Two sources, both XML: the private tag 51023 of each slice, and the set-up of the whole
acquisition, ``Atlas3D.a3d-setup``. Neither has a published schema. Element and unit of each
value were found on real files: slices named ``slice_00767_z=8.5521um.tif`` whose pixels are
zero outside two scanned rectangles, and a set-up file of another acquisition.

Metadata are optional and come from anywhere: a document type, and with it every entity, is
refused, nothing is fetched, sizes are limited, and what is missing or no number is None.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

TAG = 51023
SETUP_SUFFIX = ".a3d-setup"
LARGEST = 4 * 2**20  # bytes; a slice tells 3 KB, a set-up 40 KB
FARTHEST = 1e9  # micrometres or pixels; beyond there is nothing in a microscope
FINEST = 1e-6  # micrometres a pixel


class MetadataError(ValueError):
    """Metadata cannot be used; the message names the file."""


class Rectangle(NamedTuple):
    """Half-open ranges of rows and columns, origin top left."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def is_empty(self) -> bool:
        """Whether there is no pixel in it."""
        return self.top >= self.bottom or self.left >= self.right

    def grown(self, margin: int) -> Rectangle:
        """Return the rectangle with ``margin`` pixels more on each side."""
        top, bottom, left, right = self
        return Rectangle(top - margin, bottom + margin, left - margin, right + margin)

    def clipped(self, shape: tuple[int, int]) -> Rectangle:
        """Return the part inside an image of ``shape`` (rows, columns)."""
        rows, columns = shape
        return Rectangle(
            min(max(self.top, 0), rows),
            min(max(self.bottom, 0), rows),
            min(max(self.left, 0), columns),
            min(max(self.right, 0), columns),
        )


@dataclass(frozen=True)
class SliceMetadata:
    """What tag 51023 of a slice tells; None for what it does not.

    Parameters
    ----------
    shape : tuple of int, optional
        Rows and columns of the image: ``Image/Height`` and ``Image/Width``.
    pixel_size : tuple of float, optional
        Height and width of a pixel in micrometres: the lengths of (``Scan/Vx``, ``Scan/Vy``)
        and (``Scan/Ux``, ``Scan/Uy``), the steps from row to row and from column to column.
        9600 columns of ``Ux`` are ``Scan/FOV_X``, which says ``units="um"``.
    region : Rectangle, optional
        Where the beam scanned, outside of which pixels are zero: ``Image/BoundingBox.Top``,
        ``.Bottom``, ``.Left``, ``.Right``, in pixels, the last ones included. In slices
        that tell rows 3793 to 4298 and columns 1880 to 8583, pixels are set in rows 3800 to
        4298 and columns 1880 to 8582, in two rectangles: it is the box around all of them.
    z : float, optional
        Position of the slice in micrometres: ``ATLAS3D/Slice/ZPos``, which is the one in
        the name of the file, with more decimals.
    detector : str, optional
        Name of the detector: ``Image/Detector``.
    """

    shape: tuple[int, int] | None = None
    pixel_size: tuple[float, float] | None = None
    region: Rectangle | None = None
    z: float | None = None
    detector: str | None = None


@dataclass(frozen=True)
class SetupMetadata:
    """What ``Atlas3D.a3d-setup`` tells; None for what it does not.

    Parameters
    ----------
    shape : tuple of int, optional
        Rows and columns of the images: ``FibicsRasterInfo/Height`` and ``/Width``, like the
        following in ``Settings/Imaging``.
    pixel_size : tuple of float, optional
        Height and width of a pixel in micrometres: ``FibicsRasterInfo/PixelSizeY`` and
        ``/PixelSizeX``. 4224 columns of 0.01 make the 42.24 of ``FOV``, which counts in
        micrometres in the slices.
    thickness : float, optional
        Nominal slice thickness in micrometres: ``Interval``. In the sample it is 0.01, and
        ``Settings/KeyFrame/Interval2`` counts 21.87 micrometres at slice 2174.
    detectors : tuple of str
        ``Detector`` and ``DetectorB``.
    region : Rectangle, optional
        Box around the regions to scan in pixels, which may lie partly outside the image:
        the nodes of each ``Settings/ImagingXROI/FIBShape`` that is enabled and no hole, in
        micrometres from the centre of the field of view, x to the right and y upwards. That
        y points up is told by ``Scan/Vy`` of slices, negative from row to row, and by the
        region for focusing in ``AutoStigAndFocus``, whose top is above its bottom.
    """

    shape: tuple[int, int] | None = None
    pixel_size: tuple[float, float] | None = None
    thickness: float | None = None
    detectors: tuple[str, ...] = ()
    region: Rectangle | None = None


def parse_slice(data: bytes, origin: str) -> SliceMetadata:
    """Return what tag 51023 of a slice tells.

    Parameters
    ----------
    data : bytes
        Value of the tag.
    origin : str
        What messages call it: the file.

    Raises
    ------
    MetadataError
        When it is damaged, too large, brings a document type, or is something else.
    """
    root = _parsed(data, "Fibics", origin)
    shape = _shape(root, "Image")
    return SliceMetadata(
        shape=shape,
        pixel_size=_pixel_of_scan(root, shape),
        region=_bounding_box(root),
        z=_number(root, "ATLAS3D/Slice/ZPos"),
        detector=_text(root, "Image/Detector"),
    )


def parse_setup(data: bytes, origin: str) -> SetupMetadata:
    """Return what a set-up file tells; parameters and errors as for `parse_slice`."""
    root = _parsed(data, "ATLAS3D-Setup", origin)
    imaging = "Settings/Imaging"
    shape = _shape(root, f"{imaging}/FibicsRasterInfo")
    pixel_size = _sizes(
        _number(root, f"{imaging}/FibicsRasterInfo/PixelSizeY"),
        _number(root, f"{imaging}/FibicsRasterInfo/PixelSizeX"),
    )
    thickness = _number(root, f"{imaging}/Interval")
    names = [_text(root, f"{imaging}/{name}") for name in ("Detector", "DetectorB")]
    return SetupMetadata(
        shape=shape,
        pixel_size=pixel_size,
        thickness=thickness if thickness is not None and thickness > 0 else None,
        detectors=tuple(dict.fromkeys(name for name in names if name)),
        region=_region_to_scan(root, shape, pixel_size) if shape and pixel_size else None,
    )


def read_setup(path: Path) -> SetupMetadata:
    """Read a set-up file.

    Raises
    ------
    MetadataError
        As `parse_setup`, and when the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        msg = f"{path}: {error.strerror or error}"
        raise MetadataError(msg) from error
    return parse_setup(data, str(path))


def setup_files(folders: Iterable[Path]) -> list[Path]:
    """Return the set-up files ``*.a3d-setup`` of some directories, those of the first first."""
    return list(dict.fromkeys(path for folder in folders for path in _setups_in(folder)))


def joined(rectangles: Iterable[Rectangle]) -> Rectangle | None:
    """Return the smallest rectangle around all that are not empty; None without any."""
    kept = [each for each in rectangles if not each.is_empty]
    if not kept:
        return None
    top, bottom, left, right = zip(*kept, strict=True)
    return Rectangle(min(top), max(bottom), min(left), max(right))


def _setups_in(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir())
        return [each for each in found if each.suffix.lower() == SETUP_SUFFIX and each.is_file()]
    except OSError:  # the directory above may be closed to us
        return []


def parse_xml(data: bytes, origin: str) -> Element:
    """Return the root of a document from anywhere; parameters and errors as for `parse_slice`."""
    if len(data) > LARGEST:
        msg = f"{origin}: its metadata take more than {LARGEST} bytes"
        raise MetadataError(msg)

    def refuse(name: str, *_: object) -> None:
        msg = f"{origin}: its metadata declare a document type ({name}), which may hide anything"
        raise MetadataError(msg)

    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse  # entities are declared inside, thus refused too
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data.strip(b"\0 \t\r\n"), True)
    except MetadataError:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:  # also unknown encodings
        msg = f"{origin}: its metadata are damaged: {error}"
        raise MetadataError(msg) from error
    root: Element = builder.close()
    return root


def _parsed(data: bytes, expected: str, origin: str) -> Element:
    root = parse_xml(data, origin)
    if root.tag != expected:
        msg = f"{origin}: its metadata are of another kind: <{expected}> expected, not <{root.tag}>"
        raise MetadataError(msg)
    return root


def _text(element: Element, path: str) -> str | None:
    return (element.findtext(path) or "").strip() or None


def _number(element: Element, path: str) -> float | None:
    try:
        value = float(element.findtext(path, ""))
    except ValueError:
        return None
    return value if abs(value) <= FARTHEST else None  # NAN is what Atlas writes for unset


def _sizes(height: float | None, width: float | None) -> tuple[float, float] | None:
    return (height, width) if height and width and min(height, width) >= FINEST else None


def _shape(root: Element, path: str) -> tuple[int, int] | None:
    shape = _sizes(_number(root, f"{path}/Height"), _number(root, f"{path}/Width"))
    return None if shape is None or min(shape) < 1 else (int(shape[0]), int(shape[1]))


def _pixel_of_scan(root: Element, shape: tuple[int, int] | None) -> tuple[float, float] | None:
    """Return the steps of the scan, or where they are missing its extents over the shape."""
    steps = [_number(root, f"Scan/{name}") for name in ("Vx", "Vy", "Ux", "Uy")]
    down_x, down_y, across_x, across_y = (step or 0.0 for step in steps)
    found = _sizes(math.hypot(down_x, down_y), math.hypot(across_x, across_y))
    extents = _sizes(_number(root, "Scan/FOV_Y"), _number(root, "Scan/FOV_X"))
    if found is None and extents is not None and shape is not None:
        return extents[0] / shape[0], extents[1] / shape[1]
    return found


def _bounding_box(root: Element) -> Rectangle | None:
    sides = ("Top", "Bottom", "Left", "Right")
    found = [_number(root, f"Image/BoundingBox.{side}") for side in sides]
    top, bottom, left, right = (None if side is None else int(side) for side in found)
    if top is None or bottom is None or left is None or right is None:
        return None
    return Rectangle(top, bottom + 1, left, right + 1) if top < bottom and left < right else None


def _region_to_scan(
    root: Element, shape: tuple[int, int], pixel_size: tuple[float, float]
) -> Rectangle | None:
    shapes = [
        shape
        for shape in root.findall("Settings/ImagingXROI/FIBShape")
        if _text(shape, "A3DShapeInfo/Enabled") != "false" and _text(shape, "Hole") != "true"
    ]
    boxes = [_box_of_nodes(each, shape, pixel_size) for each in shapes]
    return joined(box for box in boxes if box is not None)


def _box_of_nodes(
    element: Element, shape: tuple[int, int], pixel_size: tuple[float, float]
) -> Rectangle | None:
    nodes = [(_number(node, "Y"), _number(node, "X")) for node in element.findall("Nodes/Node")]
    rows = [shape[0] / 2 - y / pixel_size[0] for y, _ in nodes if y is not None]
    columns = [shape[1] / 2 + x / pixel_size[1] for _, x in nodes if x is not None]
    if not rows or not columns:
        return None
    top, bottom = math.floor(min(rows)), math.ceil(max(rows))
    return Rectangle(top, bottom, math.floor(min(columns)), math.ceil(max(columns)))
