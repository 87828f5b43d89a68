"""Robust fits against statsmodels' RLM, and the median in two passes."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from pystack3d_dask.kernels.background.polynomial import Basis, coordinates
from pystack3d_dask.kernels.background.robust_fit import (
    MAX_ITERATIONS,
    Plane,
    fit_polynomial,
    median_of,
)

NORMS = {"HuberT": sm.robust.norms.HuberT(), "Hampel": sm.robust.norms.Hampel()}
GRID = (7, 12, 15)


def samples(basis, shape=GRID, outliers=0.1, masked=0.0, seed=0):
    """Return planes of a noisy polynomial with outliers and holes."""
    rng = np.random.default_rng(seed)
    z, y, x = (coordinates(n) for n in shape)
    grid = np.meshgrid(z, y, x, indexing="ij")
    values = design(basis, *grid) @ rng.normal(0, 20, len(basis.terms)) + 100
    values = values.reshape(shape) + rng.normal(0, 1, shape)
    values += (rng.random(shape) < outliers) * rng.exponential(30, shape)
    values[rng.random(shape) < masked] = np.nan
    return [Plane(float(c), plane) for c, plane in zip(z, values, strict=True)], y, x


def design(basis, z, y, x):
    z, y, x = z.ravel(), y.ravel(), x.ravel()
    return np.stack([x**i * y**j * z**k for i, j, k in basis.terms], axis=1)


def system(basis, planes, y, x):
    grid = np.meshgrid([p.z for p in planes], y, x, indexing="ij")
    values = np.stack([p.values for p in planes]).ravel()
    valid = ~np.isnan(values)
    return design(basis, *grid)[valid], values[valid]


def reference(basis, planes, y, x, weights):
    """Return coefficients, scale and number of fits of statsmodels."""
    matrix, values = system(basis, planes, y, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sm.RLM(values, matrix, M=NORMS[weights]).fit()
    # its history begins with what stands before the first fit
    return found.params, found.scale, len(found.fit_history["params"]) - 1


def assert_same_polynomial(found, expected, basis, planes, y, x, rtol):
    """Compare coefficients where they are well determined, and values of the polynomial."""
    matrix, values = system(basis, planes, y, x)
    scale = np.abs(values).max()
    np.testing.assert_allclose(matrix @ found, matrix @ expected, rtol=0, atol=rtol * scale)


BASES = {
    "plane": Basis.from_orders((1, 1), True),
    "quadratic 3D": Basis.from_orders((2, 2, 1), True),
    "pure powers": Basis.from_orders((3, 2, 2), False),
    "given terms": Basis.parse("1 + x*y + y**3 + x*z"),
}


@pytest.mark.parametrize("masked", [0.0, 0.35])
@pytest.mark.parametrize("weights", ["HuberT", "Hampel"])
@pytest.mark.parametrize("name", BASES)
def test_coefficients_and_iterations_are_those_of_statsmodels(name, weights, masked):
    basis = BASES[name]
    planes, y, x = samples(basis, masked=masked, seed=len(name))
    found = fit_polynomial(lambda: planes, basis, y, x, weights)
    coefficients, scale, iterations = reference(basis, planes, y, x, weights)
    np.testing.assert_allclose(found.coefficients, coefficients, rtol=1e-9)
    assert found.scale == pytest.approx(scale, rel=1e-9)
    assert found.iterations == iterations
    assert found.converged
    assert found.count == sum(np.sum(~np.isnan(p.values)) for p in planes)


@pytest.mark.parametrize("name", BASES)
def test_without_weights_it_is_least_squares(name):
    basis = BASES[name]
    planes, y, x = samples(basis, masked=0.2, seed=3)
    found = fit_polynomial(lambda: planes, basis, y, x, "None")
    expected = np.linalg.lstsq(*system(basis, planes, y, x))[0]
    np.testing.assert_allclose(found.coefficients, expected, rtol=1e-9)
    assert found.iterations == 1


@pytest.mark.parametrize("weights", ["HuberT", "Hampel"])
def test_high_orders_follow_statsmodels(weights):
    basis = Basis.from_orders((6, 6), True)
    planes, y, x = samples(basis, shape=(1, 40, 50), seed=5)
    found = fit_polynomial(lambda: planes, basis, y, x, weights)
    coefficients, _, iterations = reference(basis, planes, y, x, weights)
    # 49 monomials are nearly dependent: the polynomial itself is what is determined
    assert_same_polynomial(found.coefficients, coefficients, basis, planes, y, x, 1e-9)
    # rounding is above its tolerance here, and decides when it ends: 25 after 21 with NumPy 2.5
    assert found.converged
    assert found.iterations <= iterations + 4


def test_high_orders_are_recovered_where_nothing_disturbs():
    basis = Basis.from_orders((6, 6), True)
    y, x = coordinates(40), coordinates(50)
    truth = np.random.default_rng(0).normal(0, 10, len(basis.terms))
    values = (design(basis, *np.meshgrid([0.0], y, x, indexing="ij")) @ truth).reshape(40, 50)
    found = fit_polynomial(lambda: [Plane(0.0, values)], basis, y, x)
    np.testing.assert_allclose(found.coefficients, truth, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("weights", ["HuberT", "Hampel", "None"])
def test_one_slice_cannot_tell_z_but_gives_the_same_surface(weights):
    basis = Basis.from_orders((1, 2, 1), True)
    planes, y, x = samples(basis, shape=(1, 12, 15), seed=2)
    flat = Basis.from_orders((1, 2), True)
    found = fit_polynomial(lambda: planes, basis, y, x, weights)
    expected = fit_polynomial(lambda: planes, flat, y, x, weights)
    assert np.isfinite(found.coefficients).all()
    np.testing.assert_allclose(
        system(basis, planes, y, x)[0] @ found.coefficients,
        system(flat, planes, y, x)[0] @ expected.coefficients,
        atol=1e-5,
    )


def test_outliers_do_not_move_the_fit():
    basis = BASES["quadratic 3D"]
    clean, y, x = samples(basis, outliers=0)
    spoilt, _, _ = samples(basis, outliers=0)
    for plane in spoilt:
        plane.values[::4, ::4] += 500
    truth = fit_polynomial(lambda: clean, basis, y, x, "None").coefficients
    surface = system(basis, clean, y, x)[0]
    errors = {
        weights: np.abs(
            surface @ (fit_polynomial(lambda: spoilt, basis, y, x, weights).coefficients - truth)
        ).max()
        for weights in ("HuberT", "Hampel", "None")
    }
    assert errors["Hampel"] < errors["HuberT"] < errors["None"] / 10


def test_samples_that_fit_exactly_stop_at_zero_scale():
    basis = BASES["plane"]
    y, x = coordinates(5), coordinates(6)
    values = np.full((5, 6), 42.0)
    found = fit_polynomial(lambda: [Plane(0.0, values)], basis, y, x)
    np.testing.assert_allclose(found.coefficients, [42, 0, 0, 0], atol=1e-9)
    assert found.converged
    assert found.iterations < MAX_ITERATIONS


def test_without_samples_there_is_no_polynomial():
    found = fit_polynomial(
        lambda: [Plane(0.0, np.full((3, 4), np.nan))],
        BASES["plane"],
        coordinates(3),
        coordinates(4),
    )
    assert not found.coefficients.any()
    assert (found.count, found.iterations) == (0, 0)


values = st.one_of(
    st.floats(0, 1e6, allow_subnormal=True),
    st.sampled_from([0.0, 1.0, 1.0 + 2**-52, 1e-300, 1e300]),
)


@settings(deadline=None)
@given(st.lists(st.lists(values, max_size=12), min_size=1, max_size=6).filter(any))
def test_the_median_is_exact_for_any_chunking(chunks):
    arrays = [np.array(chunk, np.float64) for chunk in chunks]
    together = np.concatenate(arrays)
    assert median_of(lambda: arrays, len(together)) == np.median(together)


@pytest.mark.parametrize(
    "numbers", [[0.0], [0.0, 0.0], [5.0] * 7, [1.0, 2.0], [3.0, 1.0, 2.0], [0.0, 0.0, 1.0, 9.0]]
)
def test_medians_of_few_equal_and_zero_values(numbers):
    assert median_of(lambda: [np.array(numbers)], len(numbers)) == np.median(numbers)


THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
FIT = """
import numpy as np
from pystack3d_dask.kernels.background.polynomial import Basis, coordinates
from pystack3d_dask.kernels.background.robust_fit import Plane, fit_polynomial

values = np.random.default_rng(0).standard_t(3, (600, 700))
axes = coordinates(600), coordinates(700)
fit = fit_polynomial(lambda: [Plane(0.0, values)], Basis.from_orders((4, 3), True), *axes)
print(fit.coefficients.tobytes().hex())
"""


def test_a_fit_does_not_depend_on_the_threads_of_linear_algebra():
    fits = {
        subprocess.run(
            [sys.executable, "-c", FIT],
            env={**os.environ, **dict.fromkeys(THREADS, number)},
            capture_output=True,
            check=True,
        ).stdout
        for number in "124"
    }
    assert len(fits) == 1
