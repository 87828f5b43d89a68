"""Slow changes of brightness along z: the detector's, or the specimen's.

A detector that drifts changes dark and bright materials together, by one factor or by one amount.
A specimen does not: where one of its materials changes along z the other stays, and where their
shares change both stay. So levels of dark and bright parts are taken from each slice by itself,
where no errors add up along z, and a slow change of the bright parts is undone only if the dark
ones follow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.intensity.running_lines import running_lines

LENGTH = 11  # slices of a running line
FEWEST = 12  # slices in which a slow change shows
SURE = 4.0  # standard errors of what is undone
NOTICEABLE = 0.03  # of the contrast, root mean square
ROUGH = 0.1  # of the contrast, by which nine of ten slices may differ from what is smooth
ALIKE = 0.5  # of the change, by which dark and bright parts may differ
LEAST = 0.05  # of the pixels of a slice
STEPS = 20  # of the threshold between dark and bright
CENTRAL = 1.4826


class Parts(NamedTuple):
    """Gray levels of the dark and the bright parts of each slice.

    Parameters
    ----------
    dark, bright : ndarray of float64, shape (slices,)
        NaN where a slice has no two parts.
    """

    dark: Array
    bright: Array


class Line(NamedTuple):
    """Brightness of slices: one shows ``gain * (true - mean + level) + mean``.

    Parameters
    ----------
    gain, level : ndarray of float64, shape (slices,)
        Of each slice.
    mean : float
        The mean gray level of the stack.
    """

    gain: Array
    level: Array
    mean: float

    def shown(self, true: Array | float) -> Array:
        """Return what slices show of gray levels: one for each slice, or one for all."""
        return np.asarray(self.gain * (true - self.mean + self.level) + self.mean)

    def true(self, shown: Array, z: int) -> Array:
        """Return the gray levels that slice ``z`` shows so."""
        return np.asarray((shown - self.mean) / self.gain[z] - self.level[z] + self.mean)


class Slow(NamedTuple):
    """Slow change: a slice shows ``factor * true + amount``.

    Parameters
    ----------
    factor, amount : ndarray of float64, shape (slices,)
        One of them changes, and its median is 1 or 0.
    """

    factor: Array
    amount: Array


def middle_level(values: Array) -> float:
    """Return the gray level between dark and bright parts: halfway between their means.

    Ridler and Calvard, IEEE Trans. Systems, Man, and Cybernetics 8(8), 1978.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Gray levels that stand for the stack, without jumps; NaN where there are none.
    """
    known = values[np.isfinite(values)]
    if not known.size or known.min() == known.max():
        return np.nan
    threshold = float(known.mean(dtype=np.float64))
    for _ in range(STEPS):
        is_bright = known > threshold
        before = threshold
        threshold = float(known[~is_bright].mean() + known[is_bright].mean()) / 2
        if threshold == before:
            break
    return threshold


def parts_of(values: Array, threshold: float) -> tuple[float, float]:
    """Return the most common gray levels of the dark and the bright parts of a slice.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Gray levels that stand for the slice.
    threshold : float
        Between the two.

    Returns
    -------
    tuple of float
        NaN for both where one of them has less than `LEAST` of the values.
    """
    is_bright = values > threshold
    if min(is_bright.sum(), (~is_bright).sum()) < max(LEAST * values.size, 2):
        return np.nan, np.nan
    return most_common(values[~is_bright]), most_common(values[is_bright])


def most_common(values: Array) -> float:
    """Return the middle of the shortest interval that holds half of the values; NaN for none.

    It ignores what lies between two materials (Rousseeuw, J. Am. Stat. Assoc. 79, 1984, section 2).

    Parameters
    ----------
    values : ndarray, shape (n,)
        Gray levels.
    """
    if not values.size:
        return np.nan
    ranked = np.sort(values).astype(np.float64)
    half = len(ranked) // 2
    widths = ranked[half:] - ranked[: len(ranked) - half]
    shortest = np.flatnonzero(widths == widths.min())
    return float((ranked[shortest] + ranked[shortest + half]).mean() / 2)


def slow_change(found: Parts, reference: Parts, contrast: float) -> Slow | None:
    """Return the slow change of a detector; None where there is none, or it may be the specimen's.

    Parameters
    ----------
    found : Parts
        Of slices whose jumps are undone.
    reference : Parts
        What pairs of neighboring slices say of them: true from slice to slice, while errors
        add up along z. Only what ``found`` differs by is smoothed.
    contrast : float
        Standard deviation of gray levels.
    """
    known = np.isfinite(found.dark) & np.isfinite(found.bright)
    if known.sum() < max(FEWEST, len(known) // 2):
        return None
    dark, bright = (_smooth(own, near, known) for own, near in zip(found, reference, strict=True))
    roughest = max(dark.roughness, bright.roughness)
    if roughest > ROUGH * contrast or not bright.changes(NOTICEABLE * contrast):
        return None
    return common_change(dark.level, bright.level)


class _Smooth(NamedTuple):
    """A level that changes smoothly from slice to slice, what it misses, and its error."""

    level: Array
    roughness: float
    error: float

    def changes(self, least: float) -> bool:
        return float(np.std(self.level)) > max(SURE * self.error, least)


def _smooth(own: Array, near: Array, known: NDArray[np.bool_]) -> _Smooth:
    """Return a level of slices, where what it differs by from ``near`` is made smooth."""
    places = np.arange(len(own))
    beside = np.interp(places, places[known], (own - near)[known])
    level = near + running_lines(beside, LENGTH)[0]
    missed = np.abs(own - level)[known]
    error = CENTRAL * float(np.median(missed)) / np.sqrt(LENGTH / 2)
    return _Smooth(level, float(np.quantile(missed, 0.9)), error)


def held_change(found: Array, reference: Array, gain: Array) -> Slow | None:
    """Return the slow change that holds a level the same in all slices; None where it is.

    Parameters
    ----------
    found : ndarray of float64, shape (slices,)
        The level, of slices whose jumps are undone; NaN where it is not known.
    reference : ndarray of float64, shape (slices,)
        What pairs of neighboring slices say of it, see `slow_change`.
    gain : ndarray of float64, shape (slices,)
        Of slices, as those pairs show it. A level that is brighter by a factor changes all
        contrasts by the same one, and an amount changes none: what is nearer is undone.

    Returns
    -------
    Slow or None
        None also where fewer than half of the slices show the level.
    """
    known = np.isfinite(found)
    if known.sum() < max(2, len(known) // 2):
        return None
    smooth = _smooth(found, reference, known)
    if not smooth.changes(0.0):
        return None
    level, usual = smooth.level, float(np.median(smooth.level))
    none = np.zeros(len(level))
    if level.min() > 0:
        factor, seen = level / usual, gain / np.median(gain)
        if np.std(np.log(seen / factor)) < np.std(np.log(seen)):
            return Slow(factor, none)
    return Slow(1 + none, level - usual)


def common_change(dark: Array, bright: Array) -> Slow | None:
    """Return the change that dark and bright parts share; None where they change differently.

    Parameters
    ----------
    dark, bright : ndarray of float64, shape (slices,)
        Their gray levels; those of the bright parts change.
    """
    changes = {"amount": (dark - np.median(dark), bright - np.median(bright))}
    if min(dark.min(), bright.min()) > 0:
        changes["factor"] = (dark / np.median(dark) - 1, bright / np.median(bright) - 1)
    unlike = {
        way: float(np.std(low - high) / (max(np.std(low), np.std(high)) or np.nan))
        for way, (low, high) in changes.items()
    }
    way = min(unlike, key=unlike.__getitem__)
    if not unlike[way] <= ALIKE:
        return None  # unlike, or nothing changes
    change, none = changes[way][1], np.zeros(len(bright))
    return Slow(1 + change, none) if way == "factor" else Slow(1 + none, change)
