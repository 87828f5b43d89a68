"""The largest rectangle of pixels that are all valid."""

from __future__ import annotations

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.jit import compiled


def largest_rectangle(valid: Array) -> tuple[int, int, int, int]:
    """Return the largest axis-parallel rectangle in a mask.

    Of equal ones the uppermost is taken, then the leftmost. Found row by row with a stack
    of growing heights, in time proportional to the number of pixels.

    Parameters
    ----------
    valid : ndarray of bool, shape (rows, columns)
        The mask.

    Returns
    -------
    tuple of int
        First row, one after the last, first column, one after the last; zeros if no pixel
        is valid.
    """
    top, bottom, left, right = _largest(np.ascontiguousarray(valid))
    return int(top), int(bottom), int(left), int(right)


@compiled()
def _largest(valid: Array) -> tuple[int, int, int, int]:
    rows, columns = valid.shape
    heights = np.zeros(columns + 1, np.int64)
    starts = np.empty(columns + 1, np.int64)
    levels = np.empty(columns + 1, np.int64)
    best, area = (0, 0, 0, 0), 0
    for row in range(rows):
        for column in range(columns):
            heights[column] = heights[column] + 1 if valid[row, column] else 0
        depth = 0
        for column in range(columns + 1):
            start = column
            while depth and levels[depth - 1] >= heights[column]:
                depth -= 1
                start = starts[depth]
                size = levels[depth] * (column - start)
                found = (row + 1 - levels[depth], row + 1, start, column)
                if size > area or (
                    size == area > 0 and found[:1] + found[2:3] < best[:1] + best[2:3]
                ):
                    best, area = found, size
            starts[depth], levels[depth] = start, heights[column]
            depth += 1
    return best
