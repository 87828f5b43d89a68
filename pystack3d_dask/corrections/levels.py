"""Ranges of gray levels as the corrections of exposure see them: black and white."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.errors import Problem
from pystack3d_dask.kernels.intensity.quantiles import Limits

LARGEST, FINEST = 1e37, 1e-30  # gray levels and distances that float32 can compute with
RESOLUTION = 1e-6  # of the levels themselves, which it can tell apart


def full_range(spec: StackSpec) -> Limits:
    """Return what black and white become: the ends of the type, 0 and 1 of a float stack."""
    if not spec.is_integer:
        return 0.0, 1.0
    limits = np.iinfo(spec.source_dtype)
    return float(limits.min), float(limits.max)


def check_range(path: str, levels: Limits | None) -> Iterator[Problem]:
    """Yield an error for a range of gray levels that is empty, or beyond float32."""
    if levels is None:
        return
    low, high = levels
    largest = max(abs(low), abs(high))
    if largest > LARGEST or high - low < max(FINEST, RESOLUTION * largest):
        yield Problem(
            path,
            f"[min, max] with min < max, apart enough for single precision and at most "
            f"{LARGEST:g}, expected, found {[low, high]}",
        )
