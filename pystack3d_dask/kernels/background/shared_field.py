"""The smooth field that all classes of gray levels share: found, tested, or left alone.

Terms are added as long as they predict samples of places that were left out (`field_search`); and
each class by itself has to show the field, since what differs within one class is the specimen's
(`field_judgment`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pystack3d_dask.core.typing import Array, Triple
from pystack3d_dask.kernels.background.class_mixture import ClassMixture
from pystack3d_dask.kernels.background.field_judgment import (
    Verdict,
    explained,
    is_unresolved,
    verdict_on,
)
from pystack3d_dask.kernels.background.field_samples import Samples
from pystack3d_dask.kernels.background.field_search import classes_alone, search
from pystack3d_dask.kernels.background.field_terms import array_of, terms_at
from pystack3d_dask.kernels.jit import compiled

FEWEST_SAMPLES = 1000
SMALLEST = 64  # rows and columns
NOTHING = np.zeros((1, 1, 1))  # coefficients
BEYOND = 0.1  # of its range over the samples, by which a field may leave this between them
LEAST_FACTOR = 0.3  # that slices are divided by


@dataclass(frozen=True)
class SharedField:
    """A field and why it is applied, or why not.

    Parameters
    ----------
    coefficients : ndarray of float64, shape (orders along z, y, x)
        Of products of Legendre polynomials over -1 to 1; all 0 where nothing is to be done.
    limits : tuple of float
        Least and largest value that it has: where no samples are, polynomials know no bounds.
    multiplies : bool
        Whether slices are divided by ``1 + field``, or the field is subtracted.
    classes : ClassMixture, optional
        Gray levels without the field, also where it is not to be removed; None where too little
        is seen.
    explained : float
        Share of the slow variation of places that were left out; NaN without a field.
    error : float
        Its standard error.
    verdict : Verdict
        Whether it is to be removed, and why not.
    """

    coefficients: Array
    limits: tuple[float, float] = (0.0, 0.0)
    multiplies: bool = False
    classes: ClassMixture | None = None
    explained: float = np.nan
    error: float = np.nan
    verdict: Verdict = Verdict.FOUND


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
    if is_unresolved(samples):
        return SharedField(NOTHING, verdict=Verdict.UNRESOLVED)
    alone = classes_alone(samples, span)
    candidates = [search(samples, shape[0], alone, span, multiplies) for multiplies in models]
    best = max(candidates, key=lambda each: each.gained)
    multiplies = best.mixture.multiplies
    verdict = verdict_on(best, samples, span)
    if verdict != Verdict.FOUND:
        return SharedField(NOTHING, multiplies=multiplies, classes=best.mixture, verdict=verdict)
    sure = best.shrunk
    coefficients = array_of(sure.terms, sure.mixture.coefficients)
    means = terms_at(samples.places, sure.terms).mean(axis=0)
    coefficients[0, 0, 0] = -(means @ sure.mixture.coefficients)
    low, high = sure.field.min(), sure.field.max()
    margin = BEYOND * (high - low)
    limits = float(low - margin), float(high + margin)
    return SharedField(coefficients, limits, multiplies, sure.mixture, *explained(best, samples))


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
def without_field(
    image: Array,
    first: int,
    width: int,
    rows: Array,
    low: float,
    high: float,
    multiplies: bool,
    out: Array,
) -> None:
    """Write part of a slice without a field.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Part of the slice.
    first, width : int
        Its first column, and the columns of the whole slice.
    rows : ndarray of float64, shape (rows, orders along x)
        See `field_row_terms`.
    low, high : float
        Least and largest value of the field.
    multiplies : bool
        Whether it is divided by ``1 + field``, `LEAST_FACTOR` at least, or the field is
        subtracted.
    out : ndarray of float, shape (rows, columns)
        Receives the result.
    """
    orders = rows.shape[1]
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            place = (2 * (first + x) + 1) / width - 1
            field = rows[y, orders - 1]
            for order in range(orders - 2, -1, -1):
                field = field * place + rows[y, order]
            field = min(max(field, low), high)
            if multiplies:
                out[y, x] = image[y, x] / max(1 + field, LEAST_FACTOR)
            else:
                out[y, x] = image[y, x] - field
