"""Stripes that go on through some slices, told from the specimen by how fast they change along z.

The specimen changes from slice to slice at least as slowly as its details of that size do, and at
most as slowly as its coarsest parts: what is upright may do either. Stripes that change faster than
these, all at one rate, are neither. They are looked for where there is far more along their
direction than along others. How much of that is the specimen is told where both rates differ most;
elsewhere it is taken to be as many times what it is along other directions.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

from pystack3d_dask.core.typing import Array

CORRELATIONS = tuple(np.arange(30, 91, 5) / 100)  # of stripes, from slice to slice, that are tried
EXCESS = (
    3.0  # power at frequencies of stripes, over that at others, from which on they are looked for
)
SURELY = 3.0  # standard errors, by which it has to be more
INEXACT = 0.05  # of the power: parts of a specimen do not change at quite the same rate
LEAST_GAIN, LEAST_SHARE = 0.1, 0.5  # of squared misfits that lasting stripes explain, and of all
MOST_LEFT = 0.35  # of squared misfits, that they leave
TOLD_APART = 0.3  # difference of correlations at the largest distance
REGULAR = 1e-9  # added to squares of parts, so that alike ones can be told apart


class Lasting(NamedTuple):
    """Stripes that go on.

    Parameters
    ----------
    power : ndarray of float64, shape (groups,)
        0 where there are none.
    correlation : float
        From slice to slice, 0 to 1; 0 where there are none anywhere.
    misfit : float
        Mean square of what neither specimen nor stripes explain of what neighbors have in common,
        over what may be left.
    """

    power: Array
    correlation: float
    misfit: float


class Shared(NamedTuple):
    """What slices have in common at the frequencies of stripes.

    Parameters
    ----------
    power : ndarray of float64, shape (groups, lags)
        At distances from 0 on, without noise.
    error : ndarray of float64, shape (groups,)
        Standard error of that.
    elsewhere : ndarray of float64, shape (groups,)
        Power of the specimen at frequencies of that length that no stripes have.
    alike : ndarray of float64, shape (groups, lags)
        Correlation of specimens at such frequencies.
    slowest : ndarray of float64, shape (lags,)
        Correlation of their coarsest parts.
    counts : ndarray of int, shape (groups,)
        Frequencies of each group.
    """

    power: Array
    error: Array
    elsewhere: Array
    alike: Array
    slowest: Array
    counts: Array

    def among(self, some: Array) -> Shared:
        """Return the groups of a mask."""
        values = self._asdict()
        each = {name: value[some] for name, value in values.items() if name != "slowest"}
        return self._replace(**each)


def lasting_stripes(shared: Shared) -> Lasting:
    """Return stripes that change faster than the specimen, but go on.

    Parameters
    ----------
    shared : Shared
        At four distances or more, for `TOLD_APART`.
    """
    power = np.zeros(len(shared.power))
    is_more = shared.power[:, 0] > EXCESS * shared.elsewhere + SURELY * shared.error
    if not is_more.any():
        return Lasting(power, 0.0, 0.0)
    striped = shared.among(is_more)
    scale = np.hypot(striped.error, INEXACT * striped.power[:, 0])
    weights = striped.counts * striped.power[:, 0]
    weights = weights / weights.sum()
    data = striped.power / scale[:, np.newaxis]
    parts = _specimen_and_new(striped)
    _, left = least_squares(parts, data)
    misfit = float(weights @ left)
    fits = [least_squares(_with_lasting(parts, each), data) for each in CORRELATIONS]
    misfits = [float(weights @ each) for _, each in fits]
    best = int(np.argmin(misfits))
    gain = misfit - misfits[best]
    in_common = weights * np.abs(striped.power[:, 1]) / striped.power[:, 0]
    if gain < max(LEAST_GAIN, LEAST_SHARE * misfit) or misfits[best] > MOST_LEFT:
        return Lasting(power, 0.0, float(in_common @ left))
    correlation = CORRELATIONS[best]
    specimen = fits[best][0][:, :2].sum(axis=1) * scale
    is_certain = striped.alike[:, -1] - correlation ** (striped.alike.shape[1] - 1) > TOLD_APART
    if not is_certain.any():
        return Lasting(power, 0.0, float(in_common @ left))
    ratio = specimen[is_certain] / striped.elsewhere[is_certain]
    usual = max(_median(ratio, weights[is_certain]), 1.0) * striped.elsewhere
    tolerance = np.maximum(usual, striped.error)
    parts = _with_lasting(parts, correlation)
    prior = np.zeros((len(parts), 1, parts.shape[2]))
    prior[:, 0, :2] = (scale / tolerance)[:, np.newaxis]
    amounts, _ = least_squares(
        np.concatenate([parts, prior], axis=1),
        np.concatenate([data, (usual / tolerance)[:, np.newaxis]], axis=1),
    )
    power[is_more] = amounts[:, -1] * scale
    return Lasting(power, correlation, float(in_common @ fits[best][1]))


def _specimen_and_new(shared: Shared) -> Array:
    """Return how specimens and stripes of a single slice change, shape (groups, lags, 3)."""
    lags = np.arange(shared.power.shape[1])
    slowest, new = (
        np.broadcast_to(each, shared.alike.shape) for each in (shared.slowest, lags == 0)
    )
    return np.stack([shared.alike, slowest, new], axis=2)


def _with_lasting(parts: Array, correlation: float) -> Array:
    """Return the same with stripes that go on, shape (groups, lags, 4)."""
    lags = np.arange(parts.shape[1])
    lasting = np.broadcast_to(correlation**lags, parts.shape[:2])
    return np.concatenate([parts, lasting[:, :, np.newaxis]], axis=2)


def _median(values: Array, weights: Array) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def least_squares(parts: Array, data: Array) -> tuple[Array, Array]:
    """Return the amounts, none of them negative, of parts that explain data best.

    All sets of parts are tried: there are few of them, and many data.

    Parameters
    ----------
    parts : ndarray of float64, shape (n, values, parts)
        For each of ``n`` problems.
    data : ndarray of float64, shape (n, values)

    Returns
    -------
    amounts : ndarray of float64, shape (n, parts)
    misfit : ndarray of float64, shape (n,)
        Sum of squares of what they leave.
    """
    n, _, count = parts.shape
    amounts, least = np.zeros((n, count)), (data**2).sum(axis=1)
    for size in range(1, count + 1):
        for some in combinations(range(count), size):
            taken = parts[:, :, some]
            turned = taken.swapaxes(1, 2)
            found = np.linalg.solve(
                turned @ taken + REGULAR * np.eye(size), turned @ data[:, :, np.newaxis]
            )
            left = ((data - (taken @ found)[:, :, 0]) ** 2).sum(axis=1)
            is_better = (found[:, :, 0] >= 0).all(axis=1) & (left < least)
            least[is_better] = left[is_better]
            amounts[is_better] = 0
            amounts[np.ix_(is_better, some)] = found[is_better, :, 0]
    return amounts, least
