"""What the headers of a TIFF file say: its slices and their layout."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from tifffile import TiffFile, TiffPage

from pystack3d_dask.io.dtypes import DTYPES
from pystack3d_dask.io.slice_metadata import SliceMetadata
from pystack3d_dask.io.tiff_page import (
    Layout,
    Plane,
    claimed_bytes,
    holdable_bytes,
    layout_of,
    segment_count,
)
from pystack3d_dask.io.vendor_tags import read_metadata

COLOURED = (2, 6)  # RGB, and YCbCr, which decodes to RGB
COARSEST_PIXEL = 20.0
RESOLUTION_UNITS = {2: 25_400.0, 3: 10_000.0}  # inch and centimetre, in micrometres


class Slice(NamedTuple):
    """A slice as its header describes it, and why its metadata cannot be used."""

    plane: Plane
    layout: Layout
    is_rgb: bool
    metadata: SliceMetadata | None = None
    damage: str = ""

    @property
    def has_metadata(self) -> bool:
        """Whether there were metadata, damaged or not."""
        return self.metadata is not None or bool(self.damage)


def slices_of(path: str, *, alone: bool, metadata: bool = False) -> list[Slice]:
    """Return the slices of a file.

    Parameters
    ----------
    path : str
        The file.
    alone : bool
        Whether it is the only file of its channel. Then each of its pages is a slice, and
        so is each image of a stack that is described by one header, as ImageJ does beyond
        4 GB. Otherwise it is one slice. Thumbnails and masks are skipped.
    metadata : bool
        Whether to read those that microscopes write, too.

    Raises
    ------
    OSError
        When the file cannot be opened.
    ValueError
        When a header is damaged, or the pixels are of a kind that is not supported.
    """
    status = os.stat(path)
    if not status.st_size:
        msg = "the file is empty"
        raise ValueError(msg)
    with TiffFile(path) as tif:
        file = Plane(os.path.basename(path), status.st_size, status.st_mtime_ns)
        slices = [_slice(page, file, metadata) for page in _images(tif)]
        if not slices:
            msg = "it holds no image"
            raise ValueError(msg)
        first = next(_images(tif))
        if len(slices) == 1:
            slices = _images_of_one_header(first, slices[0])
        if alone:
            _check_chain(tif)
            _check_order(first, len(slices))
        elif len(slices) > 1:
            msg = (
                f"it holds {len(slices)} slices; expected one, as there are several files: name "
                "those that are stacks in channels, or one of them to take it alone"
            )
            raise ValueError(msg)
        return slices


def pixel_size_origin(path: str) -> str:
    """Return which part of a file's header its pixel size is from, for messages."""
    with TiffFile(path) as tif:
        page = tif.pages.first
        if page.is_ome and "PhysicalSize" in page.description:
            part = "OME-XML"
        elif page.is_imagej and "unit=" in page.description:
            part = "resolution tags and ImageJ description"
        else:
            part = "resolution tags"
    return f"{part} of {os.path.basename(path)}"


def _images(tif: TiffFile) -> Iterator[TiffPage]:
    for k in range(len(tif.pages)):
        page = tif.pages[k]
        if not page.is_reduced and not page.is_mask:
            yield page


def _slice(page: TiffPage, file: Plane, metadata: bool) -> Slice:
    _check_page(page)
    plane = file._replace(page=page.index, header=page.offset if page.index else 0)
    found = Slice(plane, layout_of(page), page.photometric in COLOURED)
    if not metadata:
        return found
    told, damage = read_metadata(page)
    return found._replace(metadata=told, damage=damage)


def _images_of_one_header(page: TiffPage, found: Slice) -> list[Slice]:
    count = prod(_stacked(page).values())
    # a description may be left over from the stack that a slice was taken from
    fits = page.is_contiguous and page.dataoffsets[0] + 2 * page.nbytes <= found.plane.size
    if count <= 1 or not fits:
        return [found]
    if page.dataoffsets[0] + count * page.nbytes > found.plane.size:
        msg = f"its description tells of {count} images, more than the file holds: it is truncated"
        raise ValueError(msg)
    others = found._replace(metadata=None)  # the header tells the position of one slice
    return [
        (others if k else found)._replace(plane=found.plane._replace(page=k, skip=k * page.nbytes))
        for k in range(count)
    ]


def _stacked(page: TiffPage) -> dict[str, int]:
    """Return the axes along which the description says that images are stacked."""
    text = page.description
    if page.is_imagej:
        found = re.findall(r"^(images|channels|slices|frames)=(\d+)", text, re.MULTILINE)
        extents = {axis: int(count) for axis, count in found}
        images = extents.pop("images", 1)
        return extents if prod(extents.values()) > 1 else {"images": images}
    if page.is_shaped and text.startswith("{"):
        shape = json.loads(text)["shape"]
        return {f"axis {k}": n for k, n in enumerate(shape[: len(shape) - page.ndim])}
    if page.is_ome:
        return {axis: int(n) for axis, n in re.findall(r'\bSize([ZCT])="(\d+)"', text)}
    return {}


def _check_order(first: TiffPage, slices: int) -> None:
    """Refuse images that are not one stack but several, interleaved."""
    extents = {axis: n for axis, n in _stacked(first).items() if n > 1}
    if len(extents) > 1 and prod(extents.values()) == slices:
        axes = ", ".join(f"{axis} = {n}" for axis, n in extents.items())
        msg = f"its images are arranged by {axes}; expected one axis: save the others separately"
        raise ValueError(msg)


def _check_chain(tif: TiffFile) -> None:
    """Refuse a file whose last page points to one that cannot be reached."""
    size = tif.tiff.offsetsize
    tif.filehandle.seek(tif.pages.next_page_offset)
    pointer = tif.filehandle.read(size)
    if len(pointer) < size or any(pointer):
        msg = f"its headers break off after {len(tif.pages)} pages: it is truncated or damaged"
        raise ValueError(msg)


def _check_page(page: TiffPage) -> None:
    """Refuse what cannot be read as a slice."""
    layout = layout_of(page)
    if not layout.rows or not layout.columns:
        msg = f"page {page.index} has no size: the header is damaged"
    elif page.imagedepth > 1:
        msg = f"page {page.index} is a volume of depth {page.imagedepth}; expected one slice a page"
    elif layout.dtype not in DTYPES:
        kind = layout.dtype or f"of {page.bitspersample} bits in sample format {page.sampleformat}"
        msg = f"its pixels are {kind}; expected {', '.join(DTYPES)}: convert it"
    elif min(len(page.dataoffsets), len(page.databytecounts)) < segment_count(page):
        msg = f"the header of page {page.index} does not say where all pixels are: it is damaged"
    elif claimed_bytes(page) > holdable_bytes(page):
        msg = (
            f"the header of page {page.index} tells of {layout.columns} x {layout.rows} pixels "
            "(x, y), more than the file can hold: it is damaged"
        )
    else:
        return
    raise ValueError(msg)
