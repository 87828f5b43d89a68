"""Thresholds on gray levels: inclusive, and open where not given.

A threshold is chosen by looking at images of the acquisition's type. So values are judged as
they would be in that type, clipped and truncated, also where they are real numbers between two
steps: 0.3 is not above a threshold of 0.5 that parts 0 from 1, nor 255.2 above 255. PyStack3D,
which truncates after every step, thus finds the same pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pystack3d_dask.core.typing import Array
from pystack3d_dask.errors import Problem


def within(values: Array, low: float, high: float) -> NDArray[np.bool_] | None:
    """Return where ``low <= values <= high``; None when both are infinite."""
    if low == -np.inf and high == np.inf:
        return None
    return np.asarray((values >= low) & (values <= high))


def limits(low: float | None, high: float | None, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the smallest and the largest value that thresholds let pass.

    Parameters
    ----------
    low, high : float, optional
        Thresholds, inclusive.
    dtype : numpy.dtype
        Type of the acquisition. Of integers, values are judged as if clipped to it and
        truncated toward 0. Floats are judged as they are, in single precision.

    Returns
    -------
    tuple of float
        Of real values, inclusive; infinite where there is no limit.
    """
    # the largest value is the smallest one of the negated values
    upper = None if high is None else -high
    if dtype.kind not in "iu":
        return _single(low), -_single(upper)
    ends = np.iinfo(dtype)
    least, most = int(ends.min), int(ends.max)
    return _smallest(low, least, most), -_smallest(upper, -most, -least)


def check_thresholds(name: str, low: float | None, high: float | None) -> Iterator[Problem]:
    """Yield an error when no value can lie between the thresholds."""
    if low is not None and high is not None and low > high:
        yield Problem(
            f"{name}.threshold_min",
            f"{low} is above threshold_max = {high}: no pixel is left; exchange them",
        )


def _smallest(threshold: float | None, least: int, most: int) -> float:
    """Return the smallest single that, clipped and truncated, is not below a threshold."""
    if threshold is None or threshold <= least:
        return -np.inf
    if threshold > most:
        return np.inf
    integer = ceil(threshold)
    # truncated to 0 and to negative integers is whatever is above the integer before
    return float(integer if integer > 0 else np.nextafter(np.float32(integer - 1), np.float32(1)))


def _single(threshold: float | None) -> float:
    with np.errstate(over="ignore"):
        return -np.inf if threshold is None else float(np.float32(threshold))
