"""Shares of pixels at the limits of an integer type, and of those that a cast puts there."""

from __future__ import annotations

from typing import Any

import numpy as np

from pystack3d_dask.core.typing import Array, Arrays, Precision

BAND = 64  # rows that are compared at once: no second slice in memory


def clipping(raw: Any, cast: Any, measured: Array, precision: Precision) -> Arrays:
    """Return which share of a slice is at the limits of its type, and which was clipped.

    Parameters
    ----------
    raw, cast : ndarray, shape (rows, columns)
        A slice before and after it was cast, of numpy or cupy; the same if it was not.
    measured : ndarray
        Minimum, maximum and mean of ``raw``.
    precision : {"float32", "source"}
        How it was cast: rounded to nearest, or truncated.

    Returns
    -------
    dict of ndarray of float64, shape (2,)
        ``at_limits``, 0 to 1, of the pixels at the smallest and at the largest value of the
        type, and ``clipped``, of those that were beyond by more than rounding takes. Nothing
        of floats.
    """
    if cast.dtype.kind not in "iu" or not cast.size:
        return {}
    limits = np.iinfo(cast.dtype)
    low, high = float(measured[0]), float(measured[1])
    at_limits = np.array(
        [
            _count(cast, lambda rows: rows == limits.min) if low <= limits.min + 1 else 0,
            _count(cast, lambda rows: rows == limits.max) if high >= limits.max - 1 else 0,
        ]
    )
    # truncated to 0 is also what is above -1
    slack = 1.0 if precision == "source" else 0.5
    least, most = limits.min - slack, limits.max + slack
    clipped = np.array(
        [
            _count(raw, lambda rows: rows <= least) if low <= least else 0,
            _count(raw, lambda rows: rows >= most) if high >= most else 0,
        ]
    )
    return {"at_limits": at_limits / cast.size, "clipped": clipped / cast.size}


def _count(image: Any, is_meant: Any) -> int:
    bands = (image[top : top + BAND] for top in range(0, len(image), BAND))
    return sum(int(is_meant(band).sum()) for band in bands)
