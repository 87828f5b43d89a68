"""Gain and offset of every slice, from lines between slices that lie near each other.

All pairs are solved together, for the least sum of absolute disagreements: a slice that shows
something else, or nothing, moves no other one (Huber, "Robust statistics", 1981, section 7).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.intensity.running_lines import running_lines

STEPS = 30
TIE = 1e-7  # weight, over that of pairs, that ties groups of slices without pairs between them
PULL = 1e-10  # weight, over that of pairs, that keeps values near 0
FLOOR = 0.3  # of the median disagreement: smaller ones count as this
REFERENCES = (11, 25, 51, 101, 201)  # slices of a reference
LENGTH = 3.75  # length of the best reference, times the jumps over the error of a link
ALLOWED = 2.5  # standard errors by which a longer reference may predict slices worse than the best
SURE = 4.0  # standard errors of what is undone
NOTICEABLE = 0.03  # of the contrast: jumps below are left alone where most slices have none
SMALLEST = 0.01  # of the contrast: jumps below are left alone where most slices have some
CENTRAL = 1.4826


@dataclass(frozen=True)
class Pairs:
    """Lines between slices.

    Parameters
    ----------
    first, second : ndarray of int, shape (pairs,)
        The slices, ``first < second``.
    log_gain, center_x, center_y : ndarray of float, shape (pairs,)
        See `pair_lines.PairLine`; x is the first slice.
    spread : ndarray of float, shape (pairs,)
        Around the lines, in gray levels.
    """

    first: Array
    second: Array
    log_gain: Array
    center_x: Array
    center_y: Array
    spread: Array


@dataclass(frozen=True)
class Brightness:
    """Errors of the brightness of slices, and what undoes them.

    Parameters
    ----------
    log_gain, level : ndarray of float64, shape (slices,)
        Gain, and the gray level at which a slice shows the mean gray level of the stack, as the
        pairs tell; both differ from slice to slice by what was measured, while what they are on
        average, and slow changes, are not known.
    jump : ndarray of float64, shape (slices,)
        Root mean square of what a slice's pixels differ by from its neighborhood, in gray levels.
    error : ndarray of float64, shape (slices,)
        Standard error of ``jump``.
    undone : ndarray of bool, shape (slices,)
        Whether a slice is corrected.
    scale, offset : ndarray of float64, shape (slices,)
        A corrected slice is ``scale * slice + offset``; 1 and 0 where it is left alone.
    slow_gain, slow_level : ndarray of float64, shape (slices,)
        ``log_gain`` and ``level`` of the slices around.
    reference : int
        Slices that a slice is compared with.
    """

    log_gain: Array
    level: Array
    jump: Array
    error: Array
    undone: Array
    scale: Array
    offset: Array
    slow_gain: Array
    slow_level: Array
    reference: int

    def lines(self, mean: float) -> tuple[Array, Array]:
        """Return scales and offsets that give each slice the brightness of those around it.

        Parameters
        ----------
        mean : float
            The mean gray level of the stack.
        """
        scale = np.exp(self.slow_gain - self.log_gain)
        shift = np.exp(self.slow_gain) * (self.slow_level - self.level)
        return scale, mean * (1 - scale) + shift


def slice_gains(pairs: Pairs, count: int, mean: float, contrast: float) -> Brightness:
    """Return the jumps of brightness, and the lines that undo them.

    Parameters
    ----------
    pairs : Pairs
        At least one.
    count : int
        Slices.
    mean, contrast : float
        Mean and standard deviation of gray levels, in gray levels.

    Returns
    -------
    Brightness
        Slices keep what slow changes there are: they may be the specimen's. Those that are in no
        pair are left alone.
    """
    seen, places = np.unique([pairs.first, pairs.second], return_inverse=True)
    first, second = places.reshape(2, -1)
    found = _of_seen(replace(pairs, first=first, second=second), len(seen), mean, contrast)

    def spread_out(values: Array, elsewhere: float) -> Array:
        whole = np.full(count, elsewhere, values.dtype)
        whole[seen] = values
        return whole

    return Brightness(
        log_gain=spread_out(found.log_gain, 0.0),
        level=spread_out(found.level, 0.0),
        jump=spread_out(found.jump, 0.0),
        error=spread_out(found.error, np.inf),
        undone=spread_out(found.undone, False),
        scale=spread_out(found.scale, 1.0),
        offset=spread_out(found.offset, 0.0),
        slow_gain=spread_out(found.slow_gain, 0.0),
        slow_level=spread_out(found.slow_level, 0.0),
        reference=found.reference,
    )


def _of_seen(pairs: Pairs, count: int, mean: float, contrast: float) -> Brightness:
    """Return the brightness of slices that all are in pairs."""
    weights = (contrast / np.maximum(pairs.spread, 1e-6 * contrast)) ** 2
    log_gain, gain_error = _solved(pairs, pairs.log_gain, weights, count)
    # a slice is gain * (true - mean + level) + mean, so that levels differ by what centers do
    gain = np.exp(log_gain)
    centers = (pairs.center_x - mean) / gain[pairs.first]
    shifts = (pairs.center_y - mean) / gain[pairs.second] - centers
    level, level_error = _solved(pairs, shifts, weights, count)
    size = np.hypot(contrast * gain_error, level_error)
    error = _around(pairs, size, count)
    slow_gain, slow_level, reference = _reference_of(
        contrast * log_gain, level, float(np.median(error))
    )
    slow_gain /= contrast
    jump = np.hypot(contrast * (log_gain - slow_gain), level - slow_level)
    undone = jump > np.maximum(SURE * np.maximum(error, np.median(error)), _least(jump, contrast))
    found = Brightness(
        log_gain,
        level,
        jump,
        error,
        undone,
        scale=np.ones(count),
        offset=np.zeros(count),
        slow_gain=slow_gain,
        slow_level=slow_level,
        reference=reference,
    )
    scale, offset = found.lines(mean)
    return replace(found, scale=np.where(undone, scale, 1.0), offset=np.where(undone, offset, 0.0))


def _least(jump: Array, contrast: float) -> float:
    """Return the smallest jump that is worth a correction."""
    is_rare = CENTRAL * np.median(jump) < NOTICEABLE * contrast
    return (NOTICEABLE if is_rare else SMALLEST) * contrast


def _solved(pairs: Pairs, differences: Array, weights: Array, count: int) -> tuple[Array, Array]:
    """Return values of slices whose differences agree best, and what each pair disagrees by.

    Parameters
    ----------
    pairs : Pairs
        Of slices that all are in one.
    differences, weights : ndarray of float64, shape (pairs,)
        Value of the second slice minus that of the first, and how much it counts.
    count : int
        Slices.
    """
    from scipy.linalg import solveh_banded  # not at the top: workers start sooner

    first, second = pairs.first, pairs.second
    band = int((second - first).max())
    now = weights.copy()
    values, beside = np.zeros(count), np.zeros(len(first))
    for _ in range(STEPS):
        matrix = np.zeros((band + 1, count))  # lower form: matrix[k, i] couples i and i + k
        np.add.at(matrix[0], first, now)
        np.add.at(matrix[0], second, now)
        np.add.at(matrix, (second - first, first), -now)
        typical = float(np.median(now))
        matrix[0, 1:] += TIE * typical
        matrix[0, :-1] += TIE * typical
        matrix[1, :-1] -= TIE * typical
        matrix[0] += PULL * typical
        right = np.zeros(count)
        np.add.at(right, second, now * differences)
        np.add.at(right, first, -now * differences)
        values = solveh_banded(matrix, right, lower=True)
        beside = np.abs(values[second] - values[first] - differences)
        now = weights / np.maximum(beside, FLOOR * np.median(beside) + 1e-12)
    return values - np.median(values), beside


def _around(pairs: Pairs, beside: Array, count: int) -> Array:
    """Return the median disagreement, one of each pair, of the pairs of each slice."""
    found = np.empty(count)
    slices = np.concatenate([pairs.first, pairs.second])
    order = np.argsort(slices, kind="stable")
    both = np.concatenate([beside, beside])[order]
    edges = np.searchsorted(slices[order], np.arange(count + 1))
    for k in range(count):
        found[k] = np.median(both[edges[k] : edges[k + 1]])
    return found


def _reference_of(gain: Array, level: Array, error: float) -> tuple[Array, Array, int]:
    """Return gain and level without jumps, and the slices that they are taken from.

    A constant where it predicts slices that had no part in it as well as anything else; or else
    lines through the slices around each. Long ones average many jumps, short ones follow slow
    changes and add up few errors of links.
    """
    count = len(gain)
    lengths = [length for length in REFERENCES if length < 2 * count - 1]
    fits = {
        length: (running_lines(gain, length), running_lines(level, length)) for length in lengths
    }
    fits[count] = (_constants(gain), _constants(level))
    missed = {
        length: np.hypot(gain - own[1], level - other[1]) for length, (own, other) in fits.items()
    }
    best = min(missed.values(), key=lambda each: float(each.mean()))
    typical = float(np.median(best))
    longest = LENGTH * typical / max(error, 1e-12)
    for length in [count, *reversed(lengths)]:
        more = np.clip(missed[length] - best, -typical, typical)  # whatever bad slices show
        is_as_good = more.mean() <= ALLOWED * more.std() / np.sqrt(count)
        if length <= longest and is_as_good:
            break
    return fits[length][0][0], fits[length][1][0], length


def _constants(values: Array) -> tuple[Array, Array]:
    """Return the median for all slices, and that of all other slices for each."""
    order = np.argsort(values, kind="stable")
    ranked, count = values[order], len(values)
    rank = np.empty(count, np.intp)
    rank[order] = np.arange(count)
    # the middle of those that are left, once the slice of some rank is taken out
    low, high = (count - 2) // 2, (count - 1) // 2
    others = (ranked[low + (rank <= low)] + ranked[high + (rank <= high)]) / 2
    return np.full(count, np.median(values)), others
