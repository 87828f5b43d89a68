"""Evidence for rescaling: gray levels that jump where neighbors show the same."""

from __future__ import annotations

import numpy as np

from pystack3d_dask.core.finding import Finding
from pystack3d_dask.evidence.sample import Pair, Sample

NOTICEABLE = 0.05  # of the contrast, by which levels differ from slice to slice
FEWEST = 5  # neighbors


def look_for_jumps(sample: Sample) -> Finding:
    """Compare the gray levels of neighboring slices, pixel by pixel after alignment.

    The median difference of pixels that show the same place ignores what really changes from
    slice to slice, since this concerns few pixels.
    """
    jumps = [_jump(pair) for pair in sample.pairs()]
    contrast = sample.contrast
    if len(jumps) < FEWEST or not contrast:
        return Finding(False, "not tested: too few neighboring slices resemble each other")
    largest = float(np.max(np.abs(jumps))) / contrast
    typical = float(np.sqrt(np.mean(np.square(jumps)))) / contrast
    if max(typical, largest / 4) < NOTICEABLE:
        return Finding(
            False,
            f"gray levels of neighboring slices differ by {typical:.1%} of the contrast "
            "in the sample",
        )
    return Finding(
        True,
        f"gray levels of neighboring slices differ by {typical:.0%} of the contrast, "
        f"at most {largest:.0%}",
    )


def _jump(pair: Pair) -> float:
    """Return the change of gray levels, the larger one of the dark and the bright half."""
    change = pair.second - pair.first
    middle = np.median(pair.first + pair.second)
    is_bright = pair.first + pair.second > middle
    halves = [change[is_bright], change[~is_bright]]
    return max((float(np.median(each)) for each in halves if each.size), key=abs, default=0.0)
