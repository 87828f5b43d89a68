"""Lines from the gray levels of one slice to those of another that shows nearly the same.

A slice that got brighter by a gain and an offset lies on a straight line over its neighbor, pixel
by pixel; what really changed from one to the other lies beside the line, and is weighted down. The
line is symmetric, since both slices have noise: its slope is the ratio of the standard deviations
(Sprent and Dolby, "The geometric mean functional relationship", Biometrics 36, 1980). Regression
of one slice on the other would lose contrast with every link from slice to slice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.jit import compiled

FEWEST = 400  # cells that two slices share
ALIKE = 0.3  # correlation of the cells, from which slices show the same
STEPS = 12
WIDTH = 2.0  # standard deviations beside the line at which a cell counts a quarter
FINEST = 1e-3  # of the contrast: a spread around the line that counts as none
CENTRAL = 1.4826  # standard deviation of a normal distribution over its median deviation


class PairLine(NamedTuple):
    """The line ``y - center_y = exp(log_gain) * (x - center_x)`` from one slice to another.

    Parameters
    ----------
    log_gain : float
        Natural logarithm of the slope; NaN where the slices have too little in common.
    center_x, center_y : float
        Mean gray levels of the pixels on the line, in the first and in the second slice.
    spread : float
        Standard deviation around the line, in gray levels of the first slice.
    """

    log_gain: float
    center_x: float
    center_y: float
    spread: float


NO_LINE = PairLine(np.nan, np.nan, np.nan, np.nan)


def pair_line(one: Array, other: Array) -> PairLine:
    """Return the line from the gray levels of one slice to those of another.

    Parameters
    ----------
    one, other : ndarray of float32, equal shapes
        Cells of the two slices that show the same place; NaN does not count.

    Returns
    -------
    PairLine
        `NO_LINE` where fewer than `FEWEST` cells are known in both, or these are not `ALIKE`.
    """
    both = np.isfinite(one) & np.isfinite(other)
    if np.count_nonzero(both) < FEWEST:
        return NO_LINE
    found = _line(one[both].astype(np.float64), other[both].astype(np.float64))
    return PairLine(*found)


@compiled()
def _line(x: Array, y: Array) -> tuple[float, float, float, float]:
    weights = np.ones(x.size)
    beside = np.empty(x.size)
    gain, center_x, center_y, spread = np.nan, np.nan, np.nan, np.nan
    for _ in range(STEPS):
        total = weights.sum()
        center_x, center_y = (weights * x).sum() / total, (weights * y).sum() / total
        var_x, var_y, both = 0.0, 0.0, 0.0
        for k in range(x.size):
            dx, dy = x[k] - center_x, y[k] - center_y
            var_x += weights[k] * dx * dx
            var_y += weights[k] * dy * dy
            both += weights[k] * dx * dy
        if not both > ALIKE * np.sqrt(var_x * var_y):
            return np.nan, np.nan, np.nan, np.nan
        gain = np.sqrt(var_y / var_x)
        for k in range(x.size):
            beside[k] = abs(y[k] - center_y - gain * (x[k] - center_x)) / np.sqrt(1 + gain * gain)
        contrast = np.sqrt(var_x / total)
        spread = max(CENTRAL * np.median(beside), FINEST * contrast)
        for k in range(x.size):
            weights[k] = 1 / (1 + (beside[k] / (WIDTH * spread)) ** 2) ** 2
    return np.log(gain), center_x, center_y, spread
