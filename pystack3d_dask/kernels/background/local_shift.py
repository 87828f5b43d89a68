"""Shifts of the gray levels of classes, window by window, from histograms of gray levels.

Each window has a shift, which all classes share, and shares of the classes of its own, by
expectation maximization from no shift at all (`class_mixture` is the same for a whole stack). All
that it needs of a window is its histogram, so that nothing beyond the window decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.background.class_mixture import OUTLIERS, is_bright
from pystack3d_dask.kernels.jit import compiled

BINS = 64
STEPS = 8  # of expectation maximization
WIDTH = 1 / 8  # of the distance of the classes: least standard deviation in the first step
PRIOR = 0.05  # of the pixels of a window: how much the shares of the stack count there
SEEN = 0.05  # of the pixels of a window: a group that is surely seen


class Shifts(NamedTuple):
    """Shifts of windows.

    Parameters
    ----------
    joint : ndarray of float64
        Of all classes of a window together.
    dark, bright : ndarray of float64
        Of the dark and the bright classes by themselves.
    seen : ndarray of float64
        From 0 to 1: how far both groups are seen in the window.
    """

    joint: Array
    dark: Array
    bright: Array
    seen: Array


@dataclass(frozen=True)
class LevelClasses:
    """Classes of gray levels of single pixels.

    Parameters
    ----------
    levels, variances, shares : ndarray of float64, shape (classes,)
        Of each class.
    multiplies : bool
        Whether shifts are shares of the level, or gray levels.
    low, high : float
        Range of the gray levels that count.
    """

    levels: Array
    variances: Array
    shares: Array
    multiplies: bool
    low: float
    high: float

    @property
    def step(self) -> float:
        """Width of a bin of histograms."""
        return (self.high - self.low) / BINS

    @property
    def amplitudes(self) -> Array:
        """Gray levels that a shift of 1 adds to each class, shape (classes,)."""
        return self.levels if self.multiplies else np.ones(len(self.levels))

    @property
    def is_bright(self) -> Array:
        """Mask of the classes of the bright group, shape (classes,)."""
        return is_bright(self.levels)

    @property
    def distance(self) -> float:
        """Distance of the darkest and the brightest class, in units of shifts."""
        apart = float(np.ptp(self.levels))
        return apart / max(float(np.abs(self.levels).max()), 1e-9) if self.multiplies else apart

    @property
    def largest(self) -> float:
        """Shift beyond which one class could be taken for another: half of their distance."""
        return self.distance / 2


def cell_histograms(image: Array, cell_y: int, cell_x: int, classes: LevelClasses) -> Array:
    """Return the histograms of the cells of a slice.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Gray levels; those out of range, and NaN, do not count. Rows and columns that do not fill a
        cell make a smaller one.
    cell_y, cell_x : int
        Extent of a cell.
    classes : LevelClasses
        They know the range.

    Returns
    -------
    ndarray of float32, shape (cells along y, cells along x, `BINS`)
    """
    rows, columns = image.shape
    counts = np.zeros((-(-rows // cell_y), -(-columns // cell_x), BINS), np.float32)
    if classes.step > 0:
        _count(image, cell_y, cell_x, classes.low, classes.step, counts)
    return counts


def window_shifts(histograms: Array, classes: LevelClasses) -> Shifts:
    """Return the shifts of windows.

    Parameters
    ----------
    histograms : ndarray of float32, shape (..., `BINS`)
        Pixels of each window, weighted or not.
    classes : LevelClasses
        What is shifted.

    Returns
    -------
    Shifts
        Joint ones at most as large as ``classes.largest``; arrays of shape (...).
    """
    flat = np.ascontiguousarray(histograms.reshape(-1, BINS))
    found = np.zeros((len(Shifts._fields), len(flat)))
    middles = classes.low + (np.arange(BINS) + 0.5) * classes.step
    outlier = OUTLIERS / max(classes.high - classes.low, 1e-9)
    widths = np.linspace(WIDTH * np.ptp(classes.levels), classes.step, STEPS)
    variances = np.maximum(classes.variances, widths[:, np.newaxis] ** 2)
    _shift(
        flat,
        middles,
        classes.levels,
        classes.amplitudes,
        variances,
        classes.shares,
        classes.is_bright,
        classes.largest,
        outlier,
        found,
    )
    return Shifts(*found.reshape(-1, *histograms.shape[:-1]))


@compiled()
def _count(image: Array, cell_y: int, cell_x: int, low: float, step: float, counts: Array) -> None:
    bins = counts.shape[2]
    for y in range(image.shape[0]):
        row = counts[y // cell_y]
        for x in range(image.shape[1]):
            place = (image[y, x] - low) / step
            if place >= 0 and place < bins:
                row[x // cell_x, int(place)] += np.float32(1)


@compiled()
def _shift(
    histograms: Array,
    middles: Array,
    levels: Array,
    amplitudes: Array,
    variances: Array,
    shares: Array,
    is_bright: Array,
    largest: float,
    outlier: float,
    found: Array,
) -> None:
    classes = levels.size
    own, density = np.empty(classes), np.empty(classes)
    pull, weight, pixels = np.empty(classes), np.empty(classes), np.empty(classes)
    groups = np.empty((3, 2))  # the same of dark and of bright classes
    for k in range(len(histograms)):
        total, shift = 0.0, 0.0
        for b in range(middles.size):
            total += histograms[k, b]
        if total <= 0:
            continue
        own[:] = shares
        for wide in variances:
            pull[:], weight[:], pixels[:] = 0, 0, 0
            for b in range(middles.size):
                if histograms[k, b] <= 0:
                    continue
                everything = outlier
                for c in range(classes):
                    beside = middles[b] - levels[c] - amplitudes[c] * shift
                    density[c] = own[c] * np.exp(-0.5 * beside * beside / wide[c])
                    density[c] /= np.sqrt(2 * np.pi * wide[c])
                    everything += density[c]
                for c in range(classes):
                    member = histograms[k, b] * density[c] / everything
                    pixels[c] += member
                    pull[c] += member * amplitudes[c] * (middles[b] - levels[c]) / wide[c]
                    weight[c] += member * amplitudes[c] * amplitudes[c] / wide[c]
            shift = min(max(pull.sum() / max(weight.sum(), 1e-30), -largest), largest)
            counted = pixels.sum() + PRIOR * total
            for c in range(classes):
                own[c] = (pixels[c] + PRIOR * total * shares[c]) / counted
        groups[:] = 0
        for c in range(classes):
            group = 1 if is_bright[c] else 0
            groups[0, group] += pull[c]
            groups[1, group] += weight[c]
            groups[2, group] += pixels[c]
        found[0, k] = shift
        for group in range(2):
            found[1 + group, k] = groups[0, group] / max(groups[1, group], 1e-30)
        found[3, k] = min(groups[2].min() / (SEEN * total), 1.0)
