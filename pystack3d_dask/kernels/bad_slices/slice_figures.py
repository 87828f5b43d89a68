"""Figures of single slices that bad ones stand out by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.bad_slices.tiles import tile_edges
from pystack3d_dask.kernels.jit import compiled

STEPS = (1, 2, 4)  # pixels over which fine detail is looked at
LOOKED_AT = 512  # rows of a slice, at most


class SliceFigures(NamedTuple):
    """Figures of one slice.

    Parameters
    ----------
    unknown : float
        Share of cells that are clipped at an end of the type, or not finite.
    level : float
        Mean gray level of the other cells; NaN where there are none.
    contrast : float
        Their standard deviation.
    detail : ndarray, shape (6,)
        Mean squared difference of pixels that lie 1, 2 and 4 apart, along x and along y: the
        median over the tiles of the slice.
    """

    unknown: float
    level: float
    contrast: float
    detail: Array


def slice_figures(image: Array, cells: Array) -> SliceFigures:
    """Return the figures of a slice.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        A slice of any real type.
    cells : ndarray of float32
        Its `cell_means`.
    """
    known = cells[np.isfinite(cells)]
    shown = known if known.size else np.full(1, np.nan, np.float32)
    return SliceFigures(
        unknown=1 - known.size / max(cells.size, 1),
        level=float(shown.mean(dtype=np.float64)),
        contrast=float(shown.std(dtype=np.float64)),
        detail=_detail(image),
    )


def _detail(image: Array) -> Array:
    farthest = STEPS[-1]
    rows, columns = image.shape[0] - farthest, image.shape[1] - farthest
    if rows < 1 or columns < 1:
        return np.full(2 * len(STEPS), np.nan)
    edges = tile_edges(rows), tile_edges(columns)
    skip = -(-rows // LOOKED_AT)
    return np.median(_mean_squares(image, np.array(STEPS), *edges, skip), axis=(1, 2))


@compiled()
def _mean_squares(image: Array, steps: Array, ys: Array, xs: Array, skip: int) -> Array:
    count = len(steps)
    out = np.empty((2 * count, len(ys) - 1, len(xs) - 1))
    for i in range(len(ys) - 1):
        for j in range(len(xs) - 1):
            seen = 0
            total = np.zeros(2 * count)
            for y in range(ys[i], ys[i + 1], skip):
                seen += xs[j + 1] - xs[j]
                for k in range(count):
                    step = steps[k]
                    along_x = along_y = np.float32(0)
                    for x in range(xs[j], xs[j + 1]):
                        value = np.float32(image[y, x])
                        right = np.float32(image[y, x + step]) - value
                        down = np.float32(image[y + step, x]) - value
                        along_x += right * right
                        along_y += down * down
                    total[k] += along_x
                    total[count + k] += along_y
            out[:, i, j] = total / seen
    return out
