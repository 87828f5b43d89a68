"""Resampling a slice under a transformation, bilinearly."""

from __future__ import annotations

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.backend import namespace
from pystack3d_dask.kernels.jit import compiled
from pystack3d_dask.kernels.registration.warp_arrays import (
    CLOSE,
    FAR,
    Mode,
    warp_affine_on_arrays,
    warp_piecewise_on_arrays,
)

ROUNDING = 1e-9  # of the mean: deviations up to this are those of a constant image
MODES: dict[Mode, int] = {"constant": 0, "edge": 1, "symmetric": 2, "reflect": 3, "wrap": 4}


def warp_affine(
    image: Array, matrix: Array, mode: Mode, out: Array, corner: tuple[int, int]
) -> None:
    """Resample an image under one transformation.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Of numpy or cupy, any real type.
    matrix : ndarray, shape (3, 3)
        On (x, y, 1), from output to input coordinates.
    mode : {"constant", "edge", "symmetric", "reflect", "wrap"}
        What lies beyond the image: nothing, so that a pixel all of whose neighbors are not
        inside becomes 0; its outermost pixels; its mirror image with or without the
        outermost pixels repeated; the image again.
    out : ndarray of float, shape (rows, columns)
        Of the same kind as the image. Filled with a part of the output.
    corner : tuple of int
        Row and column, in the output, of that part.
    """
    matrix = _rounded(matrix)
    if namespace(image) is not np:
        warp_affine_on_arrays(image, matrix, mode, out, corner)
        return
    dx, dy = matrix[:2, 2]
    reach = FAR * min(image.shape)
    if (matrix[:2, :2] == np.eye(2)).all() and max(abs(dx), abs(dy)) < reach:
        _warp_shift(image, dy, dx, MODES[mode], out, *corner)
    else:
        _warp_affine(image, matrix, MODES[mode], out, *corner)


def warp_piecewise(
    image: Array,
    xs: Array,
    ys: Array,
    points: Array,
    mode: Mode,
    out: Array,
    corner: tuple[int, int],
) -> None:
    """Resample an image under a transformation that is affine in triangles.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Of numpy or cupy, any real type.
    xs, ys : ndarray of float64
        Ascending coordinates of the control points in the output, which make a grid that
        covers the image.
    points : ndarray, shape (len(ys), len(xs), 2)
        Where each control point lies in the input, as (x, y). Each cell of the grid is
        two triangles, cut from its top right to its bottom left corner.
    mode, out, corner
        As for `warp_affine`.
    """
    if namespace(image) is not np:
        warp_piecewise_on_arrays(image, xs, ys, points, mode, out, corner)
        return
    _warp_piecewise(image, xs, ys, points, MODES[mode], out, *corner)


def aligned_correlation(reference: Array, image: Array, matrix: Array) -> float:
    """Return the correlation of two images under a transformation, over what both show.

    Parameters
    ----------
    reference, image : ndarray, shape (rows, columns)
        Any real type.
    matrix : ndarray, shape (3, 3)
        From coordinates in the reference to those in the image.

    Returns
    -------
    float
        -1 to 1, whatever their offsets and scales; 0 where one is constant, or where they
        share less than a tenth.
    """
    if not np.isfinite(matrix).all():
        return 0.0
    # about the means: squares of an offset would swallow those of a faint contrast
    middles = float(reference.mean(dtype=np.float64)), float(image.mean(dtype=np.float64))
    count, a, b, aa, bb, ab = _sums(reference, image, matrix, *middles)
    if count < reference.size / 10:
        return 0.0
    deviations = [
        np.sqrt(max(squares - total * total / count, 0.0) / count)
        for total, squares in ((a, aa), (b, bb))
    ]
    rounding = [ROUNDING * abs(middle) for middle in middles]
    if any(each <= least for each, least in zip(deviations, rounding, strict=True)):
        return 0.0
    covariance = (ab - a * b / count) / count
    return float(covariance / deviations[0] / deviations[1])


