"""Judgment on shifts of windows: what dark and bright parts say for and against removing them.

A background shifts both alike, and goes on inside a part of one material. Contrasts of the specimen
do not: layers of different materials look like shifts, but are flat inside.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.background.local_shift import LevelClasses, Shifts

FEWEST_WINDOWS = 50  # in which both groups are seen
CORRELATED = 0.4  # of the shifts of dark and bright parts, at least
SURE = 3.0  # standard errors of no correlation
NOTICEABLE = 0.01  # of the distance of the classes
FOLLOWED = 0.5  # slope of places inside parts on the shifts, of dark and of bright ones
OUTLYING = 3.0  # standard deviations of a class, beyond which a place is of none


class Shared(NamedTuple):
    """The shift that dark and bright parts of windows have in common.

    Parameters
    ----------
    correlation : float
        Of their shifts.
    rms : float
        Of what they have in common, in gray levels or as a share of them.
    is_sure : bool
        Whether it is a background.
    """

    correlation: float
    rms: float
    is_sure: bool


NOTHING_SHARED = Shared(0.0, 0.0, is_sure=False)


def sums_inside(means: Array, shifts: Array, classes: LevelClasses, cell: tuple[int, int]) -> Array:
    """Return how places differ inside parts of one class, beside how their shifts do.

    Parameters
    ----------
    means : ndarray, shape (places along y, places along x)
        Gray levels; NaN where a place does not count.
    shifts : ndarray, shape (places along y, places along x)
        At these places; NaN where they are not known.
    classes : LevelClasses
        What is shifted.
    cell : tuple of int
        Places along y and x of a part of the slice.

    Returns
    -------
    ndarray of float64, shape (2, 2)
        Of the dark and of the bright group: the sum of squares of what the shifts say against the
        mean of their part, and of its product with what the gray levels say.
    """
    said = classes.amplitudes * shifts[..., np.newaxis]
    beside = (means[..., np.newaxis] - classes.levels - said) / np.sqrt(classes.variances)
    distance = np.nan_to_num(np.abs(beside), nan=np.inf)
    y, x = np.nonzero(distance.min(axis=-1) < OUTLYING)
    own = distance[y, x].argmin(axis=-1)
    parts = np.stack([y // cell[0], x // cell[1], own], axis=1)
    _, groups = np.unique(parts, axis=0, return_inverse=True)
    expected = _without_means(said[y, x, own], groups)
    shown = _without_means(means[y, x] - classes.levels[own], groups)
    is_bright = classes.is_bright[own]
    return np.array(
        [
            [expected[group] @ expected[group], expected[group] @ shown[group]]
            for group in (~is_bright, is_bright)
        ]
    )


def shared_by_groups(
    shifts: Shifts, inside: Array, independent: float, classes: LevelClasses
) -> Shared:
    """Return what dark and bright parts of windows have in common, and whether it is a background.

    Parameters
    ----------
    shifts : Shifts
        Of windows all over the stack.
    inside : ndarray, shape (2, 2)
        The sum of `sums_inside` over the slices.
    independent : float
        How many windows have no pixel in common.
    classes : LevelClasses
        What is shifted.
    """
    both = shifts.seen >= 1
    if np.count_nonzero(both) < FEWEST_WINDOWS:
        return NOTHING_SHARED
    dark, bright = (each[both] - each[both].mean() for each in (shifts.dark, shifts.bright))
    common = float((dark * bright).mean())
    scale = np.sqrt((dark**2).mean() * (bright**2).mean())
    if common <= 0 or scale <= 0:
        return NOTHING_SHARED
    correlation, rms = common / float(scale), common**0.5
    is_sure = (
        correlation > max(CORRELATED, SURE / max(independent, 1) ** 0.5)
        and rms > NOTICEABLE * classes.distance
        and bool((inside[:, 1] > FOLLOWED * inside[:, 0]).all())
    )
    return Shared(correlation, rms, is_sure)


def _without_means(values: Array, groups: Array) -> Array:
    counts = np.maximum(np.bincount(groups), 1)
    return np.asarray(values - (np.bincount(groups, values) / counts)[groups])
