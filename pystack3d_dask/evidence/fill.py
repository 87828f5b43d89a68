"""Evidence for padding: a border, or the surroundings of a specimen, of one gray level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pystack3d_dask.core.finding import Finding
from pystack3d_dask.core.formatting import percent
from pystack3d_dask.core.typing import Array
from pystack3d_dask.evidence.sample import Sample
from pystack3d_dask.kernels.padding import filled_up, padding

LEAST = 0.01  # of the pixels
WHOLE = 0.98  # of the pixels along an edge
OFTEN = 0.25  # of the slices
FEWEST_LEVELS = 2  # that are left: slices of fewer are segmented, or blank


def look_for_fill(sample: Sample) -> Finding:
    """Look for an extreme gray level that whole edges of slices have.

    Parts of a specimen that are clipped, or have no noise, reach a border here and there, and not
    along all of it.

    Parameters
    ----------
    sample : Sample
        Some slices of the stack.

    Returns
    -------
    Finding
        With the levels as ``fill``.
    """
    seen = [image for image in sample.overviews if image.size and np.ptp(image)]
    extremes = {float(end(image)) for image in seen for end in (np.min, np.max)}
    found = {}
    for level in sorted(extremes):
        share = float(np.mean([np.mean(padding(image, [level])) for image in seen]))
        is_often = np.mean([_has_edge(image, level) for image in seen]) >= OFTEN
        if is_often and share > LEAST:
            found[level] = share
    left = [image[~padding(image, [*found])] for image in seen] if found else []
    if not any(len(np.unique(levels)) > FEWEST_LEVELS for levels in left):
        return Finding(False, "no edge of slices is of one gray level, with an image beside it")
    levels = " or ".join(f"{level:g}" for level in found)
    total = percent(sum(found.values()))
    text = f"{total} of the pixels, whole edges among them, have gray level {levels}"
    return Finding(True, text, {"fill": [_plain(level) for level in found]})


def without_fill(sample: Sample, levels: Sequence[float]) -> Sample:
    """Return the slices without padding: NaN in overviews, else the mean of the others."""
    if not levels:
        return sample
    overviews = (np.where(padding(image, levels), np.nan, image) for image in sample.overviews)
    runs = (
        np.stack([filled_up(image, padding(image, levels)) for image in run]) for run in sample.runs
    )
    return replace(sample, runs=tuple(runs), overviews=tuple(overviews))


def _has_edge(image: Array, level: float) -> bool:
    edges = image[0], image[-1], image[:, 0], image[:, -1]
    return any(bool(np.mean(edge == np.float32(level)) >= WHOLE) for edge in edges)


def _plain(level: float) -> float:
    return int(level) if level.is_integer() else level