def _rounded(matrix: Array) -> Array:
    """Return the matrix with shifts that are whole but for rounding made whole."""
    result = np.array(matrix, np.float64)
    if (result[:2, :2] == np.eye(2)).all():
        whole = np.rint(result[:2, 2])
        result[:2, 2] = np.where(np.abs(result[:2, 2] - whole) < CLOSE, whole, result[:2, 2])
    return result


@compiled()
def _folded(k: int, count: int, mode: int) -> int:
    """Return the index of the pixel that stands for one outside."""
    if 0 <= k < count:
        return k
    if mode == 4:
        return k % count
    if mode == 2:
        k %= 2 * count
        return k if k < count else 2 * count - 1 - k
    if mode == 3 and count > 1:
        k %= 2 * count - 2
        return k if k < count else 2 * count - 2 - k
    return 0 if k < 0 else count - 1


@compiled()
def _is_inside(y: float, x: float, rows: int, columns: int) -> bool:
    return -CLOSE <= y <= rows - 1 + CLOSE and -CLOSE <= x <= columns - 1 + CLOSE


@compiled()
def _whole(position: float) -> float:
    """Return a coordinate that is whole but for rounding made whole."""
    whole = np.rint(position)
    return float(whole) if abs(position - whole) < CLOSE else position


@compiled()
def _sample(image: Array, y: float, x: float, mode: int) -> float:
    rows, columns = image.shape
    if mode == 0 and not _is_inside(y, x, rows, columns):
        return 0.0
    # a coordinate far outside need not fit into an integer
    y = min(max(y, -FAR * rows), FAR * rows)
    x = min(max(x, -FAR * columns), FAR * columns)
    top, left = int(np.floor(y)), int(np.floor(x))
    v, u = y - top, x - left
    bottom, right = top + 1, left + 1
    if top < 0 or left < 0 or bottom >= rows or right >= columns:
        top, bottom = _folded(top, rows, mode), _folded(bottom, rows, mode)
        left, right = _folded(left, columns, mode), _folded(right, columns, mode)
    upper = (1 - u) * image[top, left] + u * image[top, right]
    lower = (1 - u) * image[bottom, left] + u * image[bottom, right]
    value: float = (1 - v) * upper + v * lower
    return value


@compiled()
def _warp_shift(
    image: Array, dy: float, dx: float, mode: int, out: Array, top: int, left: int
) -> None:
    """Fill ``out`` as `_warp_affine` does, with the same four weights for all pixels."""
    rows, columns = image.shape
    below, beside = int(np.floor(dy)), int(np.floor(dx))
    v, u = dy - below, dx - beside
    stop = left + out.shape[1]
    first = min(max(left, -beside), stop)
    last = max(min(stop, columns - 1 - beside), first)
    for row in range(top, top + out.shape[0]):
        line, y = out[row - top], row + below
        is_inside = 0 <= y < rows - 1
        edge = first if is_inside else stop
        for column in range(left, edge):
            line[column - left] = _sample(image, row + dy, column + dx, mode)
        if is_inside:
            upper, lower = image[y], image[y + 1]
            for column in range(first, last):
                k = column + beside
                one = (1 - u) * upper[k] + u * upper[k + 1]
                other = (1 - u) * lower[k] + u * lower[k + 1]
                line[column - left] = (1 - v) * one + v * other
            for column in range(last, stop):
                line[column - left] = _sample(image, row + dy, column + dx, mode)


@compiled()
def _warp_affine(image: Array, matrix: Array, mode: int, out: Array, top: int, left: int) -> None:
    for row in range(top, top + out.shape[0]):
        for column in range(left, left + out.shape[1]):
            x = matrix[0, 0] * column + matrix[0, 1] * row + matrix[0, 2]
            y = matrix[1, 0] * column + matrix[1, 1] * row + matrix[1, 2]
            out[row - top, column - left] = _sample(image, y, x, mode)


