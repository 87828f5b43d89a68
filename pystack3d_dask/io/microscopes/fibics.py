"""What Zeiss Atlas, which Fibics makes, tells about an acquisition.

Two sources, both XML: the private tag 51023 of each slice, and the set-up of the whole
acquisition, ``Atlas3D.a3d-setup``. Neither has a published schema. Element and unit of each
value were found on real files: slices named ``slice_00767_z=8.5521um.tif`` whose pixels are
zero outside two scanned rectangles, and a set-up file of another acquisition.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from pystack3d_dask.io.microscopes.slice_metadata import (
    LARGEST,
    MetadataError,
    Rectangle,
    SliceMetadata,
    number_at,
    pixels,
    sizes,
    text_at,
    xml_root,
    xyz,
)

TAG = 51023
SETUP_SUFFIX = ".a3d-setup"


@dataclass(frozen=True)
class SetupMetadata:
    """What ``Atlas3D.a3d-setup`` tells; None for what it does not.

    Parameters
    ----------
    shape : tuple of int, optional
        Rows and columns of the images: ``FibicsRasterInfo/Height`` and ``/Width``, like the
        following in ``Settings/Imaging``.
    pixel_size : tuple of float, optional
        Height and width of a pixel in micrometers: ``FibicsRasterInfo/PixelSizeY`` and
        ``/PixelSizeX``. 4224 columns of 0.01 make the 42.24 of ``FOV``, which counts in
        micrometers in the slices.
    thickness : float, optional
        Nominal slice thickness in micrometers: ``Interval``. In the sample it is 0.01, and
        ``Settings/KeyFrame/Interval2`` counts 21.87 micrometers at slice 2174.
    detectors : tuple of str
        ``Detector`` and ``DetectorB``.
    regions : tuple of Rectangle
        Boxes around the regions to scan in pixels, which may lie partly outside the image:
        the nodes of each ``Settings/ImagingXROI/FIBShape`` that is enabled and no hole, in
        micrometers from the center of the field of view, x to the right and y upwards. That
        y points up is told by ``Scan/Vy`` of slices, negative from row to row, and by the
        region for focusing in ``AutoStigAndFocus``, whose top is above its bottom.
    """

    shape: tuple[int, int] | None = None
    pixel_size: tuple[float, float] | None = None
    thickness: float | None = None
    detectors: tuple[str, ...] = ()
    regions: tuple[Rectangle, ...] = ()


def parse_slice(data: bytes, origin: str) -> SliceMetadata:
    """Return the metadata in tag 51023 of a slice.

    Elements used: ``Image/Height``, ``Image/Width``; the pixel size is the lengths of
    (``Scan/Vx``, ``Scan/Vy``) and (``Scan/Ux``, ``Scan/Uy``), the steps from row to row and
    from column to column (9600 columns of ``Ux`` are ``Scan/FOV_X``, which says
    ``units="um"``); the region is ``Image/BoundingBox.Top``, ``.Bottom``, ``.Left``,
    ``.Right`` in pixels, the last ones included: the box around all that was scanned. In
    slices that give rows 3793 to 4298 and columns 1880 to 8583, pixels are set in rows 3800
    to 4298 and columns 1880 to 8582, in two rectangles. ``ATLAS3D/Slice/ZPos`` is the position
    in the name of the file with more decimals, ``Stage`` gives micrometers and degrees.

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
    root = xml_root(data, ("Fibics",), origin)
    shape = _shape(root, "Image")
    return SliceMetadata(
        maker="Zeiss Atlas",
        shape=shape,
        pixel_size=_pixel_of_scan(root, shape),
        region=_bounding_box(root),
        z=number_at(root, "ATLAS3D/Slice/ZPos"),
        detector=text_at(root, "Image/Detector"),
        stage=xyz(number_at(root, f"Stage/{axis}") for axis in "XYZ"),
        tilt=number_at(root, "Stage/Tilt"),
    )


def parse_setup(data: bytes, origin: str) -> SetupMetadata:
    """Return what a set-up file tells; parameters and errors as for `parse_slice`."""
    root = xml_root(data, ("ATLAS3D-Setup",), origin)
    imaging = "Settings/Imaging"
    shape = _shape(root, f"{imaging}/FibicsRasterInfo")
    pixel_size = sizes(
        number_at(root, f"{imaging}/FibicsRasterInfo/PixelSizeY"),
        number_at(root, f"{imaging}/FibicsRasterInfo/PixelSizeX"),
    )
    thickness = number_at(root, f"{imaging}/Interval")
    names = [text_at(root, f"{imaging}/{name}") for name in ("Detector", "DetectorB")]
    return SetupMetadata(
        shape=shape,
        pixel_size=pixel_size,
        thickness=thickness if thickness is not None and thickness > 0 else None,
        detectors=tuple(dict.fromkeys(name for name in names if name)),
        regions=_regions_to_scan(root, shape, pixel_size) if shape and pixel_size else (),
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


def _setups_in(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir())
        return [each for each in found if each.suffix.lower() == SETUP_SUFFIX and each.is_file()]
    except OSError:  # the directory above may be closed to us
        return []


def _shape(root: Element, path: str) -> tuple[int, int] | None:
    return pixels(number_at(root, f"{path}/Height"), number_at(root, f"{path}/Width"))


def _pixel_of_scan(root: Element, shape: tuple[int, int] | None) -> tuple[float, float] | None:
    """Return the steps of the scan, or where they are missing its extents over the shape."""
    steps = [number_at(root, f"Scan/{name}") for name in ("Vx", "Vy", "Ux", "Uy")]
    down_x, down_y, across_x, across_y = (step or 0.0 for step in steps)
    found = sizes(math.hypot(down_x, down_y), math.hypot(across_x, across_y))
    extents = sizes(number_at(root, "Scan/FOV_Y"), number_at(root, "Scan/FOV_X"))
    if found is None and extents is not None and shape is not None:
        return extents[0] / shape[0], extents[1] / shape[1]
    return found


def _bounding_box(root: Element) -> Rectangle | None:
    sides = ("Top", "Bottom", "Left", "Right")
    found = [number_at(root, f"Image/BoundingBox.{side}") for side in sides]
    top, bottom, left, right = (None if side is None else int(side) for side in found)
    if top is None or bottom is None or left is None or right is None:
        return None
    return Rectangle(top, bottom + 1, left, right + 1) if top < bottom and left < right else None


def _regions_to_scan(
    root: Element, shape: tuple[int, int], pixel_size: tuple[float, float]
) -> tuple[Rectangle, ...]:
    shapes = [
        shape
        for shape in root.findall("Settings/ImagingXROI/FIBShape")
        if text_at(shape, "A3DShapeInfo/Enabled") != "false" and text_at(shape, "Hole") != "true"
    ]
    boxes = [_box_of_nodes(each, shape, pixel_size) for each in shapes]
    return tuple(box for box in boxes if box is not None and not box.is_empty)


def _box_of_nodes(
    element: Element, shape: tuple[int, int], pixel_size: tuple[float, float]
) -> Rectangle | None:
    nodes = [(number_at(node, "Y"), number_at(node, "X")) for node in element.findall("Nodes/Node")]
    rows = [shape[0] / 2 - y / pixel_size[0] for y, _ in nodes if y is not None]
    columns = [shape[1] / 2 + x / pixel_size[1] for _, x in nodes if x is not None]
    if not rows or not columns:
        return None
    top, bottom = math.floor(min(rows)), math.ceil(max(rows))
    return Rectangle(top, bottom, math.floor(min(columns)), math.ceil(max(columns)))
