"""Which slices a running mean takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.errors import Problem

LARGEST = 10_000  # slices


def running_window(k: int, size: int, count: int) -> Array:
    """Return the slices that are averaged for slice ``k``.

    Parameters
    ----------
    k : int
        The slice.
    size : int
        Slices ``k - size // 2`` to ``k - size // 2 + size - 1`` are taken.
    count : int
        Slices of the stack, which reflects at its ends with the outer slices repeated.

    Returns
    -------
    ndarray of int, shape (size,)
    """
    window = (k - size // 2 + np.arange(size)) % (2 * count)
    return np.where(window >= count, 2 * count - 1 - window, window)


def check_window(path: str, size: int) -> Iterator[Problem]:
    """Yield an error for a window of more slices than any that is meant."""
    if size > LARGEST:
        yield Problem(path, f"{LARGEST} slices at most expected, found {size}")
