"""One page of a TIFF file: where its pixels lie, and reading only those asked for."""

from __future__ import annotations

import logging
import os
from typing import Any, NamedTuple

import numpy as np
from tifffile import TiffFile, TiffPage

from pystack3d_dask.core.typing import Array
from pystack3d_dask.errors import PixelError
from pystack3d_dask.io.tiff.segments import (
    SEPARATE_PLANES,
    UNCOMPRESSED,
    extent,
    grid,
    is_sparse,
    missing_bytes,
    segment_count,
    segment_shape,
    segments_in,
)

# bytes of pixels that one byte of a file can hold at most, by compression: LZW, deflate; none,
# whose strips are looked at one by one when they are read
EXPANSION = {5: 2**12, 8: 2**11, 32946: 2**11, 1: 2**11}
LARGEST_EXPANSION = 2**20  # of any other, for images of one value

# what it logs about damaged files would reach the terminal beside the errors raised here
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class Plane(NamedTuple):
    """Where one slice lies: small to pickle, and changed when its file is replaced.

    Parameters
    ----------
    file : str
        Name of the file inside the folder of its channel.
    size, mtime_ns : int
        Of the file, when it was opened.
    page : int
        Index of the slice in its file.
    header : int
        Byte at which the header of the page starts; 0 stands for the first page.
    skip : int
        Bytes from the pixels that the header names to those of this slice, in files
        that describe a whole stack with the header of its first slice.
    """

    file: str
    size: int
    mtime_ns: int
    page: int = 0
    header: int = 0
    skip: int = 0


class Layout(NamedTuple):
    """How the pixels of a page are arranged: what all slices of a channel have in common."""

    rows: int
    columns: int
    samples: int
    dtype: str


class Window(NamedTuple):
    """Part of a page: half-open ranges of samples, rows and columns."""

    samples: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]


def page_at(tif: TiffFile, header: int, index: int) -> TiffPage:
    """Return the page whose header starts at byte ``header``, without following the chain."""
    if not header:
        return tif.pages.first
    tif.filehandle.seek(header)
    return TiffPage(tif, index=index)


def layout_of(page: TiffPage) -> Layout:
    """Return the layout of a page; the type is empty when it has no NumPy equivalent."""
    dtype = "" if page.dtype is None else page.dtype.name
    return Layout(page.imagelength, page.imagewidth, page.samplesperpixel, dtype)


def claimed_bytes(page: TiffPage) -> int:
    """Return what the pixels of a page take once they are decoded, whole tiles included."""
    pixels = page.imagelength * page.imagewidth
    if page.is_tiled:
        down, across = grid(page)
        pixels = max(pixels, down * across * page.tilelength * page.tilewidth)
    return int(pixels * page.samplesperpixel * page.dtype.itemsize)


def holdable_bytes(page: TiffPage) -> int:
    """Return the most bytes of pixels that the file can hold of a page."""
    most: int = LARGEST_EXPANSION * page.parent.filehandle.size
    if not all(page.databytecounts):  # what is left out is zero, and takes no byte at all
        return most
    stored: int = sum(page.databytecounts)
    return min(most, EXPANSION.get(page.compression, most) * stored)


def read_page(folder: str, plane: Plane, window: Window, layout: Layout, out: Array) -> None:
    """Read a part of a page, decoding only the strips and tiles that it touches.

    Parameters
    ----------
    folder : str
        Directory of the file.
    plane : Plane
        The page.
    window : Window
        What to read; inside the page.
    layout : Layout
        What the header said when it was checked.
    out : ndarray, shape (samples, rows, columns)
        Receives the values. Strips and tiles that the file leaves out (offset 0) are zero.

    Raises
    ------
    PixelError
        Naming the file, the page and the reason.
    """
    path = os.path.join(folder, plane.file)
    try:
        with TiffFile(path) as tif:
            page = page_at(tif, plane.header, plane.page)
            _check(page, layout)
            _read(page, plane.skip, window, out)
    except MemoryError:
        raise
    except Exception as error:  # codecs and damaged headers may raise anything
        reason = str(error) or type(error).__name__
        msg = f"{path}, page {plane.page}: the pixels cannot be read: {reason}"
        raise PixelError(msg) from error


