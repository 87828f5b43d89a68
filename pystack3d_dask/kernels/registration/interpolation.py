"""Values between the pixels of an image, by schemes that count more or fewer of them.

Wider ones keep more of the fine detail, and of the noise; all but "whole" and "cubic" are sums of
the pixels around, weighted by their distance along each axis:

- "linear": the 2 nearest along each axis. It blurs, most halfway between pixels.
- "catmull-rom": 4, by a cubic polynomial in pieces (Keys, IEEE Trans. ASSP 29(6), 1981, a = -1/2).
- "cubic": the cubic B-spline through all pixels (Unser, IEEE Signal Processing Magazine 16(6),
  1999): 4 of the coefficients that `spline_coefficients` finds in place of the pixels.
- "lanczos3": 6, by a windowed sinc (Duchon, Journal of Applied Meteorology 18, 1979), divided by
  the sum of the weights, so that what is constant stays.
- "whole": the nearest pixel. It changes no value, and misses its place by half a pixel at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.jit import compiled

Mode = Literal["constant", "edge", "symmetric", "reflect", "wrap"]
Scheme = Literal["linear", "catmull-rom", "cubic", "lanczos3", "whole"]

FAR = 9.0  # sizes of the image: how far outside a coordinate may lie
CLOSE = 1e-6  # pixels: nearer to a whole shift, or to the edge of the image, counts as there
MODES: Mapping[Mode, int] = {"constant": 0, "edge": 1, "symmetric": 2, "reflect": 3, "wrap": 4}
LINEAR, CATMULL_ROM, CUBIC, LANCZOS3, WHOLE = range(5)
SCHEMES: Mapping[Scheme, int] = {
    "linear": LINEAR,
    "catmull-rom": CATMULL_ROM,
    "cubic": CUBIC,
    "lanczos3": LANCZOS3,
    "whole": WHOLE,
}
POLE = np.sqrt(3) - 2
"""Of the filter that makes coefficients of pixels."""
REACH: Mapping[int, int] = {4: 14, 8: 28}
"""Pixels from which on it gives nothing more, by the bytes of a number."""


def spline_coefficients(image: Array, mode: Mode, dtype: np.dtype[Any]) -> Array:
    """Return the coefficients of the cubic B-spline through all pixels.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Any real type.
    mode : {"constant", "edge", "symmetric", "reflect", "wrap"}
        What lies beyond the image; for the first two its mirror image.
    dtype : numpy.dtype
        float32 or float64.
    """
    out = np.empty(image.shape, dtype)
    _filter(image, spline_filter(dtype), beyond(MODES[mode], CUBIC), out)
    return out


def spline_filter(dtype: np.dtype[Any]) -> Array:
    """Return how much a pixel, its neighbors, the next ones, ... add to a coefficient."""
    shares = -6 * POLE / (1 - POLE**2) * POLE ** np.arange(REACH[dtype.itemsize])
    return np.asarray(shares, dtype)


@compiled()
def taps(scheme: int) -> int:
    """Return how many pixels count along an axis, in a scheme of more than two."""
    return 6 if scheme == LANCZOS3 else 4


@compiled()
def weigh(scheme: int, t: float, weights: Array) -> None:
    """Write the weights of the pixels around a place, a share ``t`` of a pixel behind one.

    Parameters
    ----------
    scheme : int
        The code of "catmull-rom", "cubic" or "lanczos3".
    t : float
        0 to 1.
    weights : ndarray, shape (taps(scheme),)
        Receives those of the pixels from half as many before the place to those behind it.
    """
    s = 1 - t
    if scheme == CATMULL_ROM:
        weights[0], weights[3] = -t * s * s / 2, -s * t * t / 2
        weights[1] = 1 - t * t * (5 - 3 * t) / 2
        weights[2] = 1 - s * s * (5 - 3 * s) / 2
    elif scheme == CUBIC:
        weights[0], weights[3] = s**3 / 6, t**3 / 6
        weights[1] = 2 / 3 - t * t * (2 - t) / 2
        weights[2] = 2 / 3 - s * s * (2 - s) / 2
    elif min(t, s) < CLOSE:
        weights[:] = 0
        weights[2 if t < s else 3] = 1
    else:
        for k in range(6):
            # sines of whole turns more or less are equal, but for the sign
            distance, sign = t + 2 - k, 1 - k % 2 * 2
            weights[k] = sign * np.sin(np.pi * distance / 3) / distance**2
        weights /= weights.sum()


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
def is_inside(y: float, x: float, rows: int, columns: int) -> bool:
    """Return whether a place is in an image, but for rounding."""
    return -CLOSE <= y <= rows - 1 + CLOSE and -CLOSE <= x <= columns - 1 + CLOSE


@compiled()
def beyond(mode: int, scheme: int) -> int:
    """Return the mode by which pixels outside count that are beside a place inside."""
    return mode if mode > 1 else 3 if scheme == CUBIC else 1


@compiled()
def _limited(position: float, count: int) -> float:
    """Return a coordinate that fits into an integer: one far outside need not."""
    return min(max(position, -FAR * count), FAR * count)


@compiled()
def between_four(image: Array, y: float, x: float, mode: int) -> float:
    """Return the value at a place by the scheme "linear"; 0 outside in mode "constant"."""
    rows, columns = image.shape
    if mode == 0 and not is_inside(y, x, rows, columns):
        return 0.0
    y, x = _limited(y, rows), _limited(x, columns)
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
def value_at(image: Array, y: float, x: float, mode: int, scheme: int) -> float:
    """Return the value at a place.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Pixels; coefficients for the scheme "cubic".
    y, x : float
        Row and column.
    mode, scheme : int
        Codes of `MODES` and `SCHEMES`.

    Returns
    -------
    float
        0 outside in mode "constant".
    """
    if scheme == LINEAR:
        return between_four(image, y, x, mode)
    if scheme == WHOLE:
        return between_four(image, np.floor(y + 0.5), np.floor(x + 0.5), mode)
    rows, columns = image.shape
    if mode == 0 and not is_inside(y, x, rows, columns):
        return 0.0
    y, x = _limited(y, rows), _limited(x, columns)
    if mode == 1:
        y, x = min(max(y, 0.0), rows - 1.0), min(max(x, 0.0), columns - 1.0)
    count, outside = taps(scheme), beyond(mode, scheme)
    across, down = np.empty(count), np.empty(count)
    top, left = int(np.floor(y)), int(np.floor(x))
    weigh(scheme, y - top, down)
    weigh(scheme, x - left, across)
    value = 0.0
    for j in range(count):
        row = _folded(top - count // 2 + 1 + j, rows, outside)
        along = 0.0
        for i in range(count):
            column = _folded(left - count // 2 + 1 + i, columns, outside)
            along += across[i] * image[row, column]
        value += down[j] * along
    return value


@compiled()
def _filter(image: Array, shares: Array, mode: int, out: Array) -> None:
    """Fill ``out`` with an image filtered along columns, then along rows."""
    rows, columns = image.shape
    reach = shares.size - 1
    line = np.empty(columns + 2 * reach, out.dtype)
    along = np.empty(image.shape, out.dtype)
    for y in range(rows):
        line[reach : reach + columns] = image[y]
        for k in range(reach):
            line[k] = image[y, _folded(k - reach, columns, mode)]
            line[reach + columns + k] = image[y, _folded(columns + k, columns, mode)]
        for x in range(columns):
            along[y, x] = shares[0] * line[reach + x]
        for j in range(1, reach + 1):
            before, after = line[reach - j :], line[reach + j :]
            for x in range(columns):
                along[y, x] += shares[j] * (before[x] + after[x])
    for y in range(rows):
        for x in range(columns):
            out[y, x] = shares[0] * along[y, x]
        for j in range(1, reach + 1):
            above, below = along[_folded(y - j, rows, mode)], along[_folded(y + j, rows, mode)]
            for x in range(columns):
                out[y, x] += shares[j] * (above[x] + below[x])
