"""Comparison of slices that are laid upon each other, tile by tile."""

from __future__ import annotations

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.bad_slices.tiles import tile_edges
from pystack3d_dask.kernels.jit import compiled

LEAST_KNOWN = 0.25  # of the cells of a tile


def unlikeness(one: Array, other: Array) -> Array:
    """Return how little two slices have in common, whatever their gains and offsets.

    Parameters
    ----------
    one, other : ndarray of float32, equal shapes
        Cells of the two slices that show the same place; NaN does not count.

    Returns
    -------
    ndarray of float64, shape (tiles along y, tiles along x)
        One minus the correlation in each tile, which is 1 where only one of the slices shows
        something; NaN where neither does, or fewer than `LEAST_KNOWN` of the cells are known.
    """
    return _unlikeness(one, other, tile_edges(one.shape[0]), tile_edges(one.shape[1]))


@compiled()
def _unlikeness(one: Array, other: Array, ys: Array, xs: Array) -> Array:
    out = np.full((len(ys) - 1, len(xs) - 1), np.nan)
    for i in range(len(ys) - 1):
        for j in range(len(xs) - 1):
            cells = (ys[i + 1] - ys[i]) * (xs[j + 1] - xs[j])
            count = 0
            a = b = aa = bb = ab = 0.0
            # about the first cell that is known: sums of squares of large levels lose digits
            first, second = 0.0, 0.0
            for y in range(ys[i], ys[i + 1]):
                for x in range(xs[j], xs[j + 1]):
                    p, q = np.float64(one[y, x]), np.float64(other[y, x])
                    if not (np.isfinite(p) and np.isfinite(q)):
                        continue
                    if count == 0:
                        first, second = p, q
                    count += 1
                    p -= first
                    q -= second
                    a += p
                    b += q
                    aa += p * p
                    bb += q * q
                    ab += p * q
            if count == 0 or count < LEAST_KNOWN * cells:
                continue
            aa -= a * a / count
            bb -= b * b / count
            if aa > 0 and bb > 0:
                out[i, j] = 1 - (ab - a * b / count) / np.sqrt(aa * bb)
            elif aa > 0 or bb > 0:
                out[i, j] = 1.0
    return out