def _check(page: TiffPage, layout: Layout) -> None:
    found = layout_of(page)
    if found != layout:
        msg = (
            f"it was {_described(layout)} when the stack was opened and is {_described(found)} "
            "now; open the stack again"
        )
        raise ValueError(msg)
    if len(page.dataoffsets) < segment_count(page):
        msg = f"its header does not list all {segment_count(page)} strips or tiles"
        raise ValueError(msg)


def _described(layout: Layout) -> str:
    samples = f" with {layout.samples} samples" if layout.samples > 1 else ""
    return f"{layout.rows} x {layout.columns} {layout.dtype or 'unknown'}{samples}"


def _read(page: TiffPage, skip: int, window: Window, out: Array) -> None:
    if page.planarconfig == SEPARATE_PLANES:
        for sample, plane in zip(range(*window.samples), out, strict=True):
            _fill(plane[..., None], page, skip, window, sample, slice(0, 1))
    else:
        _fill(np.moveaxis(out, 0, -1), page, skip, window, 0, slice(*window.samples))


def _fill(
    out: Array, page: TiffPage, skip: int, window: Window, plane: int, samples: slice
) -> None:
    """Copy the window of one plane of segments to ``out``, shape (rows, columns, samples)."""
    (top, bottom), (left, right) = window.rows, window.columns
    height, width = segment_shape(page)
    for index, y, x in segments_in(page, window.rows, window.columns, plane):
        y0, y1 = max(y, top), min(y + height, bottom)
        x0, x1 = max(x, left), min(x + width, right)
        target = out[y0 - top : y1 - top, x0 - left : x1 - left]
        if is_sparse(page, index):
            target[...] = 0
        else:
            values, y = _decode(page, skip, index, y, (y0, y1))
            target[...] = values[y0 - y : y1 - y, x0 - x : x1 - x, samples]


def _decode(
    page: TiffPage, skip: int, index: int, y: int, rows: tuple[int, int]
) -> tuple[Array, int]:
    """Return values of a segment, shape (rows, columns, samples), and the row of the first."""
    offset, count = extent(page, index)
    offset += skip
    if _is_plain(page):
        return _plain_rows(page, offset, y, rows), rows[0]
    data = _bytes(page, offset, count)
    values, _, _ = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)
    return values[0], y


def _is_plain(page: TiffPage) -> bool:
    """Return whether rows lie in the file as they lie in memory, but for the byte order."""
    return bool(
        page.compression == UNCOMPRESSED
        and page.predictor == 1
        and page.fillorder == 1
        and not page.is_tiled
        and not page.is_subsampled
        and page.bitspersample == page.dtype.itemsize * 8
    )


def _plain_rows(page: TiffPage, offset: int, y: int, rows: tuple[int, int]) -> Array:
    """Read only the wanted rows of an uncompressed strip that starts at row ``y``."""
    samples = 1 if page.planarconfig == SEPARATE_PLANES else page.samplesperpixel
    dtype = page.dtype.newbyteorder(page.parent.byteorder)
    pitch = page.imagewidth * samples * dtype.itemsize
    first, last = rows
    data = _bytes(page, offset + (first - y) * pitch, (last - first) * pitch)
    return np.frombuffer(data, dtype).reshape(last - first, page.imagewidth, samples)


def _bytes(page: TiffPage, offset: int, count: int) -> bytes:
    handle: Any = page.parent.filehandle
    if offset + count > handle.size:  # not tried: room is made for as many as a header tells
        raise ValueError(missing_bytes(offset, count, handle.size))
    handle.seek(offset)
    data: bytes = handle.read(count)
    return data
