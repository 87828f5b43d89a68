"""Resampling a slice under a transformation."""

from __future__ import annotations

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.backend import namespace
from pystack3d_dask.kernels.jit import compiled
from pystack3d_dask.kernels.registration.interpolation import (
    CLOSE,
    FAR,
    MODES,
    SCHEMES,
    Mode,
    Scheme,
    between_four,
    is_inside,
    spline_coefficients,
    taps,
    value_at,
    weigh,
)
from pystack3d_dask.kernels.registration.warp_arrays import (
    warp_affine_on_arrays,
    warp_piecewise_on_arrays,
)

ROUNDING = 1e-9  # of the mean: deviations up to this are those of a constant image


def warp_affine(
    image: Array,
    matrix: Array,
    mode: Mode,
    out: Array,
    corner: tuple[int, int],
    scheme: Scheme = "linear",
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
    scheme : {"linear", "catmull-rom", "cubic", "lanczos3", "whole"}
        What lies between pixels, see `kernels.registration.interpolation`.
    """
    matrix = _rounded(matrix)
    is_shift = bool((matrix[:2, :2] == np.eye(2)).all())
    if is_shift and scheme == "whole":
        # the same whole shift for all pixels, whatever their sums round to
        matrix[:2, 2] = np.floor(matrix[:2, 2] + 0.5)
    if is_shift and not (matrix[:2, 2] % 1).any():
        scheme = "linear"  # all schemes copy pixels, this one without looking around
    if namespace(image) is not np:
        warp_affine_on_arrays(image, matrix, mode, out, corner, scheme)
        return
    if scheme == "cubic":
        image = spline_coefficients(image, mode, out.dtype)
    dx, dy = matrix[:2, 2]
    if not is_shift or max(abs(dx), abs(dy)) >= FAR * min(image.shape):
        _warp_affine(image, matrix, MODES[mode], SCHEMES[scheme], out, *corner)
    elif scheme == "linear":
        _warp_shift(image, dy, dx, MODES[mode], out, *corner)
    else:
        _warp_shift_wide(image, dy, dx, MODES[mode], SCHEMES[scheme], out, *corner)


def warp_piecewise(
    image: Array,
    xs: Array,
    ys: Array,
    points: Array,
    mode: Mode,
    out: Array,
    corner: tuple[int, int],
    scheme: Scheme = "linear",
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
    mode, out, corner, scheme
        As for `warp_affine`.
    """
    if namespace(image) is not np:
        warp_piecewise_on_arrays(image, xs, ys, points, mode, out, corner, scheme)
        return
    if scheme == "cubic":
        image = spline_coefficients(image, mode, out.dtype)
    _warp_piecewise(image, xs, ys, points, MODES[mode], SCHEMES[scheme], out, *corner)


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
def _whole(position: float) -> float:
    """Return a coordinate that is whole but for rounding made whole."""
    whole = np.rint(position)
    return float(whole) if abs(position - whole) < CLOSE else position


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
            line[column - left] = between_four(image, row + dy, column + dx, mode)
        if is_inside:
            upper, lower = image[y], image[y + 1]
            for column in range(first, last):
                k = column + beside
                one = (1 - u) * upper[k] + u * upper[k + 1]
                other = (1 - u) * lower[k] + u * lower[k + 1]
                line[column - left] = (1 - v) * one + v * other
            for column in range(last, stop):
                line[column - left] = between_four(image, row + dy, column + dx, mode)


@compiled()
def _warp_shift_wide(
    image: Array, dy: float, dx: float, mode: int, scheme: int, out: Array, top: int, left: int
) -> None:
    """Fill ``out`` as `_warp_affine` does, along columns and then along rows."""
    rows, columns = image.shape
    count = taps(scheme)
    before, after = count // 2 - 1, count // 2
    below, beside = int(np.floor(dy)), int(np.floor(dx))
    down, across = np.empty(count, out.dtype), np.empty(count, out.dtype)
    weigh(scheme, dy - below, down)
    weigh(scheme, dx - beside, across)
    stop = left + out.shape[1]
    first = min(max(left, before - beside), stop)
    last = max(min(stop, columns - after - beside), first)
    mixed = np.empty(last - first + count - 1, out.dtype)
    for row in range(top, top + out.shape[0]):
        line, y = out[row - top], row + below
        has_rows = before <= y < rows - after and first < last
        edge = first if has_rows else stop
        for column in range(left, edge):
            line[column - left] = value_at(image, row + dy, column + dx, mode, scheme)
        if has_rows:
            mixed[:] = 0
            start = first + beside - before
            for j in range(count):
                pixels = image[y - before + j, start : start + mixed.size]
                for k in range(mixed.size):
                    mixed[k] += down[j] * pixels[k]
            line[first - left : last - left] = 0
            for i in range(count):
                for k in range(last - first):
                    line[first - left + k] += across[i] * mixed[k + i]
            for column in range(last, stop):
                line[column - left] = value_at(image, row + dy, column + dx, mode, scheme)


@compiled()
def _warp_affine(
    image: Array, matrix: Array, mode: int, scheme: int, out: Array, top: int, left: int
) -> None:
    for row in range(top, top + out.shape[0]):
        for column in range(left, left + out.shape[1]):
            x = matrix[0, 0] * column + matrix[0, 1] * row + matrix[0, 2]
            y = matrix[1, 0] * column + matrix[1, 1] * row + matrix[1, 2]
            out[row - top, column - left] = value_at(image, y, x, mode, scheme)


@compiled()
def _warp_piecewise(
    image: Array,
    xs: Array,
    ys: Array,
    points: Array,
    mode: int,
    scheme: int,
    out: Array,
    top: int,
    left: int,
) -> None:
    for row in range(top, top + out.shape[0]):
        for column in range(left, left + out.shape[1]):
            x, y = _piecewise(xs, ys, points, row, column)
            # sums of shares of corners fall short of whole shifts, and of gray levels then
            place = _whole(y), _whole(x)
            out[row - top, column - left] = value_at(image, *place, mode, scheme)


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
                other = between_four(image, y, x, 1) - image_middle
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
                valid[row, column] = is_inside(y, x, rows, columns)
