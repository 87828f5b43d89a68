"""Resampling a slice by operations on whole arrays, of numpy or cupy: that for GPUs."""

from __future__ import annotations

from typing import Any

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.backend import namespace
from pystack3d_dask.kernels.registration.interpolation import CLOSE, Mode, Scheme
from pystack3d_dask.kernels.registration.interpolation_arrays import values_at


def warp_affine_on_arrays(
    image: Any,
    matrix: Array,
    mode: Mode,
    out: Any,
    corner: tuple[int, int],
    scheme: Scheme = "linear",
) -> None:
    """Resample an image under one transformation, like `warp.warp_affine`.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Of numpy or cupy.
    matrix : ndarray of float64, shape (3, 3)
        Of numpy.
    mode, out, corner, scheme
        As there; ``out`` is of the same kind as the image.
    """
    row, column = _positions(out, corner)
    (xx, xy, x0), (yx, yy, y0) = matrix[:2].tolist()
    y, x = yy * row + y0, xx * column + x0
    # without a turn both stay a row and a column, which is a quarter of the memory
    y, x = (y + yx * column if yx else y), (x + xy * row if xy else x)
    out[:] = values_at(image, y, x, mode, scheme, out.dtype)


def warp_piecewise_on_arrays(
    image: Any,
    xs: Array,
    ys: Array,
    points: Array,
    mode: Mode,
    out: Any,
    corner: tuple[int, int],
    scheme: Scheme = "linear",
) -> None:
    """Resample an image, as `pystack3d_dask.kernels.registration.warp.warp_piecewise` does.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Of numpy or cupy.
    xs, ys, points : ndarray
        Of numpy, as there.
    mode, out, corner, scheme
        As there; ``out`` is of the same kind as the image.
    """
    xp = namespace(image)
    row, column = _positions(out, corner)
    (j, v), (i, u) = _cells(row, ys), _cells(column, xs)
    places = xp.asarray(points)
    is_upper = u + v <= 1
    right, below = places[j, i + 1], places[j + 1, i]
    upper = places[j, i] + u[..., None] * (right - places[j, i])
    upper = upper + v[..., None] * (below - places[j, i])
    corners = places[j + 1, i + 1]
    lower = corners + (1 - u)[..., None] * (below - corners)
    lower = lower + (1 - v)[..., None] * (right - corners)
    found = xp.where(is_upper[..., None], upper, lower)
    whole = xp.rint(found)
    found = xp.where(xp.abs(found - whole) < CLOSE, whole, found)
    out[:] = values_at(image, found[..., 1], found[..., 0], mode, scheme, out.dtype)


def _positions(out: Any, corner: tuple[int, int]) -> tuple[Any, Any]:
    """Return the rows and the columns of what is to be filled, as a column and a row."""
    xp = namespace(out)
    row, column = (
        xp.arange(start, start + count, dtype=np.float64)
        for start, count in zip(corner, out.shape, strict=True)
    )
    return row[:, None], column[None, :]


def _cells(positions: Any, edges: Array) -> tuple[Any, Any]:
    """Return in which cell between edges positions lie, and where there, 0 to 1."""
    xp = namespace(positions)
    there = xp.asarray(edges)
    cell = (xp.searchsorted(there, positions, side="right") - 1).clip(0, len(edges) - 2)
    return cell, (positions - there[cell]) / (there[cell + 1] - there[cell])
