"""Sweeps over one slice that every step shares: statistics, casting, bad pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from pystack3d_dask.core.typing import Array, Precision
from pystack3d_dask.kernels.backend import namespace
from pystack3d_dask.kernels.casting_arrays import fit_on_arrays, measure_on_arrays
from pystack3d_dask.kernels.jit import compiled

STATISTICS = ("minimum", "maximum", "mean")
BAND = 8  # rows that are still in the cache when they are read for the third time
REORDERED = {"nnan", "ninf", "nsz", "reassoc"}


def measure(image: Array) -> Array:
    """Return minimum, maximum and mean of a slice, as float64.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Of numpy or cupy, any real type, without NaN.
    """
    if not image.size:
        return np.full(3, np.nan)
    if namespace(image) is not np:
        return measure_on_arrays(image)
    low, high, total = _statistics(image)
    return np.array([low, high, total / image.size], dtype=np.float64)


def cast(values: Array, dtype: np.dtype[Any], precision: Precision) -> Array:
    """Return the values in the type of the acquisition.

    Integers are clipped to the range of the type and rounded to nearest (halves to
    even), or truncated when ``precision`` is "source". Floats are converted.

    Parameters
    ----------
    values : ndarray
        Of numpy or cupy, any real type, without NaN.
    dtype : numpy.dtype
        The wanted type; the input is returned as it is when it has this type.
    precision : {"float32", "source"}
        "source" truncates.
    """
    if values.dtype == dtype:
        return values
    if not _has_to_fit(values, dtype):
        return values.astype(dtype)
    if namespace(values) is not np:
        found: Array = fit_on_arrays(values, dtype, truncates=precision == "source")
        return found
    out = np.empty(values.shape, dtype)
    rows = np.ascontiguousarray(values).reshape(-1, values.shape[-1])
    _fit(rows, *_limits(values, dtype), precision == "source", out.reshape(rows.shape))
    return out


def difference(image: Array, other: Array) -> Array:
    """Return an image less another one as float32.

    Parameters
    ----------
    image, other : ndarray of the same shape
        Of numpy, any real types, without NaN.

    Returns
    -------
    ndarray of float32
        What is beyond its range becomes its largest value.
    """
    largest = np.finfo(np.float32).max
    with np.errstate(over="ignore"):
        found = np.subtract(image, other, dtype=np.float64)
    return found.clip(-largest, largest, out=found).astype(np.float32)


def cast_measured(
    image: Array, dtype: np.dtype[Any], precision: Precision
) -> tuple[Array, Array, Array]:
    """Return what `cast` returns of a slice, and what `measure` returns before and after.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Of numpy or cupy, any real type, without NaN; the same kind is returned.
    dtype : numpy.dtype
        The wanted type.
    precision : {"float32", "source"}
        "source" truncates.
    """
    if image.dtype == dtype:
        before = measure(image)
        return image, before, before
    if not image.size or not _has_to_fit(image, dtype) or namespace(image) is not np:
        out = cast(image, dtype, precision)
        return out, measure(image), measure(out)
    out = np.empty(image.shape, dtype)
    limits = _limits(image, dtype)
    low, high, total, total_cast = _fit_and_add(image, *limits, precision == "source", out)
    before = np.array([low, high, total / image.size])
    # to fit is monotonic: the extremes are those of before
    ends = cast(before[None, :2].astype(image.dtype), dtype, precision)[0]
    return out, before, np.array([*ends, total_cast / image.size], np.float64)


def repair(image: Array) -> tuple[Array, int]:
    """Replace NaN and infinite pixels by the nearest valid one; return how many there were.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Returned as it is when all pixels are finite. A slice without any valid pixel
        becomes 0.
    """
    if image.dtype.kind != "f":
        return image, 0
    bad = ~np.isfinite(image)
    count = int(np.count_nonzero(bad))
    if not count:
        return image, 0
    if count == image.size:
        return np.zeros_like(image), count
    from scipy import ndimage  # not at the top: rarely needed, and workers start sooner

    rows, columns = ndimage.distance_transform_edt(bad, return_distances=False, return_indices=True)
    return image[rows, columns], count


def _has_to_fit(values: Array, dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" and values.dtype.kind not in "iu"


def _limits(values: Array, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    limits = np.iinfo(dtype)
    return values.dtype.type(limits.min), values.dtype.type(limits.max)


@compiled(fastmath=REORDERED)
def _statistics(image: Array) -> tuple[float, float, float]:
    """Return minimum, maximum and sum, reading the pixels once."""
    low, high = image[0].copy(), image[0].copy()
    total = np.zeros(image.shape[1])
    _add(image, low, high, total)
    return float(low.min()), float(high.max()), total.sum()


@compiled(fastmath=REORDERED)
def _fit_and_add(
    image: Array, least: float, most: float, truncates: bool, out: Array
) -> tuple[float, float, float, float]:
    """Write the image in integers; return its minimum, maximum and sum, and the sum of those."""
    low, high = image[0].copy(), image[0].copy()
    total, total_cast = np.zeros(image.shape[1]), 0
    for top in range(0, len(image), BAND):
        rows, rows_cast = image[top : top + BAND], out[top : top + BAND]
        _add(rows, low, high, total)
        _fit(rows, least, most, truncates, rows_cast)
        total_cast += _sum(rows_cast)
    return float(low.min()), float(high.max()), total.sum(), float(total_cast)


@compiled(fastmath=REORDERED)
def _add(rows: Array, low: Array, high: Array, total: Array) -> None:
    """Take rows into account, column by column: extremes along a row are not vectorised."""
    fours = len(rows) // 4 * 4
    for y in range(0, fours, 4):
        a, b, c, d = rows[y], rows[y + 1], rows[y + 2], rows[y + 3]
        for x in range(total.size):
            low[x] = min(low[x], min(min(a[x], b[x]), min(c[x], d[x])))
            high[x] = max(high[x], max(max(a[x], b[x]), max(c[x], d[x])))
            total[x] += (np.float64(a[x]) + np.float64(b[x])) + (
                np.float64(c[x]) + np.float64(d[x])
            )
    for y in range(fours, len(rows)):
        for x in range(total.size):
            value = rows[y, x]
            low[x] = min(low[x], value)
            high[x] = max(high[x], value)
            total[x] += value


@compiled(fastmath=REORDERED)
def _sum(rows: Array) -> int:
    total = 0
    for y in range(rows.shape[0]):
        for x in range(rows.shape[1]):
            total += rows[y, x]
    return total


@compiled()
def _fit(rows: Array, least: float, most: float, truncates: bool, out: Array) -> None:
    """Write rows as integers, clipped to a range."""
    for y in range(rows.shape[0]):
        if truncates:
            for x in range(rows.shape[1]):
                out[y, x] = out.dtype.type(min(max(rows[y, x], least), most))
        else:
            for x in range(rows.shape[1]):
                out[y, x] = out.dtype.type(np.rint(min(max(rows[y, x], least), most)))