@compiled()
def _warp_piecewise(
    image: Array,
    xs: Array,
    ys: Array,
    points: Array,
    mode: int,
    out: Array,
    top: int,
    left: int,
) -> None:
    for row in range(top, top + out.shape[0]):
        for column in range(left, left + out.shape[1]):
            x, y = _piecewise(xs, ys, points, row, column)
            # sums of shares of corners fall short of whole shifts, and of gray levels then
            out[row - top, column - left] = _sample(image, _whole(y), _whole(x), mode)


@compiled()
def _cell(edges: Array, position: int) -> int:
    """Return the index of the last edge, but for the very last, up to a position."""
    k = 0
    while k < edges.size - 2 and edges[k + 1] <= position:
        k += 1
    return k


@compiled()
def _piecewise(xs: Array, ys: Array, points: Array, row: int, column: int) -> tuple[float, float]:
    j, i = _cell(ys, row), _cell(xs, column)
    v = (row - ys[j]) / (ys[j + 1] - ys[j])
    u = (column - xs[i]) / (xs[i + 1] - xs[i])
    right, below = points[j, i + 1], points[j + 1, i]
    if u + v <= 1:
        corner = points[j, i]
    else:
        corner = points[j + 1, i + 1]
        right, below, u, v = below, right, 1 - u, 1 - v
    x = corner[0] + u * (right[0] - corner[0]) + v * (below[0] - corner[0])
    y = corner[1] + u * (right[1] - corner[1]) + v * (below[1] - corner[1])
    return x, y


@compiled()
def _sums(
    reference: Array, image: Array, matrix: Array, middle: float, image_middle: float
) -> tuple[float, float, float, float, float, float]:
    """Return how many pixels both show, and sums of their distances from two middles."""
    rows, columns = image.shape
    count, a, b, aa, bb, ab = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for row in range(reference.shape[0]):
        for column in range(reference.shape[1]):
            x = matrix[0, 0] * column + matrix[0, 1] * row + matrix[0, 2]
            y = matrix[1, 0] * column + matrix[1, 1] * row + matrix[1, 2]
            if 0 <= x <= columns - 1 and 0 <= y <= rows - 1:
                one = np.float64(reference[row, column]) - middle
                other = _sample(image, y, x, 1) - image_middle
                count += 1
                a += one
                b += other
                aa += one * one
                bb += other * other
                ab += one * other
    return count, a, b, aa, bb, ab


@compiled()
def narrow(first: Array, last: Array, matrix: Array, columns: int) -> None:
    """Narrow the columns of each row to those that an affine transformation finds inside.

    ``first`` and ``last`` (inclusive), one entry per row, are changed in place.
    """
    rows = first.size
    for row in range(rows):
        low, high = float(first[row]), float(last[row])
        for axis in range(2):
            # -CLOSE <= slope * column + start <= end + CLOSE
            slope = matrix[axis, 0]
            start = matrix[axis, 1] * row + matrix[axis, 2]
            end = (columns if axis == 0 else rows) - 1.0
            if slope == 0:
                if not -CLOSE <= start <= end + CLOSE:
                    high = -1.0
                continue
            one, other = (-CLOSE - start) / slope, (end + CLOSE - start) / slope
            low, high = max(low, min(one, other)), min(high, max(one, other))
        # far outside, behind a slope of nearly nothing, need not fit into an integer
        first[row] = np.int64(np.ceil(min(low, float(columns))))
        last[row] = np.int64(np.floor(max(high, -1.0)))


@compiled()
def clear_outside_piecewise(valid: Array, xs: Array, ys: Array, points: Array) -> None:
    """Clear ``valid`` where a piecewise transformation leaves the image, in place."""
    rows, columns = valid.shape
    for row in range(rows):
        for column in range(columns):
            if valid[row, column]:
                x, y = _piecewise(xs, ys, points, row, column)
                valid[row, column] = _is_inside(y, x, rows, columns)
