"""The smooth field that all classes of gray levels share: found, tested, or left alone.

Terms are added as long as they predict samples of places that were left out; and each class by
itself has to show the field, since what differs within one class is the specimen's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from pystack3d_dask.core.typing import Array, Triple
from pystack3d_dask.kernels.background.class_mixture import ClassMixture
from pystack3d_dask.kernels.background.flat_places import FlatPlaces
from pystack3d_dask.kernels.jit import compiled

Term = tuple[int, int, int]

FEWEST_SAMPLES = 1000
FEWEST_LEFT = 200  # samples, of which a fit is made without a fold
NOTHING = np.zeros((1, 1, 1))  # coefficients
SMALLEST = 64  # rows and columns
TILES = 4  # along y and x, left out one by one for the orders in the plane
SLABS = 6  # along z, left out one by one for the orders along z
PLANE_ORDERS = (1, 2, 3, 4)
DEPTH_ORDERS = (1, 2, 3)
FEWEST_SLICES = 12  # of a stack, for terms along z
CLASSES = (2, 3)
STEPS, STEPS_MORE, STEPS_LEFT_OUT = 40, 15, 6
THIN = 3  # every how many samples decide between starts
PENALTY = 0.01  # of log likelihood, for each class
SURE = 2.0  # standard errors of the gain in log likelihood
WORTHWHILE = 0.003  # gain in log likelihood of a sample
CLASS_SHOWS = 2.5  # standard errors of a class's slope on the field
NEAR = 8  # parts along y and x, inside which a class has to show the field, too
LEAST_NEARBY, VAGUE = 0.5, 0.5  # slope on the field there, and the error that says nothing
UNSURE, SURELY = 0.6, 5.0  # standard error of a slope that says nothing; what another one must show
SURE_MEMBER = 0.9  # probability of a class, from which a sample counts as of it
SMALL_SHARE = 0.08  # of samples: a group that is not asked
UNRESOLVED = 0.5  # share of the variance that is inside places, above which nothing is told
NOTICEABLE = 0.01  # of the span of gray levels
LEAST_FACTOR = 0.3  # that slices are divided by


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


@dataclass(frozen=True)
class Samples:
    """Gray levels at some places.

    Parameters
    ----------
    values : ndarray of float64, shape (samples,)
        Means of small flat places.
    places : ndarray of float64, shape (samples, 3)
        Along z, y and x, each from 0 to 1.
    inside : float
        Variance of pixels inside the places.
    """

    values: Array
    places: Array
    inside: float = 0.0

    @classmethod
    def of_slices(cls, seen: Mapping[float, FlatPlaces], fill: Sequence[float] = ()) -> Samples:
        """Return the flat places of slices.

        Parameters
        ----------
        seen : mapping of float to FlatPlaces
            By the place of the slice along z, from 0 to 1.
        fill : sequence of float
            Gray levels that only fill slices up, and do not count.
        """
        values = np.concatenate([np.empty(0), *(each.values for each in seen.values())])
        places = [
            np.column_stack([np.full(len(each.values), z), each.places]) for z, each in seen.items()
        ]
        counted = ~np.isin(values, fill)
        inside = float(np.mean([each.inside for each in seen.values()])) if seen else 0.0
        return cls(values[counted], np.concatenate([np.empty((0, 3)), *places])[counted], inside)

    @property
    def tiles(self) -> Array:
        """Number of the tile of each sample."""
        y, x = np.minimum((self.places[:, 1:] * TILES).astype(int), TILES - 1).T
        return np.asarray(y * TILES + x)

    @property
    def slabs(self) -> Array:
        """Number of the slab of each sample."""
        return np.asarray((self.places[:, 0] * SLABS).astype(int))


@dataclass(frozen=True)
class SharedField:
    """A field and why it is applied, or why not.

    Parameters
    ----------
    coefficients : ndarray of float64, shape (orders along z, y, x)
        Of products of Legendre polynomials over -1 to 1; all 0 where nothing is to be done.
    multiplies : bool
        Whether slices are divided by ``1 + field``, or the field is subtracted.
    levels : tuple of float
        Gray levels of the classes.
    explained : float
        Share of the slow variation of places that were left out; NaN without a field.
    error : float
        Its standard error.
    verdict : Verdict
        Whether it is to be removed, and why not.
    """

    coefficients: Array
    multiplies: bool = False
    levels: tuple[float, ...] = ()
    explained: float = np.nan
    error: float = np.nan
    verdict: Verdict = Verdict.FOUND


@dataclass(frozen=True)
class _Candidate:
    """A fit, and how it predicts what was left out."""

    mixture: ClassMixture
    terms: tuple[Term, ...]
    design: Array
    folded: Array  # coefficients of each fold, shape (folds, terms)
    gained: float  # log likelihood of a sample, over that without a field

    @property
    def shrunk(self) -> ClassMixture:
        """The mixture with coefficients nearer to 0 the less sure they are."""
        if not self.terms:
            return self.mixture
        count = len(self.folded)
        variance = (count - 1) * self.folded.var(axis=0)
        coefficients = self.mixture.coefficients
        keep = np.clip(1 - variance / np.maximum(coefficients**2, 1e-12), 0, 1)
        return replace(self.mixture, coefficients=coefficients * keep)


def find_field(
    samples: Samples, shape: Triple, models: Sequence[bool] = (True, False)
) -> SharedField:
    """Return the field that all classes of a stack share.

    Parameters
    ----------
    samples : Samples
        Of the stack.
    shape : tuple of int
        Slices, rows and columns of the stack.
    models : sequence of bool
        Whether fields that multiply, or that are added, are tried.

    Returns
    -------
    SharedField
        Zero over the samples on average.
    """
    span = float(np.ptp(np.quantile(samples.values, [0.005, 0.995]))) if samples.values.size else 0
    if len(samples.values) < FEWEST_SAMPLES or span <= 0 or min(shape[1:]) < SMALLEST:
        return SharedField(NOTHING, verdict=Verdict.TOO_LITTLE)
    if samples.inside > UNRESOLVED * (samples.inside + samples.values.var()):
        return SharedField(NOTHING, verdict=Verdict.UNRESOLVED)
    alone = _best(
        [
            ClassMixture.around(levels, span)
            for count in (1, *CLASSES)
            for levels in _starts(samples, count)
        ],
        samples.values,
        np.zeros((len(samples.values), 0)),
    )
    candidates = [_search(samples, shape, alone, span, multiplies) for multiplies in models]
    best = max(candidates, key=lambda each: each.gained)
    verdict = _verdict(best, samples, span)
    levels = tuple(best.mixture.levels.round(2).tolist())
    if verdict != Verdict.FOUND:
        return SharedField(
            NOTHING, multiplies=best.mixture.multiplies, levels=levels, verdict=verdict
        )
    mixture = best.shrunk
    coefficients = _array_of(best.terms, mixture.coefficients)
    coefficients[0, 0, 0] = -(_terms_at(samples.places, best.terms) @ mixture.coefficients).mean()
    return SharedField(coefficients, mixture.multiplies, levels, *_explained(best, samples))


def field_row_terms(coefficients: Array, z: int, shape: Triple) -> Array:
    """Return a field in one slice as polynomials of the column, one for each row.

    Parameters
    ----------
    coefficients : ndarray, shape (orders along z, y, x)
        See `SharedField`.
    z : int
        The slice.
    shape : tuple of int
        Slices, rows and columns of the stack.

    Returns
    -------
    ndarray of float64, shape (rows, orders along x)
        Of powers of the column's place, which goes from -1 at the left to 1 at the right edge.
    """
    legendre = np.polynomial.legendre
    depth, height, _ = (2 * (np.arange(count) + 0.5) / count - 1 for count in shape)
    plane = np.tensordot(
        legendre.legvander(depth[z : z + 1], coefficients.shape[0] - 1)[0], coefficients, 1
    )
    rows = legendre.legvander(height, coefficients.shape[1] - 1) @ plane
    to_powers = np.zeros((rows.shape[1],) * 2)
    for order, unit in enumerate(np.eye(rows.shape[1])):
        powers = legendre.leg2poly(unit)
        to_powers[order, : len(powers)] = powers
    return np.asarray(rows @ to_powers)


@compiled()
def without_field(image: Array, rows: Array, multiplies: bool, out: Array) -> None:
    """Write a slice without a field.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        The slice.
    rows : ndarray of float64, shape (rows, orders along x)
        See `field_row_terms`.
    multiplies : bool
        Whether the slice is divided by ``1 + field``, `LEAST_FACTOR` at least, or the field is
        subtracted.
    out : ndarray of float, shape (rows, columns)
        Receives the result.
    """
    columns, orders = image.shape[1], rows.shape[1]
    for y in range(image.shape[0]):
        for x in range(columns):
            place = (2 * x + 1) / columns - 1
            field = rows[y, orders - 1]
            for order in range(orders - 2, -1, -1):
                field = field * place + rows[y, order]
            if multiplies:
                out[y, x] = image[y, x] / max(1 + field, LEAST_FACTOR)
            else:
                out[y, x] = image[y, x] - field


def _verdict(best: _Candidate, samples: Samples, span: float) -> Verdict:
    """Return whether the best field is one that can be removed without harm."""
    if not best.terms:
        return Verdict.INSIGNIFICANT
    mixture = best.shrunk
    if not _shows_nearby(mixture, samples, best.terms, best.design):
        return Verdict.NOT_NEARBY
    if not _classes_agree(mixture, samples, best.design):
        return Verdict.NOT_SHARED
    field = best.design @ mixture.coefficients
    size = field.std() * (samples.values.mean() if mixture.multiplies else 1)
    return Verdict.FOUND if size >= NOTICEABLE * span else Verdict.FAINT


def _search(
    samples: Samples, shape: Triple, alone: ClassMixture, span: float, multiplies: bool
) -> _Candidate:
    """Return the terms that predict left-out places best, order by order."""
    none = np.zeros((len(samples.values), 0))
    now = _Candidate(replace(alone, multiplies=multiplies), (), none, np.zeros((0, 0)), 0.0)
    degree = 0
    for axis, orders in (("plane", PLANE_ORDERS), ("depth", DEPTH_ORDERS)):
        if axis == "depth" and shape[0] < FEWEST_SLICES:
            break
        folds = samples.tiles if axis == "plane" else samples.slabs
        before, _ = _left_out(alone, samples.values, none, folds)
        held = before
        if now.terms:
            held, _ = _left_out(now.mixture, samples.values, now.design, folds)
        failed = 0
        for order in orders:
            terms = _terms(order, 0) if axis == "plane" else _terms(degree, order)
            design = _terms_at(samples.places, terms)
            design -= design.mean(axis=0)
            mixture = _best(_begin(samples, now, terms, span, multiplies), samples.values, design)
            found, folded = _left_out(mixture, samples.values, design, folds)
            gain, error = _gained(found, held, folds)
            if gain > max(SURE * error, WORTHWHILE):
                total = _gained(found, before, folds)[0]
                now, held, failed = _Candidate(mixture, terms, design, folded, total), found, 0
                degree = order if axis == "plane" else degree
            else:
                failed += 1
            if failed == 2:
                break
    return now


def _begin(
    samples: Samples, now: _Candidate, terms: tuple[Term, ...], span: float, multiplies: bool
) -> Iterator[ClassMixture]:
    """Yield mixtures to begin with: at several levels, and as they are with fewer terms."""
    for count in CLASSES:
        for levels in _starts(samples, count):
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
    """Yield levels of classes: quantiles, and those of what is left without a quadratic."""
    shares = (np.arange(count) + 0.5) / count
    yield np.quantile(samples.values, shares)
    design = _terms_at(samples.places, _terms(2, 0))
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
    if len(numbers) < 4:
        return 0.0, np.inf
    counts = np.array([np.count_nonzero(folds[known] == fold) for fold in numbers])
    means = np.array([gains[known][folds[known] == fold].mean() for fold in numbers])
    gain = float((counts * means).sum() / counts.sum())
    spread = (counts**2 * (means - gain) ** 2).sum() * len(counts) / (len(counts) - 1)
    return gain, float(np.sqrt(spread) / counts.sum()) + 1e-9


def _classes_agree(mixture: ClassMixture, samples: Samples, design: Array) -> bool:
    """Return whether the dark and the bright classes show the field, each by itself."""
    field, values = design @ mixture.coefficients, samples.values
    members = mixture.memberships(values, field)
    amplitudes = mixture.amplitudes
    without = mixture.deviations(values, 0 * field)
    middle = (mixture.levels.min() + mixture.levels.max()) / 2
    seen = []
    for group in (mixture.levels < middle, mixture.levels >= middle):
        weights = members[:, group].sum(axis=1)
        if weights.mean() <= SMALL_SHARE:
            continue
        own = (members * amplitudes)[:, group].sum(axis=1) * field
        shown = (members * without)[:, group].sum(axis=1)
        seen.append(_slope(own, shown, weights, samples.tiles))
    sure = [slope / max(error, 1e-3) for slope, error in seen]
    return len(seen) < 2 or all(
        each > CLASS_SHOWS or (mixture.multiplies and error > UNSURE and max(sure) > SURELY)
        for each, (_, error) in zip(sure, seen, strict=True)
    )


def _shows_nearby(
    mixture: ClassMixture, samples: Samples, terms: Sequence[Term], design: Array
) -> bool:
    """Return whether places near each other in a slice, of one class, show the field.

    A specimen in layers can look like two classes and a slope; inside a layer there is none then.
    """
    in_plane = np.array([z == 0 for z, _, _ in terms])
    if not in_plane.any():
        return True
    field = design @ mixture.coefficients
    members = mixture.memberships(samples.values, field)
    own = members.argmax(axis=1)
    plane = design[:, in_plane] @ mixture.coefficients[in_plane]
    expected = mixture.amplitudes[own] * plane
    shown = samples.values - mixture.levels[own] - mixture.amplitudes[own] * (field - plane)
    sure = members.max(axis=1) > SURE_MEMBER
    if np.count_nonzero(sure) < FEWEST_LEFT:
        sure[:] = True  # one material, in noise
    y, x = np.minimum((samples.places[:, 1:] * NEAR).astype(int), NEAR - 1).T
    keys = np.stack([samples.places[:, 0], y, x, own], axis=1)[sure]
    _, groups = np.unique(keys, axis=0, return_inverse=True)
    counts = np.bincount(groups)
    expected, shown = (
        values[sure] - (np.bincount(groups, values[sure]) / counts)[groups]
        for values in (expected, shown)
    )
    slope, error = _slope(expected, shown, np.ones(len(shown)), samples.tiles[sure])
    return slope > LEAST_NEARBY and error < VAGUE


def _slope(field: Array, shown: Array, weights: Array, tiles: Array) -> tuple[float, float]:
    """Return the slope of what samples show on a field, and its standard error between tiles."""

    def slope(taken: Array) -> float:
        total = weights[taken].sum()
        mean_x, mean_y = field[taken].sum() / total, shown[taken].sum() / total
        w = np.maximum(weights[taken], 1e-6)
        x, y = field[taken] - weights[taken] * mean_x, shown[taken] - weights[taken] * mean_y
        return float((x * y / w).sum() / max((x * x / w).sum(), 1e-9))

    numbers = np.unique(tiles)
    if len(numbers) < 2:
        return 0.0, np.inf
    folds = np.array([slope(tiles != tile) for tile in numbers])
    error = np.sqrt((len(numbers) - 1) * folds.var())
    return slope(np.ones(len(tiles), bool)), float(error)


def _explained(best: _Candidate, samples: Samples) -> tuple[float, float]:
    """Return the share of the slow variation that a field explains where it was left out."""
    is_in_plane = any(z == 0 for z, _, _ in best.terms)
    field = best.design @ best.mixture.coefficients
    members = best.mixture.memberships(samples.values, field)
    folds = samples.tiles if is_in_plane else samples.slabs
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


def _terms(degree: int, depth: int) -> tuple[Term, ...]:
    """Return powers (z, y, x): of a total degree in the plane, and up to a depth along z."""
    plane = [(0, y, x) for x in range(degree + 1) for y in range(degree + 1 - x) if x + y]
    return (*plane, *((z, 0, 0) for z in range(1, depth + 1)))


def _terms_at(places: Array, terms: Sequence[Term]) -> Array:
    """Return products of Legendre polynomials at places, shape (places, terms)."""
    top = max(max(term) for term in terms)
    z, y, x = (np.polynomial.legendre.legvander(2 * axis - 1, top) for axis in places.T)
    return np.stack([z[:, a] * y[:, b] * x[:, c] for a, b, c in terms], axis=1)


def _array_of(terms: Sequence[Term], coefficients: Array) -> Array:
    """Return coefficients as an array over the orders along z, y and x."""
    found = np.zeros(tuple(np.max(terms, axis=0) + 1))
    for term, coefficient in zip(terms, coefficients, strict=True):
        found[term] = coefficient
    return found
