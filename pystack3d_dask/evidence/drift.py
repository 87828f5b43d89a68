"""Evidence for registration: neighbors that resemble each other more once one is moved."""

from __future__ import annotations

import numpy as np

from pystack3d_dask.core.finding import Finding
from pystack3d_dask.evidence.sample import Sample

NOTICEABLE = 0.25  # pixels from slice to slice
JUMP = 0.75  # pixels, of a single slice
FEWEST = 2  # neighbors


def look_for_drift(sample: Sample) -> Finding:
    """Measure how far neighboring slices are displaced against each other."""
    shifts = np.array([pair.shift for pair in sample.pairs()])
    if len(shifts) < FEWEST:
        return Finding(False, "not tested: too few neighboring slices resemble each other")
    distances = np.hypot(*shifts.T)
    typical, largest = float(np.median(distances)), float(distances.max())
    if typical < NOTICEABLE and largest < JUMP:
        return Finding(
            False,
            f"neighboring slices lie on each other within {largest:.2f} pixels in the sample",
        )
    return Finding(
        True,
        f"neighboring slices are displaced by {typical:.1f} pixels, at most {largest:.1f}",
        {"transformation": "TRANSLATION", "method": "phase"},
    )
