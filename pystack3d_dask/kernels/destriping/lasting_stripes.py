"""Stripes that go on through some slices, told from the specimen by how fast they change along z.

The specimen changes from slice to slice at least as slowly as its details of that size do, and at
most as slowly as its coarsest parts: what is upright may do either. Round bodies change slowly at
first, and so does what leans. Stripes that lose the same share of likeness with every slice, more
than the coarsest parts do, are neither. They are looked for where there is far more along their
direction than along others. How much of that is the specimen is told where both rates differ most;
elsewhere it is taken to be as many times what it is along other directions.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

from pystack3d_dask.core.typing import Array

CORRELATIONS = tuple(np.arange(30, 91, 5) / 100)  # of stripes, from slice to slice, that are tried
EXCESS = 3.0  # power over that at other frequencies, from which on stripes are looked for
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
    """

    power: Array
    correlation: float


class Shared(NamedTuple):
    """Powers that slices have in common at the frequencies of stripes.

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
    rings : ndarray of int, shape (groups,)
        Which groups have frequencies of one length.
    counts : ndarray of int, shape (groups,)
        Frequencies of each group.
    """

    power: Array
    error: Array
    elsewhere: Array
    alike: Array
    slowest: Array
    rings: Array
    counts: Array

    def among(self, some: Array) -> Shared:
        """Return some groups.

        Parameters
        ----------
        some : ndarray of bool, shape (groups,)
        """
        values = self._asdict()
        each = {name: value[some] for name, value in values.items() if name != "slowest"}
        return self._replace(**each)

    def pooled(self) -> Shared:
        """Return means over groups of one length, each with errors that are not independent."""
        rings, which = np.unique(self.rings, return_inverse=True)
        counts = np.bincount(which, self.counts)

        def mean(values: Array) -> Array:
            return np.asarray(np.bincount(which, self.counts * values) / counts)

        return Shared(
            power=np.stack([mean(each) for each in self.power.T], axis=1),
            error=mean(self.error),
            elsewhere=mean(self.elsewhere),
            alike=np.stack([mean(each) for each in self.alike.T], axis=1),
            slowest=self.slowest,
            rings=rings,
            counts=counts,
        )


def lasting_stripes(shared: Shared) -> Lasting:
    """Return stripes that change faster than the specimen, but go on.

    Parameters
    ----------
    shared : Shared
        At four distances or more, for `TOLD_APART`.

    Returns
    -------
    Lasting
        Without power where what is far stronger than the specimen along other directions is new in
        each slice, or changes as smoothly along z as round or leaning parts of a specimen do.
    """
    none = Lasting(np.zeros(len(shared.power)), 0.0)
    is_more = shared.power[:, 0] > EXCESS * shared.elsewhere + SURELY * shared.error
    if not is_more.any():
        return none
    striped = shared.among(is_more)
    if _is_smooth(striped.counts @ striped.power):
        return none
    pooled = striped.pooled()
    correlation = _correlation(pooled)
    is_certain = pooled.alike[:, -1] - correlation ** (len(pooled.slowest) - 1) > TOLD_APART
    if not correlation or not is_certain.any():
        return none
    scale = _scale(pooled)
    amounts, _ = least_squares(_parts(pooled, correlation), pooled.power / scale[:, np.newaxis])
    specimen = amounts[:, :2].sum(axis=1) * scale
    ratio = specimen[is_certain] / pooled.elsewhere[is_certain]
    weights = (pooled.counts * pooled.power[:, 0])[is_certain]
    median = float(np.quantile(ratio, 0.5, weights=weights, method="inverted_cdf"))
    power = np.zeros(len(is_more))
    power[is_more] = _amounts(striped, correlation, max(median, 1.0) * striped.elsewhere)
    return Lasting(power, correlation)


def _is_smooth(shared: Array) -> bool:
    """Return whether what slices have in common falls off slowly at first, as of smooth bodies."""
    own, one, two = shared[:3]
    return bool(own - one < one - two)


def _correlation(shared: Shared) -> float:
    """Return the correlation from slice to slice of stripes that go on; 0 where there are none."""
    data = shared.power / _scale(shared)[:, np.newaxis]
    weights = shared.counts * shared.power[:, 0]
    weights = weights / weights.sum()
    misfit = float(weights @ least_squares(_parts(shared), data)[1])
    misfits = [
        float(weights @ least_squares(_parts(shared, each), data)[1]) for each in CORRELATIONS
    ]
    best = int(np.argmin(misfits))
    gain = misfit - misfits[best]
    is_sure = gain > max(LEAST_GAIN, LEAST_SHARE * misfit) and misfits[best] <= MOST_LEFT
    return CORRELATIONS[best] if is_sure else 0.0


def _amounts(shared: Shared, correlation: float, usual: Array) -> Array:
    """Return the power of stripes that go on, where about so much is usual of the specimen."""
    scale = _scale(shared)
    tolerance = np.maximum(usual, shared.error)
    parts = _parts(shared, correlation)
    prior = np.zeros((len(parts), 1, parts.shape[2]))
    prior[:, 0, :2] = (scale / tolerance)[:, np.newaxis]
    amounts, _ = least_squares(
        np.concatenate([parts, prior], axis=1),
        np.concatenate(
            [shared.power / scale[:, np.newaxis], (usual / tolerance)[:, np.newaxis]], axis=1
        ),
    )
    return np.asarray(amounts[:, -1] * scale)


def _scale(shared: Shared) -> Array:
    """Return by how much parts may miss what slices have in common."""
    return np.hypot(shared.error, INEXACT * shared.power[:, 0])


def _parts(shared: Shared, correlation: float | None = None) -> Array:
    """Return how what slices show changes with distance, shape (groups, lags, parts).

    Of details of the specimen, of its coarsest parts, of stripes of a single slice, and, given
    their correlation, of stripes that go on.
    """
    lags = np.arange(len(shared.slowest))
    same = [shared.slowest, lags == 0] + ([] if correlation is None else [correlation**lags])
    each = [np.broadcast_to(part, shared.alike.shape) for part in same]
    return np.stack([shared.alike, *each], axis=2)


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
