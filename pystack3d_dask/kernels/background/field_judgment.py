"""Whether a field that was found may be removed: what the samples say for and against it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.background.class_mixture import is_bright
from pystack3d_dask.kernels.background.field_candidate import STEPS_LEFT_OUT, Candidate
from pystack3d_dask.kernels.background.field_samples import Samples

FEWEST_LEFT = 200  # samples, of which a fit is made without a fold
CLASS_SHOWS = 2.5  # standard errors of a class's slope on the field
NEAR = 8  # parts along y and x, inside which a class has to show the field, too
LEAST_NEARBY, VAGUE = 0.5, 0.5  # slope on the field there, and the error that says nothing
SURELY = 5.0  # standard errors of the slope of one class at least
UNSURE = 0.35  # standard error of a slope that says nothing, where a field multiplies dark levels
FEWEST_WEIGHT = 1.0  # samples of a group, outside of any fold, of which a slope is told
SURE_MEMBER = 0.9  # probability of a class, from which a sample counts as of it
SMALL_SHARE = 0.08  # of samples: a group that is not asked
UNRESOLVED = 0.5  # share of the variance that is inside places, above which nothing is told
LEAST_EXPLAINED = 0.3  # of the slow variation, by two standard errors
NOTICEABLE = 0.01  # of the span of gray levels
DETAILS_UNRESOLVED = 0.2  # share of the variance inside places, above which details are not told
DETAIL_SHARE = 0.02  # of samples: a group that shows no details
DETAIL_SLOPES = 0.6, 1.6  # of each group on the details
SHARP = 0.05  # of the span of gray levels: standard deviation of classes that have all details
CLOSE = 16  # parts along y and x, most of which have to show the details inside
FEWEST_IN_PART = 4  # samples
LEAST_CLOSE = 0.7  # median slope on the details inside parts


class Verdict(IntEnum):
    """Outcome of the search for a field."""

    FOUND = 0
    TOO_LITTLE = 1
    INSIGNIFICANT = 2
    NOT_NEARBY = 3
    NOT_SHARED = 4
    FAINT = 5
    UNRESOLVED = 6


REASONS: Mapping[Verdict, str] = {
    Verdict.TOO_LITTLE: "too little is seen",
    Verdict.INSIGNIFICANT: "no field predicts places that were left out",
    Verdict.NOT_NEARBY: "the field that dark and bright parts show is not seen inside small parts "
    "of one gray level: it may be the specimen's",
    Verdict.NOT_SHARED: "dark and bright parts show different fields, which may be the specimen's",
    Verdict.FAINT: "the field is hardly noticeable",
    Verdict.UNRESOLVED: "pixels beside each other differ nearly as much as all do: materials "
    "cannot be told apart",
}
"""Why nothing is removed."""


def is_unresolved(samples: Samples, share: float = UNRESOLVED) -> bool:
    """Return whether more than a share of the variance is that of pixels beside each other."""
    return bool(samples.inside > share * (samples.inside + samples.values.var()))


def verdict_on(best: Candidate, samples: Samples, span: float) -> Verdict:
    """Return whether the best field is one that can be removed without harm.

    Parameters
    ----------
    best : Candidate
        The field that predicts best what was left out.
    samples : Samples
        Of the stack.
    span : float
        Of the gray levels.
    """
    if not best.terms:
        return Verdict.INSIGNIFICANT
    sure = best.shrunk
    if not _shows_nearby(sure, samples):
        return Verdict.NOT_NEARBY
    if not _classes_agree(sure, samples):
        return Verdict.NOT_SHARED
    share, error = explained(best, samples)
    if share - 2 * error < LEAST_EXPLAINED:
        return Verdict.INSIGNIFICANT
    size = sure.field.std() * (samples.values.mean() if sure.mixture.multiplies else 1)
    return Verdict.FOUND if size >= NOTICEABLE * span else Verdict.FAINT


def details_agree(found: Candidate, before: Candidate, samples: Samples, folds: Array) -> bool:
    """Return whether what higher orders add to a field may be removed.

    They follow whatever varies slowly, as grains of different gray levels do, or pores that are too
    small to be seen. So materials must be told apart, and have one gray level each without them;
    dark and bright parts have to show them both, and most small parts of the slices have to show
    them inside, where a grain is flat.

    Parameters
    ----------
    found : Candidate
        With the higher orders.
    before : Candidate
        Without them.
    samples : Samples
        Of the stack.
    folds : ndarray of int, shape (samples,)
        Samples that are independent of those of other folds.
    """
    mixture = found.mixture
    is_sharp = mixture.shares @ mixture.variances < (SHARP * mixture.span) ** 2
    if not is_sharp or is_unresolved(samples, DETAILS_UNRESOLVED):
        return False
    added = found.field - before.field
    low, high = DETAIL_SLOPES
    are_shared = all(
        each.share > DETAIL_SHARE
        and low < each.slope < high
        and each.slope > CLASS_SHOWS * each.error
        for each in _slopes_of_groups(found, added, samples, folds)
    )
    return are_shared and _median_inside_parts(found, added, samples) >= LEAST_CLOSE


def explained(best: Candidate, samples: Samples) -> tuple[float, float]:
    """Return the share of the slow variation that a field explains where it was left out.

    Returns
    -------
    share, error : float
        And its standard error between what is left out.
    """
    members = best.mixture.memberships(samples.values, best.field)
    folds = samples.folds() if best.is_in_plane else samples.slabs
    numbers = np.unique(folds)
    before: list[float] = []
    after: list[float] = []
    for fold in numbers:
        here = folds == fold
        others = best.mixture.fitted(samples.values[~here], best.design[~here], STEPS_LEFT_OUT)
        total = members[here].sum()
        predicted = best.design[here] @ others.coefficients
        for sums, shown in ((before, 0 * predicted), (after, predicted)):
            beside = others.deviations(samples.values[here], shown)
            sums.append((members[here] * beside).sum() / max(total, 1e-9))
    squares = np.square(before), np.square(after)
    share = 1 - squares[1].sum() / max(squares[0].sum(), 1e-12)
    left = np.array(
        [
            1 - np.delete(squares[1], k).sum() / max(np.delete(squares[0], k).sum(), 1e-12)
            for k in range(len(numbers))
        ]
    )
    return float(share), float(np.sqrt((len(left) - 1) * left.var()))


class _GroupSlope(NamedTuple):
    """The slope of a group of classes on a field, its error, and the share of samples."""

    slope: float
    error: float
    share: float

    @property
    def may_be_1(self) -> bool:
        """True if the group is too faint to say anything against the field."""
        return self.error > UNSURE and abs(self.slope - 1) < 2 * self.error


def _classes_agree(best: Candidate, samples: Samples) -> bool:
    """Return whether the dark and the bright classes show the field, each by itself."""
    found = _slopes_of_groups(best, best.field, samples, samples.folds())
    seen = [each for each in found if each.share > SMALL_SHARE]
    sure = [each.slope / max(each.error, 1e-3) for each in seen]
    return len(seen) < 2 or (
        max(sure) > SURELY
        and all(
            shown > CLASS_SHOWS or (best.mixture.multiplies and each.may_be_1)
            for shown, each in zip(sure, seen, strict=True)
        )
    )


def _slopes_of_groups(
    best: Candidate, part: Array, samples: Samples, folds: Array
) -> list[_GroupSlope]:
    """Return how far the dark and the bright classes show a part of the field."""
    mixture, field = best.mixture, best.field
    members = mixture.memberships(samples.values, field)
    without = mixture.deviations(samples.values, field - part)
    bright = is_bright(mixture.levels)
    found = []
    for group in (~bright, bright):
        weights = members[:, group].sum(axis=1)
        own = (members * mixture.amplitudes)[:, group].sum(axis=1) * part
        shown = (members * without)[:, group].sum(axis=1)
        slope, error = _slope(own, shown, weights, folds)
        found.append(_GroupSlope(slope, error, float(weights.mean())))
    return found


def _shows_nearby(best: Candidate, samples: Samples) -> bool:
    """Return whether places near each other in a slice, of one class, show the field.

    A specimen in layers can look like two classes and a slope; inside a layer there is none then.
    """
    if not best.is_in_plane:
        return True
    sure, _, expected, shown = _inside_parts(best, best.plane, samples, NEAR)
    slope, error = _slope(expected, shown, np.ones(len(shown)), samples.folds()[sure])
    return slope > LEAST_NEARBY and error < VAGUE


def _median_inside_parts(best: Candidate, part: Array, samples: Samples) -> float:
    """Return the slope on a part of the field that half of its small parts show at least."""
    _, groups, expected, shown = _inside_parts(best, part, samples, CLOSE)
    weights = np.bincount(groups, expected**2)
    is_seen = (np.bincount(groups) >= FEWEST_IN_PART) & (weights > 0)
    if not is_seen.any():
        return 0.0
    weights = weights[is_seen]
    slopes = np.bincount(groups, expected * shown)[is_seen] / weights
    return float(np.quantile(slopes, 0.5, weights=weights, method="inverted_cdf"))


def _inside_parts(
    best: Candidate, part: Array, samples: Samples, count: int
) -> tuple[Array, Array, Array, Array]:
    """Return what samples of one class differ by inside small parts of a slice.

    Parameters
    ----------
    best : Candidate
        The field, and the classes.
    part : ndarray, shape (samples,)
        What is asked for of the field.
    samples : Samples
        Of the stack.
    count : int
        Parts along y and along x.

    Returns
    -------
    sure : ndarray of bool, shape (samples,)
        Samples that are taken: those that are surely of a class, if there are enough.
    groups : ndarray of int, shape (taken,)
        Number of the part and class of each.
    expected, shown : ndarray, shape (taken,)
        What the field says, and what the sample has, against the mean of the group.
    """
    mixture, field = best.mixture, best.field
    members = mixture.memberships(samples.values, field)
    own = members.argmax(axis=1)
    amplitudes = mixture.amplitudes[own]
    said = amplitudes * part
    has = samples.values - mixture.levels[own] - amplitudes * (field - part)
    sure = members.max(axis=1) > SURE_MEMBER
    if np.count_nonzero(sure) < FEWEST_LEFT:
        sure[:] = True  # one material, in noise
    keys = np.column_stack([samples.parts(count), own])[sure]
    _, groups = np.unique(keys, axis=0, return_inverse=True)
    counts = np.bincount(groups)
    expected, shown = (
        values[sure] - (np.bincount(groups, values[sure]) / counts)[groups]
        for values in (said, has)
    )
    return sure, groups, expected, shown


def _slope(field: Array, shown: Array, weights: Array, folds: Array) -> tuple[float, float]:
    """Return the slope of what samples show on a field, and its standard error between folds.

    They are 0 and infinite where no sample counts.
    """

    def slope(taken: Array) -> float:
        total = weights[taken].sum()
        mean_x, mean_y = field[taken].sum() / total, shown[taken].sum() / total
        w = np.maximum(weights[taken], 1e-6)
        x, y = field[taken] - weights[taken] * mean_x, shown[taken] - weights[taken] * mean_y
        return float((x * y / w).sum() / max((x * x / w).sum(), 1e-9))

    numbers = np.unique(folds)
    outside = [weights[folds != fold].sum() for fold in numbers]
    if len(numbers) < 2 or min(outside) < FEWEST_WEIGHT:
        return 0.0, np.inf
    without = np.array([slope(folds != fold) for fold in numbers])
    error = np.sqrt((len(numbers) - 1) * without.var())
    return slope(np.ones(len(folds), bool)), float(error)
