"""Robust polynomial fits on grids of samples, streamed slice by slice.

The estimator is Huber's M-estimator by iteratively reweighted least squares, as in
Holland and Welsch, "Robust regression using iteratively reweighted least-squares"
(Commun. Stat. A6, 1977), with the constants and stopping rule of statsmodels' ``RLM``.
The design matrix is never built: on a grid its products are moments of the weights, a few
numbers per slice. A fit therefore takes the memory of one slice of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.background.polynomial import Basis, OrthogonalFrame
from pystack3d_dask.kernels.jit import compiled

WeightFunction = Literal["HuberT", "Hampel", "None"]

TOLERANCE = 1e-8
MAX_ITERATIONS = 50
RANK_TOLERANCE = 1e-13  # of eigenvalues, which are squares of singular values
NORMAL_QUARTILE = NormalDist().inv_cdf(0.75)  # median |r| of a unit normal

_HUBER_T = 1.345
_HAMPEL = (2.0, 4.0, 8.0)
_RADIX_SHIFT = np.uint64(46)  # keeps exponent and 6 bits of the mantissa of a double
_RADIX_BINS = 1 << 17


@dataclass(frozen=True)
class Plane:
    """The samples of one slice.

    Parameters
    ----------
    z : float
        Coordinate of the slice, 0 to 1.
    values : ndarray of float64, shape (len(y), len(x))
        Gray levels, NaN where a sample takes no part.
    """

    z: float
    values: Array


Planes = Callable[[], Iterable[Plane]]


@dataclass(frozen=True)
class PolynomialFit:
    """Result of a fit.

    Parameters
    ----------
    coefficients : ndarray of float64, shape (terms,)
        In the order of the basis; all 0 when there was no sample.
    scale : float
        Robust standard deviation of the residuals.
    iterations : int
        Fits made, the first, unweighted one included.
    converged : bool
        Whether the stopping rule was met before the largest number of iterations.
    count : int
        Samples that took part.
    """

    coefficients: Array
    scale: float
    iterations: int
    converged: bool
    count: int


def fit_polynomial(
    planes: Planes, basis: Basis, y: Array, x: Array, weights: WeightFunction = "HuberT"
) -> PolynomialFit:
    """Fit a polynomial to samples on a grid.

    Parameters
    ----------
    planes : callable
        Returns the samples slice by slice, the same each time it is called.
    basis : Basis
        Terms of the polynomial. Terms that the samples cannot tell apart get the
        solution of smallest norm.
    y, x : ndarray of float64
        Coordinates of the rows and columns of the grid.
    weights : {"HuberT", "Hampel", "None"}
        Weight function; "None" is plain least squares.

    Returns
    -------
    PolynomialFit
    """
    problem = _Problem(planes, basis, y, x)
    terms = len(basis.terms)
    count = sum(int(np.count_nonzero(~np.isnan(plane.values))) for plane in planes())
    if not count:
        return PolynomialFit(np.zeros(terms), 0.0, 0, True, 0)
    solution = np.zeros(terms)
    for _ in range(2):  # the second pass takes back the rounding of the first
        update = problem.update(solution, _unit_weights)
        solution = solution + update.step
    scale, iterations, converged = 0.0, 1, True
    if weights != "None":
        freedom = max(count - terms, 1)
        start = (solution, update.squares / freedom)
        solution, scale, iterations, converged = _reweight(problem, start, count, freedom, weights)
    coefficients = _smallest(problem.frame.conversion, solution, update.undetermined)
    return PolynomialFit(coefficients, scale, iterations, converged, count)


def _smallest(conversion: Array, solution: Array, undetermined: Array) -> Array:
    """Return the smallest coefficients of monomials among all solutions of one fit."""
    free = conversion @ undetermined
    particular = conversion @ solution
    return np.asarray(particular - free @ np.linalg.lstsq(free, particular)[0])


def _reweight(
    problem: _Problem,
    start: tuple[Array, float],
    count: int,
    freedom: int,
    weights: WeightFunction,
) -> tuple[Array, float, int, bool]:
    weigh, loss = _NORMS[weights]
    (solution, variance), deviance, iterations = start, np.inf, 1
    while (scale := problem.scale(solution, count)) > 0 and variance > 0:
        # statsmodels divides by the variance here, not by the scale; it decides when to stop
        before, deviance = deviance, problem.deviance(solution, variance, loss)
        converged = abs(deviance - before) <= TOLERANCE
        if converged or iterations >= MAX_ITERATIONS:
            return solution, scale, iterations, converged
        update = problem.update(solution, weigh, scale)
        solution, variance = solution + update.step, update.squares / freedom
        iterations += 1
    return solution, 0.0, iterations, True


def median_of(chunks: Callable[[], Iterable[Array]], count: int) -> float:
    """Return the exact median of non-negative values that come in chunks, in two passes.

    Parameters
    ----------
    chunks : callable
        Returns the values as float64 arrays, the same each time it is called.
    count : int
        How many there are in all, at least 1.

    Notes
    -----
    Non-negative doubles sort like their bit patterns, so a histogram of the leading bits
    finds the bins that hold the middle ranks; only their values are collected and sorted.
    """
    histogram = np.zeros(_RADIX_BINS, np.int64)
    for values in chunks():
        histogram += np.bincount(_radix(values), minlength=_RADIX_BINS)
    below = np.cumsum(histogram)
    low_rank, high_rank = (count - 1) // 2, count // 2
    first, last = np.searchsorted(below, [low_rank, high_rank], side="right")
    middle = np.concatenate([_within_bins(values, first, last) for values in chunks()])
    middle.sort()
    skipped = below[first] - histogram[first]
    return float((middle[low_rank - skipped] + middle[high_rank - skipped]) / 2)


def _radix(values: Array) -> Array:
    return (values.view(np.uint64) >> _RADIX_SHIFT).astype(np.intp)


def _within_bins(values: Array, first: int, last: int) -> Array:
    radix = _radix(values)
    return values[(radix >= first) & (radix <= last)]


_Weigh = Callable[[Array], Array]


def _unit_weights(residuals: Array) -> Array:
    return np.ones_like(residuals)


def _huber_weights(residuals: Array) -> Array:
    return _HUBER_T / np.maximum(np.abs(residuals), _HUBER_T)


def _huber_loss(residuals: Array) -> Array:
    size = np.abs(residuals)
    inner = np.minimum(size, _HUBER_T)
    return inner * (size - inner / 2)


def _hampel_weights(residuals: Array) -> Array:
    a, b, c = _HAMPEL
    size = np.abs(residuals)
    slope = a * np.clip((c - size) / (c - b), 0, 1)
    return np.where(size <= a, 1.0, slope / np.maximum(size, a))


def _hampel_loss(residuals: Array) -> Array:
    a, b, c = _HAMPEL
    size = np.abs(residuals)
    inner = np.minimum(size, a)
    tail = np.clip(c - size, 0, c - b)
    flat = np.clip(size, a, b) - a
    return inner**2 / 2 + a * flat + a * ((c - b) ** 2 - tail**2) / (2 * (c - b))


_NORMS: dict[str, tuple[_Weigh, _Weigh]] = {
    "HuberT": (_huber_weights, _huber_loss),
    "Hampel": (_hampel_weights, _hampel_loss),
}


@dataclass(frozen=True)
class _Update:
    """A step to the weighted least squares solution.

    Parameters
    ----------
    step : ndarray of float64, shape (terms,)
        To be added to the solution.
    squares : float
        Sum of the weighted squares of the residuals that are left.
    undetermined : ndarray of float64, shape (terms, n)
        Orthonormal directions that the samples say nothing about.
    """

    step: Array
    squares: float
    undetermined: Array


class _Problem:
    """The sums over all samples that the iterations need, one pass over the planes each.

    Solutions are combinations of the columns of ``frame.span``.
    """

    def __init__(self, planes: Planes, basis: Basis, y: Array, x: Array) -> None:
        self.frame = OrthogonalFrame(basis)
        self._planes = planes
        self._x, self._y = self.frame.values(x, 0), self.frame.values(y, 1)
        self._xx, self._yy = _pairs(self._x), _pairs(self._y)

    def update(self, solution: Array, weigh: _Weigh, scale: float = 1.0) -> _Update:
        """Return the step to the solution for the weights of the present residuals."""
        squares = 0.0
        nx, ny, nz = (order + 1 for order in self.frame.orders)
        matrix, vector = np.zeros((nx, ny, nz, nx, ny, nz)), np.zeros((nx, ny, nz))
        for z, residuals, valid in self._residuals(solution):
            weights = np.where(valid, weigh(residuals / scale), 0.0)
            second = np.zeros((ny * ny, nx * nx))
            first = np.zeros((ny, nx))
            _add_moments(weights, self._yy, self._xx, second)
            weights *= residuals
            squares += float(np.sum(weights * residuals))
            _add_moments(weights, self._y, self._x, first)
            matrix += np.einsum("mnil,k,o->imklno", second.reshape(ny, ny, nx, nx), z, z)
            vector += np.einsum("ji,k->ijk", first, z)
        span = self.frame.span
        products = len(span)
        normal = span.T @ matrix.reshape(products, products) @ span
        gradient = span.T @ vector.ravel()
        sizes, directions = np.linalg.eigh(normal)
        is_known = sizes > RANK_TOLERANCE * sizes[-1]
        known = directions[:, is_known]
        step = known @ ((known.T @ gradient) / sizes[is_known])
        return _Update(step, squares - float(gradient @ step), directions[:, ~is_known])

    def scale(self, solution: Array, count: int) -> float:
        """Return the median absolute residual as the standard deviation of a normal."""
        return median_of(lambda: self._sizes(solution), count) / NORMAL_QUARTILE

    def deviance(self, solution: Array, scale: float, loss: _Weigh) -> float:
        """Return the sum of the losses."""
        return sum(
            float(np.sum(loss(residuals / scale), where=valid))
            for _, residuals, valid in self._residuals(solution)
        )

    def _sizes(self, solution: Array) -> Iterator[Array]:
        for _, residuals, valid in self._residuals(solution):
            yield np.abs(residuals[valid])

    def _residuals(self, solution: Array) -> Iterator[tuple[Array, Array, Array]]:
        tensor = self.frame.tensor(solution)
        for plane in self._planes():
            z = self.frame.values(np.array([plane.z]), 2)[0]
            surface = np.einsum("ijk,k->ji", tensor, z)
            residuals = np.empty(plane.values.shape)
            _subtract_surface(plane.values, self._y, self._x, surface, residuals)
            valid = ~np.isnan(residuals)
            residuals[~valid] = 0.0
            yield z, residuals, valid


def _pairs(values: Array) -> Array:
    points, functions = values.shape
    return (values[:, :, np.newaxis] * values[:, np.newaxis, :]).reshape(points, functions**2)


# Sums by kernels of our own, not by matrix products: BLAS adds in another order when it has
# another number of threads.


@compiled()
def _add_moments(values: Array, y: Array, x: Array, out: Array) -> None:
    """Add the sums of ``values * y[:, j] * x[:, i]`` over a grid to ``out[j, i]``."""
    row = np.empty(x.shape[1])
    for r in range(values.shape[0]):
        row[:] = 0.0
        for c in range(values.shape[1]):
            value = values[r, c]
            for i in range(row.size):
                row[i] += value * x[c, i]
        for j in range(y.shape[1]):
            for i in range(row.size):
                out[j, i] += y[r, j] * row[i]


@compiled()
def _subtract_surface(values: Array, y: Array, x: Array, surface: Array, out: Array) -> None:
    """Subtract the sum of ``surface[j, i] * y[:, j] * x[:, i]`` from the values of a grid."""
    row = np.empty(x.shape[1])
    for r in range(values.shape[0]):
        row[:] = 0.0
        for j in range(y.shape[1]):
            for i in range(row.size):
                row[i] += y[r, j] * surface[j, i]
        for c in range(values.shape[1]):
            total = 0.0
            for i in range(row.size):
                total += row[i] * x[c, i]
            out[r, c] = values[r, c] - total
