"""What the headers of a TIFF file say: its slices and their layout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from stat import S_ISREG
from typing import NamedTuple

from tifffile import TiffFile, TiffPage

from pystack3d_dask.io.dtypes import DTYPES
from pystack3d_dask.io.microscopes.slice_metadata import SliceMetadata
from pystack3d_dask.io.microscopes.vendor_tags import read_metadata
from pystack3d_dask.io.tiff.dialects import images_behind, order_of
from pystack3d_dask.io.tiff.ome import OmeFile, read_ome
from pystack3d_dask.io.tiff.page import (
    Layout,
    Plane,
    claimed_bytes,
    holdable_bytes,
    layout_of,
)
from pystack3d_dask.io.tiff.segments import fault_of, segment_count, undecodable_kind

COLORED = (2, 6)  # RGB, and YCbCr, which decodes to RGB
COARSEST_PIXEL = 20.0
RESOLUTION_UNITS = {2: 25_400.0, 3: 10_000.0}  # inch and centimeter, in micrometers


class Slice(NamedTuple):
    """A slice as its header describes it, why its metadata cannot be used, or its pixels."""

    plane: Plane
    layout: Layout
    is_rgb: bool
    metadata: SliceMetadata | None = None
    damage: str = ""
    fault: str = ""

    @property
    def has_metadata(self) -> bool:
        """Whether there were metadata, damaged or not."""
        return self.metadata is not None or bool(self.damage)


def slices_of(path: str, *, alone: bool, metadata: bool = False, part: bool = False) -> list[Slice]:
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
    part : bool
        Whether it is one of several files of an image: each of its pages is a slice, in the
        order of the file.

    Raises
    ------
    OSError
        When the file cannot be opened.
    ValueError
        When a header is damaged, or the pixels are of a kind that is not supported.
    """
    status = _status(path)
    with open(path, "rb") as stream, TiffFile(stream) as tif:
        file = Plane(os.path.basename(path), status.st_size, status.st_mtime_ns)
        slices = [_slice(page, file, metadata) for page in _images(tif)]
        if not slices:
            msg = "it holds no image"
            raise ValueError(msg)
        if len(slices) == 1:
            slices = _images_of_one_header(next(_images(tif)), slices[0])
        if part:
            _check_chain(tif)
        elif alone:
            _check_chain(tif)
            slices = [slices[k] for k in order_of(tif, len(slices))]
        elif len(slices) > 1:
            msg = (
                f"it holds {len(slices)} slices; expected one, as there are several files: name "
                "those that are stacks in channels, or one of them to take it alone"
            )
            raise ValueError(msg)
        return slices


def _status(path: str) -> os.stat_result:
    """Return the status of a file that can be opened: a pipe would never answer."""
    status = os.stat(path)
    if not S_ISREG(status.st_mode):
        msg = "it is not a regular file"
        raise ValueError(msg)
    if not status.st_size:
        msg = "the file is empty"
        raise ValueError(msg)
    return status


def ome_of(path: str) -> OmeFile | None:
    """Return what the OME-XML of a file tells; None without it."""
    _status(path)
    with TiffFile(path) as tif:
        page = tif.pages.first
        return read_ome(page.description, page.samplesperpixel) if page.is_ome else None


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
    layout = layout_of(page)
    _check_page(page, layout)
    plane = file._replace(page=page.index, header=page.offset if page.index else 0)
    found = Slice(plane, layout, page.photometric in COLORED, fault=fault_of(page))
    if not metadata:
        return found
    told, damage = read_metadata(page)
    return found._replace(metadata=told, damage=damage)


def _images_of_one_header(page: TiffPage, found: Slice) -> list[Slice]:
    others = found._replace(metadata=None)  # the header tells the position of one slice
    return [
        (others if k else found)._replace(plane=found.plane._replace(page=k, skip=k * page.nbytes))
        for k in range(images_behind(page, found.plane.size))
    ]


def _check_chain(tif: TiffFile) -> None:
    """Refuse a file whose last page points to one that cannot be reached."""
    size = tif.tiff.offsetsize
    tif.filehandle.seek(tif.pages.next_page_offset)
    pointer = tif.filehandle.read(size)
    if len(pointer) < size or any(pointer):
        msg = f"its headers break off after {len(tif.pages)} pages: it is truncated or damaged"
        raise ValueError(msg)


def _check_page(page: TiffPage, layout: Layout) -> None:
    """Refuse what cannot be read as a slice."""
    if not layout.rows or not layout.columns:
        msg = f"page {page.index} has no size: the header is damaged"
    elif page.imagedepth > 1:
        msg = f"page {page.index} is a volume of depth {page.imagedepth}; expected one slice a page"
    elif layout.dtype not in DTYPES:
        kind = layout.dtype or f"of {page.bitspersample} bits in sample format {page.sampleformat}"
        msg = f"its pixels are {kind}; expected {', '.join(DTYPES)}: convert it"
    elif len(page.dataoffsets) < segment_count(page):
        msg = f"the header of page {page.index} does not say where all pixels are: it is damaged"
    elif claimed_bytes(page) > holdable_bytes(page):
        msg = (
            f"the header of page {page.index} tells of {layout.columns} x {layout.rows} pixels "
            "(x, y), more than the file can hold: it is damaged"
        )
    else:
        msg = undecodable_kind(page)
    if msg:
        raise ValueError(msg)
