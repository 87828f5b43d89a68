"""The search for a field: terms are added as long as they predict samples that were left out.

What is left out is larger than the pores and grains that neighboring samples share, and as large as
the details of the field allow: quarters of the slices along y and x for the lowest orders, smaller
tiles that are spread over the slices for higher ones, which no other orders could predict. Small
tiles predict each other in a specimen, too, so that higher orders have to pass more tests
(`field_judgment.details_agree`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.background.class_mixture import ClassMixture
from pystack3d_dask.kernels.background.field_candidate import STEPS_LEFT_OUT, Candidate
from pystack3d_dask.kernels.background.field_judgment import FEWEST_LEFT, details_agree
from pystack3d_dask.kernels.background.field_samples import Samples
from pystack3d_dask.kernels.background.field_terms import Term, terms_at, terms_of

PLANE_ORDERS = (1, 2, 3, 4)
DETAIL_ORDERS = (6, 8, 10, 12)
DEPTH_ORDERS = (1, 2, 3)
SMALL_TILES = 12  # along y and x, for details
FEWEST_SLICES = 12  # of a stack, for terms along z
FEWEST_FOLDS = 4
CLASSES = (2, 3)
SMALL = 0.02  # quantile of samples, at which a small class may lie
STEPS, STEPS_MORE = 40, 15
THIN = 3  # every how many samples decide between starts
PENALTY = 0.01  # of log likelihood, for each class
SURE = 2.0  # standard errors of the gain in log likelihood
WORTHWHILE = 0.003  # gain in log likelihood of a sample


@dataclass(frozen=True)
class _Stage:
    """Orders that are tried one after the other.

    Parameters
    ----------
    orders : tuple of int
        Total degrees in the plane, or orders along z.
    folds : ndarray of int, shape (samples,)
        Samples that are left out together.
    along_z : bool
        Whether orders are added along z, to those in the plane.
    patience : int
        Orders without a gain, after which no further ones are tried.
    is_detailed : bool
        Whether they have to pass more tests.
    """

    orders: tuple[int, ...]
    folds: Array
    along_z: bool = False
    patience: int = 2
    is_detailed: bool = False


def search(
    samples: Samples, depth: int, alone: ClassMixture, span: float, multiplies: bool
) -> Candidate:
    """Return the field that predicts left-out places best, order by order.

    Parameters
    ----------
    samples : Samples
        Of the stack.
    depth : int
        Slices of the stack.
    alone : ClassMixture
        Classes without a field, see `classes_alone`.
    span : float
        Of the gray levels.
    multiplies : bool
        Whether the field multiplies, or is added.
    """
    now = Candidate.without_field(replace(alone, multiplies=multiplies), len(samples.values))
    degree = 0
    for stage in _stages(samples, depth):
        before, _ = _left_out(alone, samples.values, now.design[:, :0], stage.folds)
        held = before
        if now.terms:
            held, _ = _left_out(now.mixture, samples.values, now.design, stage.folds)
        failed = 0
        for order in stage.orders:
            terms = terms_of(degree, order) if stage.along_z else terms_of(order)
            found, predicted = _fitted(samples, now, terms, span, stage)
            gain, error = _gained(predicted, held, stage.folds)
            if gain > max(SURE * error, WORTHWHILE) and (
                not stage.is_detailed or details_agree(found, now, samples, stage.folds)
            ):
                total = _gained(predicted, before, stage.folds)[0]
                now, held, failed = replace(found, gained=total), predicted, 0
                degree = degree if stage.along_z else order
            else:
                failed += 1
            if failed == stage.patience:
                break
    return now


def classes_alone(samples: Samples, span: float) -> ClassMixture:
    """Return the classes of samples, one at least, without a field."""
    starts = (
        ClassMixture.around(levels, span)
        for count in (1, *CLASSES)
        for levels in _starts(samples, count)
    )
    return _best(starts, samples.values, np.zeros((len(samples.values), 0)))


def _stages(samples: Samples, depth: int) -> Iterator[_Stage]:
    yield _Stage(PLANE_ORDERS, samples.folds())
    yield _Stage(DETAIL_ORDERS, samples.folds(SMALL_TILES), patience=1, is_detailed=True)
    if depth >= FEWEST_SLICES:
        yield _Stage(DEPTH_ORDERS, samples.slabs, along_z=True)


def _fitted(
    samples: Samples, now: Candidate, terms: tuple[Term, ...], span: float, stage: _Stage
) -> tuple[Candidate, Array]:
    """Return a field of other terms, and the log likelihood of each fold by the others."""
    design = terms_at(samples.places, terms)
    design -= design.mean(axis=0)
    starts = _begin(samples, now, terms, span, stage.is_detailed)
    mixture = _best(starts, samples.values, design)
    predicted, folded = _left_out(mixture, samples.values, design, stage.folds)
    return Candidate(mixture, terms, design, folded, 0.0), predicted


def _begin(
    samples: Samples, now: Candidate, terms: tuple[Term, ...], span: float, is_detailed: bool
) -> Iterator[ClassMixture]:
    """Yield mixtures to begin with: at several levels, and as they are with fewer terms.

    Details begin with the levels that are known, if there is a field already.
    """
    if not (now.terms and is_detailed):
        for count in CLASSES:
            for levels in _starts(samples, count):
                multiplies = now.mixture.multiplies
                yield ClassMixture.around(levels, span, len(terms), multiplies=multiplies)
    if now.terms:
        known = dict(zip(now.terms, now.mixture.coefficients, strict=True))
        coefficients = np.array([known.get(term, 0.0) for term in terms])
        yield replace(now.mixture, coefficients=coefficients)


def _best(starts: Iterable[ClassMixture], values: Array, design: Array) -> ClassMixture:
    """Return the most likely mixture of those that are reached from some starts."""
    some, seen = values[::THIN], design[::THIN]

    def likelihood(mixture: ClassMixture) -> float:
        found = mixture.log_likelihood(some, seen).mean()
        return float(found) - PENALTY * len(mixture.levels)

    best = max((start.fitted(some, seen, STEPS) for start in starts), key=likelihood)
    return best.fitted(values, design, STEPS_MORE)


def _starts(samples: Samples, count: int) -> Iterator[Array]:
    """Yield levels of classes: quantiles, and those of what is left without a quadratic.

    Small classes are dark or bright ones, far from all others.
    """
    shares = (np.arange(count) + 0.5) / count
    yield np.quantile(samples.values, shares)
    if count > 1:
        yield np.quantile(samples.values, [SMALL, *shares[1:]])
        yield np.quantile(samples.values, [*shares[:-1], 1 - SMALL])
    design = terms_at(samples.places, terms_of(2))
    design = np.column_stack([np.ones(len(design)), design])
    smooth = design @ np.linalg.lstsq(design, samples.values)[0]
    yield np.quantile(samples.values - smooth, shares) + samples.values.mean()


def _left_out(
    mixture: ClassMixture, values: Array, design: Array, folds: Array
) -> tuple[Array, Array]:
    """Return the log likelihood of each fold by the others, and the coefficients of these."""
    found, coefficients = np.full(len(values), np.nan), []
    for fold in np.unique(folds):
        others = folds != fold
        if np.count_nonzero(others) > FEWEST_LEFT:
            fit = mixture.fitted(values[others], design[others], STEPS_LEFT_OUT)
            found[~others] = fit.log_likelihood(values[~others], design[~others])
            coefficients.append(fit.coefficients)
    return found, np.array(coefficients)


def _gained(found: Array, before: Array, folds: Array) -> tuple[float, float]:
    """Return the mean gain of samples, and its standard error between folds."""
    gains = found - before
    known = np.isfinite(gains)
    numbers = np.unique(folds[known])
    if len(numbers) < FEWEST_FOLDS:
        return 0.0, np.inf
    counts = np.array([np.count_nonzero(folds[known] == fold) for fold in numbers])
    means = np.array([gains[known][folds[known] == fold].mean() for fold in numbers])
    gain = float((counts * means).sum() / counts.sum())
    spread = (counts**2 * (means - gain) ** 2).sum() * len(counts) / (len(counts) - 1)
    return gain, float(np.sqrt(spread) / counts.sum()) + 1e-9
