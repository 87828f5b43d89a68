"""Lines from the gray levels of one slice to those of another that shows nearly the same.

A slice that got brighter by a gain and an offset lies on a straight line over its neighbor, pixel
by pixel; what really changed from one to the other lies beside the line, and is weighted down. The
line is symmetric, since both slices have noise: its slope is the ratio of the standard deviations
(Sprent and Dolby, "The geometric mean functional relationship", Biometrics 36, 1980). Regression
of one slice on the other would lose contrast with every link from slice to slice.

Only flat places count. Where a material's share changes along z, its edges move one way from slice
to slice, and cells that they cross get brighter or darker all together; so contrast would seem to
change, by little in each link, and by much along the stack.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.jit import compiled

FEWEST = 400  # cells that two slices share
FLATTEST = 0.4  # of them count: those at which gray levels of both change least
FEWEST_FLAT = 100
MOST_FLAT = 10_000  # at most: every n-th is taken of more
ALIKE = 0.3  # correlation of the cells, from which slices show the same
STEPS = 12
WIDTH = 2.0  # standard deviations beside the line at which a cell counts a quarter
FINEST = 0.04  # of the contrast: a spread around the line that counts as none; gamma bends lines so
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
        `NO_LINE` where fewer than `FEWEST` cells are known in both, fewer than `FEWEST_FLAT` of
        them with their neighbors, or the flat ones are not `ALIKE`.
    """
    if np.count_nonzero(np.isfinite(one) & np.isfinite(other)) < FEWEST:
        return NO_LINE
    flat = np.flatnonzero(_are_flat(one, other))
    if len(flat) < FEWEST_FLAT:
        return NO_LINE
    taken = flat[:: -(-len(flat) // MOST_FLAT)]
    return PairLine(*_line(*(each.ravel()[taken].astype(np.float64) for each in (one, other))))


def _are_flat(one: Array, other: Array) -> NDArray[np.bool_]:
    """Return where gray levels change least in both slices, of the cells with known neighbors."""
    steepness = _steepness(one) + _steepness(other)
    known = steepness[np.isfinite(steepness)]
    if not known.size:
        return np.zeros(one.shape, bool)
    rank = int(FLATTEST * (known.size - 1))
    return np.asarray(steepness <= np.partition(known, rank)[rank])


def _steepness(cells: Array) -> Array:
    """Return how much gray levels change around each cell; NaN at the border."""
    found = np.full(cells.shape, np.nan, np.float32)
    down = cells[2:, 1:-1] - cells[:-2, 1:-1]
    right = cells[1:-1, 2:] - cells[1:-1, :-2]
    found[1:-1, 1:-1] = np.hypot(down, right)
    found[~np.isfinite(cells)] = np.nan
    return found


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
