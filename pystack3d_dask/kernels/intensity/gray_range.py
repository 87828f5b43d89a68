"""The gray levels that histograms of a stack should cover: without fill values and outliers.

A hot pixel must not stretch the bins, and what fills a stack up (black borders that an alignment
leaves, padding) must not be matched like material. All is relative to the distance between the
tails of the distribution, so that neither offset nor scale matters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

import numpy as np

from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.kernels.backend import namespace, to_host
from pystack3d_dask.kernels.intensity.histograms import added_counts, count_levels
from pystack3d_dask.kernels.intensity.quantiles import Limits, ranked

TAILS = (0.005, 0.995)  # quantiles of what is not fill
REACH = 1.0  # distances between the tails that are covered beyond each
ISOLATED = 0.1  # of that distance: where nearly nothing lies beside a fill value
CROWDED = 10  # times as many pixels have the fill value as have those levels
LEAST_SHARE = 0.005  # of the pixels of a slice: fewer do no harm to its histogram
LEAST_ALONE = 0.02  # where one slice has to tell: a stripe without noise has as many
FEW = 0.1  # of the slices with fill: as many may have a border of another level
SAMPLED = 512  # gray levels that stand for a slice of floats
MOST_PIXELS = 2**16  # of a slice, from which they are taken


class Counted(NamedTuple):
    """Gray levels, ascending, and how many pixels have each."""

    levels: Array
    counts: Array


class GrayRange(NamedTuple):
    """What a histogram should cover.

    Parameters
    ----------
    limits : tuple of float
        The range.
    fill : tuple of float
        Levels beyond it that only fill the stack up.
    share : float
        Of the pixels of the stack that have these.
    """

    limits: Limits
    fill: tuple[float, ...]
    share: float


def sample(image: Array) -> Array:
    """Return gray levels that stand for a slice: its extremes, and 512 at equal ranks.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Of numpy or cupy, any real type. Of large slices every n-th row and column is looked at.

    Returns
    -------
    ndarray
        Of numpy.
    """
    xp = namespace(image)
    step = max(1, int(np.sqrt(image.size / MOST_PIXELS)))
    values = xp.sort(image[::step, ::step], axis=None)
    places = xp.rint(xp.linspace(0, values.size - 1, SAMPLED)).astype(np.intp)
    extremes = xp.stack([image.min(), image.max()])
    return to_host(xp.concatenate([extremes[:1], values[places], extremes[1:]]))


def gray_levels(image: Array, dtype: np.dtype[Any], *, is_integer: bool) -> Arrays:
    """Return the gray levels of a slice: counted where they are integers, else a `sample`.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        The slice.
    dtype : numpy.dtype
        Type of the acquisition.
    is_integer : bool
        Whether all values are integers of that type.
    """
    return count_levels(image, dtype) if is_integer else {"sample": sample(image)}


def counted(summary: Arrays) -> Counted:
    """Return the gray levels of a slice from what `gray_levels` found."""
    if "sample" in summary:
        return Counted(*np.unique(summary["sample"], return_counts=True))
    counts = summary["counts"]
    return Counted(int(summary["first"]) + np.arange(len(counts)), counts)


def all_counted(summaries: Collection[Arrays], dtype: np.dtype[Any]) -> Counted:
    """Return the gray levels of several slices, counted or sampled, of an acquisition of a type."""
    if all("sample" not in summary for summary in summaries):
        return Counted(*added_counts(summaries, dtype))
    samples = np.concatenate([summary["sample"] for summary in summaries])
    return Counted(*np.unique(samples, return_counts=True))


def gray_range(whole: Counted, slices: Callable[[], Iterable[Counted]]) -> GrayRange:
    """Return the range that histograms should cover.

    Parameters
    ----------
    whole : Counted
        Levels of the stack.
    slices : callable
        Returns those of each slice, each time it is called.

    Returns
    -------
    GrayRange
        From the smallest to the largest level that is not farther from the 0.5th and the 99.5th
        percentile than these are apart, after fill values are taken off: an extreme level that
        many pixels of a slice have, and next to none the levels beside it.
    """
    kept = Counted(*(each[whole.counts > 0] for each in whole))
    fill = []
    for end in (0, -1):
        level = float(kept.levels[end])
        rest = _without(kept, level)
        if _is_isolated(level, kept, rest) and _is_fill(level, end, slices()):
            fill.append(level)
            kept = rest
    low, high = _tails(kept)
    reach = REACH * (high - low)
    near = kept.levels[(kept.levels >= low - reach) & (kept.levels <= high + reach)]
    share = 1 - kept.counts.sum() / whole.counts.sum()
    return GrayRange((float(near[0]), float(near[-1])), tuple(fill), float(share))


def fill_levels(summaries: Collection[Arrays], dtype: np.dtype[Any]) -> tuple[float, ...]:
    """Return the gray levels that only fill slices up.

    Parameters
    ----------
    summaries : collection of dict
        What was counted in slices, or a ``sample`` of each.
    dtype : numpy.dtype
        Type of the acquisition.
    """
    if not summaries:
        return ()
    return gray_range(all_counted(summaries, dtype), lambda: map(counted, summaries)).fill


def fill_of_slice(image: Array, dtype: np.dtype[Any]) -> Array:
    """Return the gray levels that only fill a slice up, as far as that slice alone tells.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Of numpy or cupy, any real type.
    dtype : numpy.dtype
        Type of the acquisition.

    Returns
    -------
    ndarray of float64
        Levels that 2 % of the pixels have, or more.
    """
    found = sample(image)
    levels = fill_levels([{"sample": found}], dtype)
    return np.array([each for each in levels if np.mean(found == each) >= LEAST_ALONE])


def _without(found: Counted, level: float) -> Counted:
    others = found.levels != level
    return Counted(found.levels[others], found.counts[others])


def _tails(found: Counted) -> Limits:
    wanted = (np.array(TAILS) * (found.counts.sum() - 1)).astype(np.int64)
    low, high = found.levels[ranked(found.counts, wanted)[0]]
    return float(low), float(high)


def _is_isolated(level: float, found: Counted, rest: Counted) -> bool:
    """Return whether many have a level and next to none those beside it."""
    if not len(rest.levels):
        return False
    low, high = _tails(rest)
    near = ISOLATED * (high - low)
    beside = rest.counts[np.abs(rest.levels - level) <= near].sum()
    own = found.counts[found.levels == level].sum()
    return bool(near > 0 and not low - near <= level <= high + near and own > CROWDED * beside)


def _is_fill(level: float, end: int, slices: Iterable[Counted]) -> bool:
    """Return whether a level at an end, 0 or -1, fills slices up that show something else.

    Of a noiseless image of two levels neither is fill. Nor is a material without noise whose
    brightness changes: fill has the same level in nearly all slices.
    """
    filled, textured, others = 0, 0, 0
    for each in slices:
        own = float(each.levels[each.counts > 0][end])
        rest = _without(each, own)
        crowd = each.counts.sum() - rest.counts.sum()
        if crowd <= LEAST_SHARE * each.counts.sum() or not rest.counts.any():
            continue
        if own == level:
            filled += 1
            textured += int(np.count_nonzero(rest.counts) > 2)
        else:
            others += int(_is_isolated(own, each, rest))
    return 2 * textured > filled and others <= FEW * filled
