"""Which slices are bad, judged by the slices around them.

Two tests, neither of which a specimen that changes along z can fail:

- *Unlike both neighbors, while these are like each other.* Of three slices a, k, b, the share of
  k's variance that is its own is half of what d(a, k) + d(k, b) exceeds d(a, b), with d one minus
  the correlation ("three-cornered hat": Gray and Allan, Proc. 28th Annual Symposium on Frequency
  Control, 1974). A specimen that changes between k and b changes between a and b as well. It is
  taken from three pairs of neighbors, tile by tile, each against what is usual around; the least
  counts, so that a good slice is judged by the better ones of its neighbors.
- *Beyond the slices on both sides*, in a figure such as contrast or fine detail: a trend or a step
  along z lies between what is before and what is after.

The worst slice goes first, and no longer counts among the neighbors of others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.bad_slices.slice_figures import SliceFigures

FEWEST = 5  # slices of which one can be told to be bad
AROUND = 7  # slices on each side that show what is usual
CHANGES = 15  # slices on each side that show by how much figures change from slice to slice
FAR = 6.0  # times the usual change
SIDE = 2  # good slices on each side that a figure must lie beyond
REACH = 8  # slices on each side among which these are looked for, and beyond most of which it lies
OWN = 0.12  # share of a tile's variance that a slice may have for itself
OWN_ON_AVERAGE = 0.1  # of all tiles
OWN_AT_AN_END = 0.6  # of all tiles of the first and the last slice
TILES = 1 / 16  # of all, that have more
LOST = 0.012  # more of a slice's cells that are not known
CONTRAST = 0.28  # logarithm of a ratio of contrasts: brightness jumps keep to 25 %
LEVEL = 0.8  # contrasts by which a slice may be darker or brighter
LESS_DETAIL = 0.25  # logarithm of a ratio of squared differences
MORE_DETAIL = 0.4
AT_AN_END = 2.0  # times as much of a figure is tolerated where there are slices on one side only
DUPLICATE = 100.0  # score of a slice that is equal to the one before, pixel by pixel
CENTRAL = 1.4826  # standard deviation of a normal distribution over its median deviation
TINY = 1e-12
AT_ONCE = 256  # slices whose windows are held at a time


class Reason(IntEnum):
    """Why a slice is bad."""

    NONE = 0
    UNLIKE = 1
    PARTLY_LOST = 2
    BLURRED = 3
    NOISY = 4
    FAINT = 5
    STARK = 6
    DARK = 7
    BRIGHT = 8
    DUPLICATE = 9


REASONS: Mapping[Reason, str] = {
    Reason.NONE: "good",
    Reason.UNLIKE: "unlike the slices around it, which are like each other",
    Reason.PARTLY_LOST: "blank or clipped where the slices around it are not",
    Reason.BLURRED: "less sharp than the slices around it",
    Reason.NOISY: "more fine noise than in the slices around it",
    Reason.FAINT: "less contrast than in the slices around it",
    Reason.STARK: "more contrast than in the slices around it",
    Reason.DARK: "darker than the slices around it",
    Reason.BRIGHT: "brighter than the slices around it",
    Reason.DUPLICATE: "the slice before it once more",
}


# what says most about a slice comes first; else the figure that is farthest off is named
TELLING = (Reason.DUPLICATE, Reason.PARTLY_LOST, Reason.UNLIKE)


class Judged(NamedTuple):
    """The slices of a stack, judged.

    Parameters
    ----------
    reason : ndarray of int64, shape (slices,)
        A `Reason` for each.
    score : ndarray of float64, shape (slices,)
        How many times what is tolerated; above 1 for bad slices.
    is_worse : ndarray of bool, shape (slices,)
        Bad slices that are further from the truth than what is interpolated between good ones. A
        slice that is slightly blurred, or has a little more noise, may be nearer.
    """

    reason: Array
    score: Array
    is_worse: Array


class _Figure(NamedTuple):
    """A figure of all slices, and how far it may lie below and above those around."""

    values: Array
    below: float
    above: float
    too_low: Reason
    too_high: Reason


def judge(figures: Sequence[SliceFigures], near: Array, far: Array, equal: Array) -> Judged:
    """Return which slices are bad, and why.

    Parameters
    ----------
    figures : sequence of SliceFigures
        Of each slice; NaN throughout where a slice is not known.
    near, far : ndarray, shape (slices, tiles along y, tiles along x)
        `unlikeness` of each slice and the one before, and the second one before; NaN where
        there is none.
    equal : ndarray of bool, shape (slices,)
        Slices that are equal to the one before.
    """
    count = len(figures)
    reason, score = np.zeros(count, np.int64), np.zeros(count)
    if count < FEWEST:
        return Judged(reason, score, np.zeros(count, bool))
    unlike = _unlike(near, far)
    shown = _figures(figures)
    usual = [_usual_change(each.values) for each in shown]
    is_good = np.ones(count, bool)
    is_rare = _median_around(equal.astype(float), AROUND) == 0  # else nothing changes along z
    is_copy = equal & is_rare & (np.array([each.contrast for each in figures]) > 0)

    def verdict(k: int) -> tuple[float, Reason]:
        found = [(DUPLICATE * is_copy[k], Reason.DUPLICATE), (unlike[k], Reason.UNLIKE)]
        for figure, change in zip(shown, usual, strict=True):
            found += _beyond(figure, change[k], k, is_good)
        worst = max(found)
        telling = [each for each in found if each[0] > 1 and each[1] in TELLING]
        return worst[0], min(telling, key=lambda each: TELLING.index(each[1]), default=worst)[1]

    changed: Iterable[int] = range(count)
    while True:
        for k in changed:
            score[k], reason[k] = verdict(k)
        k = int(np.where(is_good, score, 0).argmax())
        if not (is_good[k] and score[k] > 1):
            reason = np.where(is_good, Reason.NONE, reason)
            return Judged(reason, score, _is_worse(figures, far, reason))
        is_good[k] = False
        near_by = range(max(0, k - REACH), min(count, k + REACH + 1))
        changed = [other for other in near_by if is_good[other]]


def _is_worse(figures: Sequence[SliceFigures], far: Array, reason: Array) -> Array:
    """Return which bad slices are further from the truth than what is interpolated.

    Of slices that differ in fine detail alone, the error is estimated octave by octave: from the
    amplitudes that were lost, or from the noise that was gained. That of interpolating is half of
    what the slices on both sides do not have in common. Both are shares of a slice's variance.
    """
    is_good = reason == Reason.NONE
    contrast = np.array([each.contrast for each in figures])
    contrast = np.where(is_good & (contrast > 0), contrast, np.nan)
    detail = np.array([each.detail for each in figures]).reshape(len(reason), 2, -1)
    detail = detail / _median_around(contrast, AROUND)[:, None, None] ** 2
    octaves = np.maximum(np.diff(detail, axis=2, prepend=0), 0)
    around = _median_around(np.where(is_good[:, None, None], octaves, np.nan), AROUND)
    lost = ((np.sqrt(around) - np.sqrt(octaves)) ** 2).sum(axis=2).mean(axis=1) / 2
    gained = np.maximum(octaves - around, 0)[:, :, 0].mean(axis=1) / 2
    mean = np.array([_mean_known(each) for each in far])
    interpolated = _median_around(mean, AROUND) / 2
    error = np.full(len(reason), np.inf)
    error = np.where(reason == Reason.BLURRED, lost, error)
    error = np.where(reason == Reason.NOISY, gained, error)
    return np.asarray(~is_good & ~(error <= interpolated))


def _mean_known(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else np.nan


def _unlike(near: Array, far: Array) -> Array:
    """Return how much of slices is unlike their neighbors, over what is tolerated."""
    own = [
        (near + far - _later(near, -1)) / 2,
        (near + _later(near, 1) - _later(far, 1)) / 2,
        (_later(near, 1) + _later(far, 2) - _later(near, 2)) / 2,
    ]
    least = np.fmin.reduce([each - _median_around(each, AROUND, own=False) for each in own])
    spread = CENTRAL * _median_around(np.abs(np.nan_to_num(least)), CHANGES)
    is_hit = least > np.maximum(OWN, FAR * spread)
    share = is_hit.mean(axis=(1, 2))
    known = np.isfinite(least)
    mean = np.nan_to_num(least).sum(axis=(1, 2)) / np.maximum(known.sum(axis=(1, 2)), 1)
    score = np.maximum(share / TILES, mean / OWN_ON_AVERAGE)
    ends = [0, -1]  # one side cannot tell a wider gap between slices from a bad slice
    score[ends] = mean[ends] / OWN_AT_AN_END
    return np.asarray(score)


def _figures(figures: Sequence[SliceFigures]) -> list[_Figure]:
    unknown = np.array([each.unknown for each in figures])
    level = np.array([each.level for each in figures])
    contrast = np.array([each.contrast for each in figures])
    is_shown = contrast > 0  # also False for NaN
    usual = float(np.median(contrast[is_shown])) if is_shown.any() else 1.0
    relative = np.where(is_shown, contrast, np.nan)
    detail = np.log(np.array([each.detail for each in figures]).T / relative**2 + TINY)
    return [
        _Figure(unknown, np.inf, LOST, Reason.NONE, Reason.PARTLY_LOST),
        _Figure(np.log(relative), CONTRAST, CONTRAST, Reason.FAINT, Reason.STARK),
        _Figure(level / usual, LEVEL, LEVEL, Reason.DARK, Reason.BRIGHT),
        *(_Figure(each, LESS_DETAIL, MORE_DETAIL, Reason.BLURRED, Reason.NOISY) for each in detail),
    ]


def _usual_change(values: Array) -> Array:
    """Return by how much a figure changes from slice to slice around each one, trends included."""
    changes = np.abs(np.diff(values, append=np.nan))
    return np.nan_to_num(CENTRAL * _median_around(changes, CHANGES))


def _beyond(figure: _Figure, change: float, k: int, is_good: Array) -> list[tuple[float, Reason]]:
    """Return how far a slice is below and above those on both sides, over what is tolerated."""
    own = figure.values[k]
    sides = [side for side in _sides(figure.values, k, is_good) if side]
    if not sides or not np.isfinite(own):
        return []
    end = AT_AN_END if len(sides) == 1 else 1.0
    # a good slice between two bad ones is beyond both, but not beyond most of those around
    middle = float(np.median(np.concatenate(sides)))
    below = min(middle, *(max(side[:SIDE]) for side in sides)) - own
    above = own - max(middle, *(min(side[:SIDE]) for side in sides))
    return [
        (below / (end * max(figure.below, FAR * change)), figure.too_low),
        (above / (end * max(figure.above, FAR * change)), figure.too_high),
    ]


def _sides(values: Array, k: int, is_good: Array) -> list[list[float]]:
    """Return a figure of the good slices before, and of those after, the nearest ones first."""
    before = range(k - 1, max(k - REACH, 0) - 1, -1)
    after = range(k + 1, min(k + REACH, len(values) - 1) + 1)
    return [
        [values[i] for i in side if is_good[i] and np.isfinite(values[i])]
        for side in (before, after)
    ]


def _later(values: Array, count: int) -> Array:
    """Return the values that lie ``count`` slices after each, NaN where there are none."""
    out = np.full_like(values, np.nan)
    if count > 0:
        out[:-count] = values[count:]
    else:
        out[-count:] = values[:count]
    return out


def _median_around(values: Array, reach: int, *, own: bool = True) -> Array:
    """Return the medians over slices up to ``reach`` away; NaN where nothing is known.

    Parameters
    ----------
    values : ndarray, shape (slices, ...)
        NaN does not count.
    reach : int
        Slices on each side.
    own : bool
        Whether the slice itself counts, too.
    """
    beyond = [(reach, reach), *[(0, 0)] * (values.ndim - 1)]
    padded = np.pad(values.astype(np.float64), beyond, constant_values=np.nan)
    out = np.empty(values.shape)
    for start in range(0, len(values), AT_ONCE):
        part = padded[start : start + AT_ONCE + 2 * reach]
        windows = np.lib.stride_tricks.sliding_window_view(part, 2 * reach + 1, axis=0)
        used = windows if own else np.delete(windows, reach, axis=-1)
        out[start : start + AT_ONCE] = _median(used)
    return out


def _median(values: Array) -> Array:
    """Return medians along the last axis; NaN does not count, unless there is nothing else."""
    ranked = np.sort(values, axis=-1)  # NaN last
    known = np.isfinite(ranked).sum(axis=-1, keepdims=True)
    places = np.maximum(known - 1, 0) // 2, np.minimum(known // 2, ranked.shape[-1] - 1)
    low, high = (np.take_along_axis(ranked, place, axis=-1)[..., 0] for place in places)
    return np.asarray((low + high) / 2)  # NaN where nothing is known: it is all there is
