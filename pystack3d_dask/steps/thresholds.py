"""Thresholds on grey levels: inclusive, and open where not given."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pystack3d_dask.errors import Problem
from pystack3d_dask.spec import Array


def within(values: Array, low: float | None, high: float | None) -> NDArray[np.bool_] | None:
    """Return where ``low <= values <= high``; None when there is no limit at all."""
    above, below = limits(low, high)
    if above == -np.inf and below == np.inf:
        return None
    return np.asarray((values >= above) & (values <= below))


def limits(low: float | None, high: float | None) -> tuple[float, float]:
    """Return the thresholds with infinity where they are not given."""
    return -np.inf if low is None else low, np.inf if high is None else high


def check_thresholds(name: str, low: float | None, high: float | None) -> Iterator[Problem]:
    """Yield an error when no value can lie between the thresholds."""
    if low is not None and high is not None and low > high:
        yield Problem(
            f"{name}.threshold_min",
            f"{low} is above threshold_max = {high}: no pixel is left; exchange them",
        )
