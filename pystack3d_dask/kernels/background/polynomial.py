"""Polynomials in x, y and z on coordinates from 0 to 1: parsing, evaluation, moments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from pystack3d_dask.core.typing import Array

Exponents = tuple[int, int, int]

HIGHEST_POWER = 20  # beyond, the terms of an axis cannot be told apart in doubles
MOST_TERMS = 1000
DIGITS = 9  # of a power that are looked at: more are too high anyway

_FACTOR = re.compile(r"(?P<variable>[xyz])(?:\*\*(?P<power>\d+))?")


class BasisError(ValueError):
    """A polynomial basis that cannot be understood."""


@dataclass(frozen=True)
class Basis:
    """The terms of a polynomial in ascending order, the constant always among them.

    Parameters
    ----------
    terms : tuple of tuple of int
        ``(i, j, k)`` stands for ``x**i * y**j * z**k``.
    """

    terms: tuple[Exponents, ...]

    @classmethod
    def from_orders(cls, orders: Sequence[int], cross_terms: bool) -> Basis:
        """Return all powers up to ``orders`` of x, y (and z): products, or pure powers only.

        Raises
        ------
        BasisError
            See `of`.
        """
        ox, oy, oz = (*orders, 0)[:3]
        _check_power(max(ox, oy, oz))
        every = product(range(ox + 1), range(oy + 1), range(oz + 1))
        return cls.of(term for term in every if cross_terms or term.count(0) >= 2)

    @classmethod
    def parse(cls, text: str) -> Basis:
        """Return the basis written as a sum of products, such as ``1 + x + x*y + z**2``.

        Raises
        ------
        BasisError
            When the text holds anything but sums of products of integer powers.
        """
        return cls.of(_term(term.strip(), text) for term in text.split("+"))

    @classmethod
    def of(cls, terms: Iterable[Exponents]) -> Basis:
        """Return the basis of these terms in ascending order, the constant included.

        Raises
        ------
        BasisError
            When powers are too high, or terms too many.
        """
        found = cls(tuple(sorted({(0, 0, 0), *terms})))
        _check_power(max(found.orders))
        if len(found.terms) > MOST_TERMS:
            message = f"at most {MOST_TERMS} terms expected, found {len(found.terms)}"
            raise BasisError(message)
        return found

    @property
    def orders(self) -> Exponents:
        """Largest power of x, y and z."""
        i, j, k = (max(powers) for powers in zip(*self.terms, strict=True))
        return i, j, k

    def names(self) -> list[str]:
        """Return the terms as text."""
        return [_name(term) for term in self.terms]

    def tensor(self, coefficients: Array) -> Array:
        """Return coefficients as an array indexed by the powers of (x, y, z)."""
        full = np.zeros([order + 1 for order in self.orders])
        for term, value in zip(self.terms, coefficients, strict=True):
            full[term] = value
        return full


def coordinates(count: int) -> Array:
    """Return ``count`` coordinates from 0 to 1; a single one is 0."""
    return np.arange(count) / max(count - 1, 1)


def plane_coefficients(basis: Basis, coefficients: Array, z: float) -> Array:
    """Return the coefficients, indexed by the powers of (y, x), in the plane at ``z``."""
    full = basis.tensor(coefficients)
    return np.asarray(np.tensordot(full, z ** np.arange(full.shape[2]), axes=(2, 0)).T)


def evaluate_grid(plane: Array, y: Array, x: Array) -> Array:
    """Return a polynomial in a plane on the grid of rows ``y`` and columns ``x``."""
    rows = np.vander(y, len(plane), increasing=True)
    columns = np.vander(x, plane.shape[1], increasing=True)
    # einsum, not BLAS, whose sums depend on its number of threads
    return np.asarray(np.einsum("ri,ci->rc", np.einsum("rj,ji->ri", rows, plane), columns))


class OrthogonalFrame:
    """A basis of monomials, expressed in products of Legendre polynomials on 0 to 1.

    Monomials of higher order can hardly be told apart in floating point; Legendre
    polynomials can. Fits are made in this frame and their result is given back in
    monomials.

    Parameters
    ----------
    basis : Basis
        The monomials.

    Attributes
    ----------
    span : ndarray of float64, shape (products, terms)
        Orthonormal combinations of products that span the same functions as the terms.
        Products are ordered like the ravelled powers of (x, y, z).
    conversion : ndarray of float64, shape (terms, terms)
        Turns combinations of the columns of ``span`` into coefficients of the terms.
    """

    def __init__(self, basis: Basis) -> None:
        self.orders = basis.orders
        to_monomials = [_legendre_to_monomial(order) for order in basis.orders]
        to_legendre = [np.linalg.inv(matrix) for matrix in to_monomials]
        columns = [
            np.einsum("i,j,k->ijk", *(m[:, p] for m, p in zip(to_legendre, term, strict=True)))
            for term in basis.terms
        ]
        self.span = np.linalg.qr(np.stack([column.ravel() for column in columns], axis=1))[0]
        shape = (*(order + 1 for order in self.orders), len(basis.terms))
        powers = np.einsum(
            "ai,bj,ck,ijkt->abct", *to_monomials, self.span.reshape(shape), optimize=True
        )
        self.conversion = powers[tuple(np.array(basis.terms).T)]

    def values(self, coordinates: Array, axis: int) -> Array:
        """Return the polynomials of an axis (0: x, 1: y, 2: z), shape (points, order + 1)."""
        order = self.orders[axis]
        values = np.polynomial.legendre.legvander(2 * coordinates - 1, order)
        return np.ascontiguousarray(values)

    def tensor(self, combination: Array) -> Array:
        """Return coefficients of the products, indexed by the orders in (x, y, z)."""
        return np.asarray(self.span @ combination).reshape([order + 1 for order in self.orders])


def _check_power(power: int) -> None:
    if power > HIGHEST_POWER:
        message = f"powers up to {HIGHEST_POWER} expected, found {power}"
        raise BasisError(message)


def _legendre_to_monomial(order: int) -> Array:
    matrix = np.zeros((order + 1, order + 1))
    for degree in range(order + 1):
        legendre = np.polynomial.Legendre.basis(degree, domain=[0, 1])
        matrix[: degree + 1, degree] = legendre.convert(kind=np.polynomial.Polynomial).coef
    return matrix


def _term(term: str, text: str) -> Exponents:
    powers = dict.fromkeys("xyz", 0)
    for factor in re.split(r"(?<!\*)\*(?!\*)", term):
        factor = factor.strip().replace(" ", "")
        if factor == "1":
            continue
        match = _FACTOR.fullmatch(factor)
        if match is None:
            message = (
                f"{text!r}: cannot read {factor or 'an empty term'!r}; a sum of products of "
                "integer powers is expected, such as '1 + x + x*y + z**2'"
            )
            raise BasisError(message)
        powers[match["variable"]] += int((match["power"] or "1")[:DIGITS])
    return powers["x"], powers["y"], powers["z"]


def _name(term: Exponents) -> str:
    factors = [
        variable if power == 1 else f"{variable}**{power}"
        for variable, power in zip("xyz", term, strict=True)
        if power
    ]
    return "*".join(factors) or "1"
