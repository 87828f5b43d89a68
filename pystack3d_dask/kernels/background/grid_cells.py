"""The cells of a grid: sums over them, and which of them a position lies between."""

from __future__ import annotations

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.jit import compiled


@compiled()
def cell_sums(image: Array, cell_y: int, cell_x: int, low: float, high: float) -> Array:
    """Return, per cell, the sum and the number of the pixels between two thresholds.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Gray levels; rows and columns that do not fill a cell make a smaller one.
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


def neighbors(centers: Array, positions: Array) -> tuple[Array, Array, Array]:
    """Return between which cells positions lie.

    Parameters
    ----------
    centers : ndarray, shape (cells,)
        Ascending.
    positions : ndarray, shape (n,)
        In the same unit.

    Returns
    -------
    left, right : ndarray of int, shape (n,)
        The cells; the same one twice beyond the outer centers.
    weight : ndarray of float, shape (n,)
        That of the right one.
    """
    right = np.clip(np.searchsorted(centers, positions, side="right"), 0, len(centers) - 1)
    left = np.maximum(np.searchsorted(centers, positions, side="right") - 1, 0)
    distance = np.where(right > left, centers[right] - centers[left], 1.0)
    weight = np.clip((positions - centers[left]) / distance, 0.0, 1.0)
    return left, right, np.where(right > left, weight, 0.0)
