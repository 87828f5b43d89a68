"""Evidence for resampling: distances of slices that differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pystack3d_dask.core.finding import Finding

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
    if np.min(steps) <= 0:
        return Finding(
            False,
            "not every slice lies above the one before: resampling would leave slices out "
            "(z_source takes a list of positions that go up)",
        )
    usual = float(np.median(steps))
    largest = float(np.max(np.abs(steps - usual))) / usual
    if largest <= TOLERANCE:
        return Finding(False, f"slices are equally spaced, within {largest:.1%}")
    return Finding(True, f"distances of slices differ by up to {largest:.0%} of the median one")
