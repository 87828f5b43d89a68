"""The terms of a field: products of Legendre polynomials along z, y and x."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pystack3d_dask.core.typing import Array

Term = tuple[int, int, int]
"""Orders along z, y and x."""


def terms_of(degree: int, depth: int = 0) -> tuple[Term, ...]:
    """Return powers (z, y, x): of a total degree in the plane, and up to a depth along z."""
    plane = [(0, y, x) for x in range(degree + 1) for y in range(degree + 1 - x) if x + y]
    return (*plane, *((z, 0, 0) for z in range(1, depth + 1)))


def terms_at(places: Array, terms: Sequence[Term]) -> Array:
    """Return products of Legendre polynomials at places, shape (places, terms)."""
    top = max(max(term) for term in terms)
    z, y, x = (np.polynomial.legendre.legvander(2 * axis - 1, top) for axis in places.T)
    return np.stack([z[:, a] * y[:, b] * x[:, c] for a, b, c in terms], axis=1)


def array_of(terms: Sequence[Term], coefficients: Array) -> Array:
    """Return coefficients as an array over the orders along z, y and x."""
    found = np.zeros(tuple(np.max(terms, axis=0) + 1))
    for term, coefficient in zip(terms, coefficients, strict=True):
        found[term] = coefficient
    return found
