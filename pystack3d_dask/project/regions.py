"""Regions of interest of an acquisition: scanned rectangles with nothing around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy import ndimage

from pystack3d_dask.core.spec import Region
from pystack3d_dask.core.typing import Array
from pystack3d_dask.errors import PixelError
from pystack3d_dask.io.microscopes.slice_metadata import Rectangle, joined
from pystack3d_dask.io.source import Source

CELL = 8  # pixels; regions are found to this precision
BAND = 128 * CELL  # rows read at once
NEGLIGIBLE = 0.01  # of the area of the largest region
MOSTLY_EMPTY = 0.9  # regions that fill more of the box around them may as well be one


def scanned_regions(source: Source, box: Rectangle) -> tuple[Rectangle, ...]:
    """Find the rectangles in which pixels of a stack are not zero.

    Acquisition software gives the box around all that was scanned; what is between several
    regions is stored as zero. The first, middle and last slice of the first channel are read.

    Parameters
    ----------
    source : Source
        The stack.
    box : Rectangle
        Where to look; inside the images.

    Returns
    -------
    tuple of Rectangle
        From left to right, to a precision of 8 pixels; only ``box`` where there are not several,
        or a slice cannot be read.
    """
    last = source.specs[0].shape[0] - 1
    try:
        cells = np.logical_or.reduce([_cells(source, z, box) for z in {0, last // 2, last}])
    except PixelError:  # runs say so
        return (box,)
    labels, _ = ndimage.label(cells, np.ones((3, 3)))
    found = (
        Rectangle(rows.start, rows.stop, columns.start, columns.stop)
        for rows, columns in ndimage.find_objects(labels)
    )
    inside = [_pixels(each, box) for each in found]
    regions = separate(inside)
    filled = sum(each.size for each in regions)
    around = joined(regions)
    is_one = len(regions) < 2 or around is None or filled > MOSTLY_EMPTY * around.size
    return (box,) if is_one else regions


def separate(rectangles: Iterable[Rectangle]) -> tuple[Rectangle, ...]:
    """Join rectangles that overlap, and drop those below 1 % of the largest.

    Parameters
    ----------
    rectangles : iterable of Rectangle
        In any order.

    Returns
    -------
    tuple of Rectangle
        From left to right; no two of them overlap.
    """
    apart: list[Rectangle] = []
    for each in rectangles:
        grown = each
        while touching := [other for other in apart if other.overlaps(grown)]:
            grown = joined([grown, *touching]) or grown
            apart = [other for other in apart if other not in touching]
        apart.append(grown)
    least = NEGLIGIBLE * max((each.size for each in apart), default=0)
    kept = [each for each in apart if each.size >= max(least, 1)]
    return tuple(sorted(kept, key=lambda each: (each.left, each.top)))


def _cells(source: Source, z: int, box: Rectangle) -> Array:
    """Return which cells of a slice hold a pixel that is not zero."""
    return np.concatenate(list(_bands(source, z, box)))


def _bands(source: Source, z: int, box: Rectangle) -> Iterator[Array]:
    for top in range(box.top, box.bottom, BAND):
        bottom = min(top + BAND, box.bottom)
        region = Region((z, top, box.left), (z + 1, bottom, box.right))
        scanned = source.read(0, region)[0] != 0
        rows, columns = scanned.shape
        padded = np.pad(scanned, ((0, -rows % CELL), (0, -columns % CELL)))
        yield np.asarray(padded.reshape(-(-rows // CELL), CELL, -1, CELL).any(axis=(1, 3)))


def _pixels(cells: Rectangle, box: Rectangle) -> Rectangle:
    top, bottom, left, right = (CELL * edge for edge in cells)
    return Rectangle(
        box.top + top,
        min(box.top + bottom, box.bottom),
        box.left + left,
        min(box.left + right, box.right),
    )
