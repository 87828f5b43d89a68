"""Evidence for rescaling: gray levels that jump where neighbors show the same, or drift."""

from __future__ import annotations

import numpy as np

from pystack3d_dask.core.finding import Finding
from pystack3d_dask.evidence.sample import Pair, Sample
from pystack3d_dask.kernels.intensity.slow_changes import common_change, middle_level, parts_of

NOTICEABLE = 0.05  # of the contrast, by which levels differ from slice to slice, or along z
FEWEST = 5  # neighbors


def look_for_brightness(sample: Sample) -> Finding:
    """Look for jumps from slice to slice, and for dark and bright parts that drift together."""
    jumps = _look_for_jumps(sample)
    if jumps.is_found:
        return jumps
    drift = _drift(sample)
    if drift < NOTICEABLE:
        return jumps
    return Finding(
        True,
        f"dark and bright parts change together along z, by {drift:.0%} of the contrast (rms)",
    )


def _drift(sample: Sample) -> float:
    """Return by how much dark and bright parts change together, over the contrast.

    The correction itself looks at all slices, and may leave them alone.
    """
    contrast = sample.contrast
    if len(sample.overviews) < FEWEST or not contrast:
        return 0.0
    levels = [image[~np.isnan(image)] for image in sample.overviews]
    threshold = middle_level(np.concatenate(levels))
    dark, bright = np.array([parts_of(each, threshold) for each in levels]).T
    if not np.isfinite(dark).all() or common_change(dark, bright) is None:
        return 0.0
    return float(np.std(bright)) / contrast


def _look_for_jumps(sample: Sample) -> Finding:
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
