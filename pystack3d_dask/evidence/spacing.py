"""Evidence for resampling: distances of slices that differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pystack3d_dask.evidence.finding import Finding

TOLERANCE = 0.02  # of the median distance, to which slices count as equally spaced


def look_for_uneven_spacing(positions: Sequence[float]) -> Finding:
    """Compare the distances of slices.

    Parameters
    ----------
    positions : sequence of float
        Along z, in micrometers; empty if unknown.
    """
    if len(positions) < 3:
        return Finding(False, "not tested: no positions of three slices or more are known")
    steps = np.diff(np.asarray(positions, float))
    usual = float(np.median(np.abs(steps)))
    largest = float(np.max(np.abs(np.abs(steps) - usual))) / usual if usual else 0.0
    if largest <= TOLERANCE:
        return Finding(False, f"slices are equally spaced, within {largest:.1%}")
    return Finding(True, f"distances of slices differ by up to {largest:.0%} of the median one")
