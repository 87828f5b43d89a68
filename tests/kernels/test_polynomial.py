"""Polynomial bases: how they are read, evaluated and made easy to tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystack3d_dask.kernels.background.polynomial import (
    Basis,
    BasisError,
    OrthogonalFrame,
    coordinates,
    evaluate_grid,
    plane_coefficients,
)

terms = st.sets(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", {(0, 0, 0)}),
        ("x", {(0, 0, 0), (1, 0, 0)}),
        ("1 + x + x*y + z**2", {(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 0, 2)}),
        ("x*x", {(0, 0, 0), (2, 0, 0)}),
        ("x**12", {(0, 0, 0), (12, 0, 0)}),
        (" y ** 2 * x+x*y*y ", {(0, 0, 0), (1, 2, 0)}),
        ("x**0 + 1*z", {(0, 0, 0), (0, 0, 1)}),
    ],
)
def test_a_basis_is_a_sum_of_products_of_powers(text, expected):
    assert set(Basis.parse(text).terms) == expected


@pytest.mark.parametrize(
    "text", ["", "1 - x", "2*x", "sin(x)", "x**-1", "x**y", "x**1.5", "x +", "xy", "w", "x**", "*x"]
)
def test_anything_else_is_refused_with_the_text(text):
    with pytest.raises(
        BasisError, match="a sum of products of integer powers is expected"
    ) as found:
        Basis.parse(text)
    assert repr(text) in str(found.value)


@pytest.mark.parametrize("text", ["x**21", "x*" * 20 + "x", "x**" + "9" * 5000])
def test_powers_that_cannot_be_told_apart_are_refused(text):
    with pytest.raises(BasisError, match="powers up to 20 expected, found"):
        Basis.parse(text)


@given(terms)
def test_names_can_be_read_again(powers):
    basis = Basis.of(powers)
    assert Basis.parse(" + ".join(basis.names())) == basis


@given(terms)
def test_terms_ascend_once_each_with_the_constant(powers):
    basis = Basis.of([*powers, *powers])
    assert list(basis.terms) == sorted({(0, 0, 0), *powers})
    assert basis.orders == tuple(max(axis) for axis in zip(*basis.terms, strict=True))


def test_orders_give_all_products_or_pure_powers():
    assert len(Basis.from_orders((2, 3), True).terms) == 3 * 4
    assert len(Basis.from_orders((2, 3, 1), True).terms) == 3 * 4 * 2
    pure = {(0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 1, 0), (0, 0, 1)}
    assert set(Basis.from_orders((2, 1, 1), False).terms) == pure


def test_coordinates_run_from_zero_to_one():
    np.testing.assert_allclose(coordinates(5), [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_array_equal(coordinates(1), [0])


def direct(basis, coefficients, z, y, x):
    y, x = y[:, np.newaxis], x[np.newaxis, :]
    parts = [c * x**i * y**j * z**k for c, (i, j, k) in zip(coefficients, basis.terms, strict=True)]
    return sum(parts) + np.zeros((len(y), x.size))


@given(terms, st.integers(0, 99), st.floats(0, 1))
def test_a_plane_is_the_polynomial_at_its_z(powers, seed, z):
    basis = Basis.of(powers)
    coefficients = np.random.default_rng(seed).normal(size=len(basis.terms))
    y, x = coordinates(4), coordinates(6)
    found = evaluate_grid(plane_coefficients(basis, coefficients, z), y, x)
    np.testing.assert_allclose(found, direct(basis, coefficients, z, y, x), atol=1e-12)


@given(terms, st.integers(0, 99))
def test_the_frame_is_orthonormal_and_spans_the_same_functions(powers, seed):
    basis = Basis.of(powers)
    frame = OrthogonalFrame(basis)
    np.testing.assert_allclose(frame.span.T @ frame.span, np.eye(len(basis.terms)), atol=1e-12)
    combination = np.random.default_rng(seed).normal(size=len(basis.terms))
    z, y, x = 0.3, coordinates(5), coordinates(6)
    values = (frame.values(axis, k) for k, axis in enumerate((x, y, np.array([z]))))
    found = np.einsum("ijk,xi,yj,zk->yx", frame.tensor(combination), *values)
    monomials = frame.conversion @ combination
    scale = 1 + np.abs(monomials).max()
    np.testing.assert_allclose(found, direct(basis, monomials, z, y, x), atol=1e-11 * scale)
