"""Values between pixels by operations on whole arrays, of numpy or cupy: those for GPUs."""

from __future__ import annotations

from typing import Any

import numpy as np

from pystack3d_dask.kernels.backend import namespace
from pystack3d_dask.kernels.registration.interpolation import (
    CLOSE,
    FAR,
    SCHEMES,
    Mode,
    Scheme,
    spline_filter,
    taps,
)

PADS = {"symmetric": "symmetric", "wrap": "wrap"}
"""Names in numpy of what lies beyond the image for the cubic spline; else its reflection."""


def values_at(image: Any, y: Any, x: Any, mode: Mode, scheme: Scheme, dtype: np.dtype[Any]) -> Any:
    """Return the values at some places, as `interpolation.value_at` does.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Pixels, of numpy or cupy.
    y, x : ndarray of float
        Rows and columns, of shapes that broadcast.
    mode, scheme
        As there.
    dtype : numpy.dtype
        float32 or float64, in which coefficients of splines are computed.
    """
    if scheme == "whole":
        xp = namespace(image)
        return _between_four(image, xp.floor(y + 0.5), xp.floor(x + 0.5), mode)
    if scheme == "linear":
        return _between_four(image, y, x, mode)
    xp, (rows, columns) = namespace(image), image.shape
    is_outside = _is_outside(y, x, rows, columns)
    y, x = y.clip(-FAR * rows, FAR * rows), x.clip(-FAR * columns, FAR * columns)
    if mode == "edge":
        y, x = y.clip(0, rows - 1), x.clip(0, columns - 1)
    beyond: Mode = mode
    if mode in ("constant", "edge"):
        beyond = "reflect" if scheme == "cubic" else "edge"
    if scheme == "cubic":
        image = _spline_coefficients(image, mode, dtype)
    down, across = (
        _weighed(xp.floor(each).astype(np.int64), each, count, beyond, scheme)
        for each, count in ((y, rows), (x, columns))
    )
    value = sum(
        weight * sum(share * image[row, column] for column, share in across) for row, weight in down
    )
    return xp.where(is_outside, 0.0, value) if mode == "constant" else value


def _weighed(
    first: Any, position: Any, count: int, mode: Mode, scheme: Scheme
) -> list[tuple[Any, Any]]:
    """Return the indices of the pixels around along an axis, and their weights."""
    number = taps(SCHEMES[scheme])
    weights = _weights(scheme, position - first)
    places = (first - number // 2 + 1 + k for k in range(number))
    return [
        (_folded(place, count, mode), weight) for place, weight in zip(places, weights, strict=True)
    ]


def _weights(scheme: Scheme, t: Any) -> list[Any]:
    """Return the weights of the pixels around, as `interpolation.weigh` does."""
    xp, s = namespace(t), 1 - t
    if scheme == "catmull-rom":
        return [
            -t * s * s / 2,
            1 - t * t * (5 - 3 * t) / 2,
            1 - s * s * (5 - 3 * s) / 2,
            -s * t * t / 2,
        ]
    if scheme == "cubic":
        return [s**3 / 6, 2 / 3 - t * t * (2 - t) / 2, 2 / 3 - s * s * (2 - s) / 2, t**3 / 6]
    distances = [t + 2 - k for k in range(6)]
    weights = [xp.sinc(each) * xp.sinc(each / 3) for each in distances]
    total = sum(weights)
    return [each / total for each in weights]


def _spline_coefficients(image: Any, mode: Mode, dtype: np.dtype[Any]) -> Any:
    """Return coefficients as `interpolation.spline_coefficients` does."""
    shares = spline_filter(dtype)
    reach = len(shares) - 1
    values = namespace(image).pad(image.astype(dtype), reach, mode=PADS.get(mode, "reflect"))
    for axis in (0, 1):
        size = values.shape[axis] - 2 * reach
        parts = [
            values[(slice(None),) * axis + (slice(start, start + size),)]
            for start in range(2 * reach + 1)
        ]
        values = shares[0] * parts[reach]
        for k in range(1, reach + 1):
            values += shares[k] * (parts[reach - k] + parts[reach + k])
    return values


def _between_four(image: Any, y: Any, x: Any, mode: Mode) -> Any:
    xp, (rows, columns) = namespace(image), image.shape
    is_outside = _is_outside(y, x, rows, columns)
    y, x = y.clip(-FAR * rows, FAR * rows), x.clip(-FAR * columns, FAR * columns)
    top, left = xp.floor(y), xp.floor(x)
    v, u = y - top, x - left
    first_row, next_row = (_folded(k.astype(np.int64), rows, mode) for k in (top, top + 1))
    first, following = (_folded(k.astype(np.int64), columns, mode) for k in (left, left + 1))
    upper = (1 - u) * image[first_row, first] + u * image[first_row, following]
    lower = (1 - u) * image[next_row, first] + u * image[next_row, following]
    value = (1 - v) * upper + v * lower
    return xp.where(is_outside, 0.0, value) if mode == "constant" else value


def _is_outside(y: Any, x: Any, rows: int, columns: int) -> Any:
    return (y < -CLOSE) | (y > rows - 1 + CLOSE) | (x < -CLOSE) | (x > columns - 1 + CLOSE)


def _folded(k: Any, count: int, mode: Mode) -> Any:
    """Return the indices of the pixels that stand for those outside."""
    if mode == "wrap":
        return k % count
    if mode == "symmetric":
        k = k % (2 * count)
        return namespace(k).minimum(k, 2 * count - 1 - k)
    if mode == "reflect" and count > 1:
        k = k % (2 * count - 2)
        return namespace(k).minimum(k, 2 * count - 2 - k)
    return k.clip(0, count - 1)
