"""Sums over the cells of a grid: what means of masked pixels are made of."""

from __future__ import annotations

import numpy as np

from pystack3d_dask.compiled import compiled
from pystack3d_dask.spec import Array


@compiled()
def cell_sums(image: Array, cell_y: int, cell_x: int, low: float, high: float) -> Array:
    """Return, per cell, the sum and the number of the pixels between two thresholds.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Grey levels; rows and columns that do not fill a cell make a smaller one.
    cell_y, cell_x : int
        Extent of a cell.
    low, high : float
        Thresholds, inclusive.

    Returns
    -------
    ndarray of float64, shape (2, cells along y, cells along x)
    """
    rows, columns = image.shape
    sums = np.zeros((2, -(-rows // cell_y), -(-columns // cell_x)))
    for y in range(rows):
        j = y // cell_y
        for x in range(columns):
            value = np.float64(image[y, x])
            if low <= value <= high:
                sums[0, j, x // cell_x] += value
                sums[1, j, x // cell_x] += 1.0
    return sums
