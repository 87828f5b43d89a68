"""Sweeps over one slice that every step shares: statistics, casting, bad pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from pystack3d_dask.compiled import compiled
from pystack3d_dask.spec import Array, Precision, StackSpec

STATISTICS = ("minimum", "maximum", "mean")


def measure(image: Array) -> Array:
    """Return minimum, maximum and mean of a slice, as float64.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Any real type, without NaN.
    """
    if not image.size:
        return np.full(3, np.nan)
    low, high, total = _statistics(image)
    return np.array([low, high, total / image.size], dtype=np.float64)


def cast(values: Array, dtype: np.dtype[Any], precision: Precision) -> Array:
    """Return the values in the type of the acquisition.

    Integers are clipped to the range of the type and rounded to nearest (halves to
    even), or truncated when ``precision`` is "source". Floats are converted.

    Parameters
    ----------
    values : ndarray
        Any real type, without NaN.
    dtype : numpy.dtype
        The wanted type; the input is returned as it is when it has this type.
    precision : {"float32", "source"}
        "source" truncates.
    """
    if values.dtype == dtype:
        return values
    if dtype.kind not in "iu" or values.dtype.kind in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    out = np.empty(values.shape, dtype)
    flat, flat_out = np.ascontiguousarray(values).reshape(-1), out.reshape(-1)
    low, high = values.dtype.type(limits.min), values.dtype.type(limits.max)
    if precision == "source":
        _truncate(flat, low, high, flat_out)
    else:
        _round(flat, low, high, flat_out)
    return out


def cast_level(values: Array, spec: StackSpec) -> Array:
    """Return what a step computed, in the type that its output spec names."""
    return cast(values, spec.dtype, spec.precision)


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


@compiled(fastmath={"nnan", "ninf", "nsz", "reassoc"})
def _statistics(image: Array) -> tuple[float, float, float]:
    """Return minimum, maximum and sum, reading the pixels once."""
    # by column first: the extremes of a row of floats would be looked for one by one
    low, high = image[0].copy(), image[0].copy()
    total = np.zeros(image.shape[1])
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            value = image[y, x]
            low[x] = min(low[x], value)
            high[x] = max(high[x], value)
            total[x] += value
    return float(low.min()), float(high.max()), total.sum()


@compiled()
def _truncate(values: Array, low: float, high: float, out: Array) -> None:
    for i in range(values.size):
        out[i] = out.dtype.type(min(max(values[i], low), high))


@compiled()
def _round(values: Array, low: float, high: float, out: Array) -> None:
    for i in range(values.size):
        out[i] = out.dtype.type(np.rint(min(max(values[i], low), high)))
