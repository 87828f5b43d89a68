"""Two slices laid upon each other to whole pixels, as means over square cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.cell_means import Ends, cell_means
from pystack3d_dask.kernels.registration.phase_correlation import register_shift

CELLS = 200  # cells along the shorter side that a slice is seen by
LARGEST_CELL = 8  # pixels
SMALLEST_CELL = 2
SMALLEST = 12  # cells along a side that are registered
MANY = 2 * 80  # cells along a side of which half will do
SCRATCH_BYTES = 40  # of a cell


class CellView(NamedTuple):
    """A slice as it is compared with others.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        The slice.
    size : int
        Pixels along a side of a cell.
    cells : ndarray of float32
        Means of cells, NaN where they are not known.
    thin : ndarray of float32
        What is registered: without unknown cells, and fewer of them if there are many.
    ends : tuple of float, optional
        Gray levels at which pixels are clipped, where the type does not tell.
    """

    image: Array
    size: int
    cells: Array
    thin: Array
    ends: Ends | None

    @classmethod
    def of(cls, image: Array, ends: Ends | None = None) -> CellView:
        """Return the view of a slice; ``ends`` are those of `cell_means`."""
        size = cell_size(image.shape)
        cells = cell_means(image, size, ends=ends)
        return cls(image, size, cells, _thinned(cells), ends)


def cell_size(shape: tuple[int, ...]) -> int:
    """Return the pixels along a side of a cell, for slices of ``shape``."""
    return min(max(min(shape) // CELLS, SMALLEST_CELL), LARGEST_CELL)


def comparing_bytes(shape: tuple[int, ...]) -> int:
    """Return what comparing two slices of ``shape`` allocates: their cells, and spectra of them."""
    size = cell_size(shape)
    return SCRATCH_BYTES * (shape[0] // size) * (shape[1] // size)


def overlaid(first: CellView, second: CellView) -> tuple[Array, Array] | None:
    """Return the cells of what two slices share.

    Parameters
    ----------
    first, second : CellView
        Slices of equal shapes.

    Returns
    -------
    tuple of ndarray of float32, optional
        Equal shapes; NaN where cells are not known. None where one of them shows nothing, or
        is too small to be registered.
    """
    found = shift_between(first, second)
    if found is None:
        return None
    shift = np.rint(found).astype(int)
    if not shift.any():
        return first.cells, second.cells
    dy, dx = shift.tolist()
    one = cell_means(first.image, first.size, max(0, -dy), max(0, -dx), first.ends)
    other = cell_means(second.image, second.size, max(0, dy), max(0, dx), second.ends)
    rows, columns = (min(pair) for pair in zip(one.shape, other.shape, strict=True))
    return one[:rows, :columns], other[:rows, :columns]


def shift_between(first: CellView, second: CellView) -> Array | None:
    """Return by how many pixels, along (y, x), a slice has moved against another one.

    None where one of them shows nothing, or is too small to be registered.
    """
    if min(first.thin.shape) < SMALLEST or not (first.thin.any() and second.thin.any()):
        return None
    size = first.size * (first.cells.shape[0] // first.thin.shape[0])
    return np.asarray(register_shift(first.thin, second.thin)[:2, 2][::-1] * size)


def _thinned(cells: Array) -> Array:
    """Return cells for a registration: all known, and half of them along each side if many."""
    is_known = np.isfinite(cells)
    if not is_known.any():
        return np.zeros(cells.shape, np.float32)
    mean = cells[is_known].mean(dtype=np.float64).astype(np.float32)
    filled = np.where(is_known, cells, mean) - mean
    return cell_means(filled, 2) if min(cells.shape) >= MANY else filled
