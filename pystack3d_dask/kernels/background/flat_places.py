"""Places of a slice that lie inside one material: where means over cells change least."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.cell_means import Ends, cell_means

CELLS = 100  # along the shorter side
SMALLEST_CELL, LARGEST_CELL = 2, 8  # pixels
FLAT = 0.6  # share of the cells that are taken: the others lie at edges


class FlatPlaces(NamedTuple):
    """Gray levels inside materials, and where they are.

    Parameters
    ----------
    values : ndarray of float32, shape (places,)
        Means over cells.
    places : ndarray of float32, shape (places, 2)
        Their middles along y and x, from 0 at one edge of the slice to 1 at the other.
    inside : float
        Mean variance of pixels inside cells, flat or not.
    limit : float
        Steepness, in gray levels from cell to cell, above which a cell is not flat.
    """

    values: Array
    places: Array
    inside: float
    limit: float


def cell_size(shape: tuple[int, int]) -> int:
    """Return the pixels along a side of the cells of slices with so many rows and columns."""
    return min(max(min(shape) // CELLS, SMALLEST_CELL), LARGEST_CELL)


def flat_means(image: Array, size: int, limit: float, ends: Ends | None = None) -> Array:
    """Return means over cells, NaN where these are not flat.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Of any real type.
    size : int
        Pixels along a side of a cell.
    limit : float
        Steepness, in gray levels from cell to cell, above which a cell is not flat.
    ends : tuple of float, optional
        Gray levels at which pixels are clipped, where the type does not tell.

    Returns
    -------
    ndarray of float32, shape (cells along y, cells along x)
    """
    means = cell_means(image, size, ends=ends)
    steep = _steepness(means)
    return np.where(steep <= limit, means, np.float32(np.nan))


def flat_places(image: Array, most: int, ends: Ends | None = None) -> FlatPlaces:
    """Return places of a slice that lie inside one material.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Of any real type; cells with clipped pixels, or pixels that are not finite, do not count.
    most : int
        About how many cells are looked at.
    ends : tuple of float, optional
        Gray levels at which pixels are clipped, where the type does not tell.
    """
    rows, columns = image.shape
    cell = cell_size((rows, columns))
    means = cell_means(image, cell, ends=ends)
    steepness = _steepness(means)
    is_known = np.isfinite(means) & np.isfinite(steepness)  # which looks beside a cell, not at it
    limit = float(np.quantile(steepness[is_known], FLAT)) if is_known.any() else 0.0
    step = max(1, round((means.size / most) ** 0.5))
    taken = np.zeros(means.shape, bool)
    taken[step // 2 :: step, step // 2 :: step] = True
    taken &= is_known
    inside = _variance_inside(image, cell, *np.nonzero(taken))
    y, x = np.nonzero(taken & (steepness <= limit))
    places = (np.stack([y, x], axis=1) + 0.5) * cell / image.shape
    return FlatPlaces(means[y, x], places.astype(np.float32), inside, limit)


def _steepness(means: Array) -> Array:
    """Return by how much means change from cell to cell; NaN where that is not known."""
    if min(means.shape) < 2:
        return np.full(means.shape, np.nan)
    return np.asarray(np.hypot(*np.gradient(means)))


def _variance_inside(image: Array, cell: int, y: Array, x: Array) -> float:
    """Return the mean variance of the pixels of some cells."""
    if not len(y):
        return 0.0
    rows = (y * cell)[:, None, None] + np.arange(cell)[:, None]
    columns = (x * cell)[:, None, None] + np.arange(cell)
    return float(np.var(image[rows, columns], axis=(1, 2), ddof=1, dtype=np.float64).mean())
