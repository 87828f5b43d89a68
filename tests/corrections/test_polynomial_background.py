"""The polynomial background: what is sampled, what is fitted, what is taken away."""

from __future__ import annotations

import numpy as np
import pytest
from stack_tools import correct, fit, spec_of

from pystack3d_dask.corrections.bkg_removal import BackgroundRemoval

SHAPE = (7, 33, 45)
MASKED = {"threshold_min": 60, "threshold_max": 160}


def coordinates(shape=SHAPE):
    return np.ogrid[tuple(slice(0, 1, n * 1j) if n > 1 else slice(0, 1) for n in shape)]


def polynomial(shape=SHAPE):
    z, y, x = coordinates(shape)
    return 100 + 20 * x - 15 * y + 8 * x * y**2 + 12 * z + 5 * z * x


def noise(dtype="uint8", shape=SHAPE):
    rng = np.random.default_rng(0)
    return np.clip(rng.normal(110, 35, shape) + 20 * coordinates(shape)[2], 0, 255).astype(dtype)


@pytest.mark.parametrize("averaging", [False, True])
@pytest.mark.parametrize("weights", ["HuberT", "Hampel", "None"])
def test_an_injected_polynomial_is_removed_up_to_its_constant(weights, averaging):
    images = polynomial().astype(np.float32)
    step = BackgroundRemoval(
        orders=(1, 2, 1), skip_factors=(3, 1, 2), skip_averaging=averaging, weight_func=weights
    )
    found = correct(step, images)
    # over a cell the mean of y**2 is not that of its middle, hence skips of 1 along y
    np.testing.assert_allclose(found, 100, atol=1e-3)


def test_the_coefficients_are_those_injected():
    images = polynomial().astype(np.float32)
    step = BackgroundRemoval(poly_basis="x + y + x*y**2 + z + x*z", skip_factors=(2, 2, 2))
    found = fit(step, images, spec_of(images))
    powers = [tuple(term) for term in found["powers"].tolist()]
    expected = {(0, 0, 0): 100, (1, 0, 0): 20, (0, 1, 0): -15, (1, 2, 0): 8, (0, 0, 1): 12}
    expected[1, 0, 1] = 5
    assert dict(zip(powers, found["coefficients"], strict=True)) == pytest.approx(
        expected, abs=1e-3
    )


def test_in_two_dimensions_each_slice_has_its_own_polynomial_and_keeps_its_constant():
    _, y, x = coordinates()
    gains = np.linspace(-1, 2, SHAPE[0])[:, np.newaxis, np.newaxis]
    images = (100 + 10 * gains + gains * (30 * x - 20 * y * x)).astype(np.float32)
    found = correct(BackgroundRemoval(orders=(1, 1), skip_factors=(4, 3)), images)
    np.testing.assert_allclose(found, np.broadcast_to(100 + 10 * gains, SHAPE), atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "source"])
def test_slices_without_samples_or_with_equal_ones_keep_their_values(precision):
    images = noise()
    images[1], images[2] = 77, 255
    step = BackgroundRemoval(orders=(1, 1), skip_factors=(3, 3), threshold_max=200)
    found = correct(step, images, spec_of(images, precision))
    np.testing.assert_array_equal(found[1:3], images[1:3])
    assert np.any(found[0] != images[0])


@pytest.mark.parametrize("orders", [(1, 1), (1, 1, 1)])
@pytest.mark.parametrize("precision", ["float32", "source"])
def test_pixels_outside_the_thresholds_stay_and_take_no_part(orders, precision):
    images = noise("uint16")
    step = BackgroundRemoval(orders=orders, skip_factors=(2, 3, 2), **MASKED)
    outside = (images < 60) | (images > 160)
    found = correct(step, images, spec_of(images, precision))
    np.testing.assert_array_equal(found[outside], images[outside])
    assert np.any(found[~outside] != images[~outside])
    brighter = np.where(images > 160, 9999, images).astype(np.uint16)
    other = correct(step, brighter, spec_of(brighter, precision))
    np.testing.assert_array_equal(other[~outside], found[~outside])


@pytest.mark.parametrize("orders", [(1, 1), (1, 1, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pixels_outside_the_thresholds_are_corrected_on_request_and_fill_is_not(orders, dtype):
    rng = np.random.default_rng(0)
    x = coordinates()[2]
    truth = np.where(rng.random(SHAPE) < 0.3, 60, 180) + rng.normal(0, 2, SHAPE)
    images = np.rint(truth + 20 * x).astype(dtype)
    images[:, :, :6] = 0  # a border
    step = BackgroundRemoval(
        orders=orders, skip_factors=(2, 2, 2), threshold_min=120, outside="correct"
    )
    found = correct(step, images, spec_of(images))
    np.testing.assert_array_equal(found[:, :, :6], 0)
    inside = np.s_[:, :, 6:]
    dark = truth[inside] < 120
    slopes = [
        np.polyfit(np.broadcast_to(x[..., 6:], dark.shape)[part], (found - truth)[inside][part], 1)[
            0
        ]
        for part in (dark, ~dark)
    ]
    assert np.abs(slopes).max() < 1.5


def cell_means(images, skips, low, high):
    """Return the masked mean of each cell, and the mean coordinates of its voxels."""
    starts = [range(0, n, s) for n, s in zip(images.shape, skips, strict=True)]
    axes = [np.linspace(0, 1, n) for n in images.shape]
    values, points = [], []
    for z in starts[0]:
        for y in starts[1]:
            for x in starts[2]:
                box = tuple(slice(a, a + s) for a, s in zip((z, y, x), skips, strict=True))
                cell = images[box].astype(float)
                cell = cell[(cell >= low) & (cell <= high)]
                if cell.size:
                    values.append(cell.mean())
                    points.append([axis[s].mean() for axis, s in zip(axes, box, strict=True)])
    return np.array(values), np.array(points).T


@pytest.mark.parametrize("skips", [(4, 5, 2), (7, 8, 3), (100, 4, 100)])
@pytest.mark.parametrize("limits", [(-np.inf, np.inf), (60, 160), (100, 103)])
def test_averaging_fits_the_means_of_cells_at_their_middles(skips, limits):
    images = noise()
    low, high = (None if np.isinf(limit) else limit for limit in limits)
    step = BackgroundRemoval(
        orders=(0, 1, 0) if skips[0] > 45 else (1, 1, 1),
        skip_factors=skips,
        skip_averaging=True,
        weight_func="None",
        threshold_min=low,
        threshold_max=high,
    )
    found = fit(step, images, spec_of(images))
    values, (z, y, x) = cell_means(images, skips[::-1], *limits)
    matrix = np.stack([x**i * y**j * z**k for i, j, k in found["powers"]], axis=1)
    assert found["samples"] == len(values)
    fitted = matrix @ np.linalg.lstsq(matrix, values)[0]
    np.testing.assert_allclose(matrix @ found["coefficients"], fitted, rtol=1e-9)


def test_averaging_per_slice_fits_the_cells_of_the_slice():
    images = noise()
    step = BackgroundRemoval(
        orders=(1, 1), skip_factors=(4, 5), skip_averaging=True, weight_func="None"
    )
    found = correct(step, images)
    _, y, x = coordinates()
    for image, corrected in zip(images, found, strict=True):
        values, (_, v, u) = cell_means(image[np.newaxis], (1, 5, 4), -np.inf, np.inf)
        a, b, c, d = np.linalg.lstsq(np.stack([u**0, u, v, u * v], axis=1), values)[0]
        assert np.isfinite(a)
        np.testing.assert_allclose(corrected, image - (b * x + c * y + d * x * y)[0], atol=1e-3)


def test_without_averaging_the_first_voxel_of_each_cell_is_taken():
    images = noise()
    step = BackgroundRemoval(orders=(1, 1, 1), skip_factors=(4, 5, 3), weight_func="None")
    found = fit(step, images, spec_of(images))
    z, y, x = (g.ravel() for g in np.broadcast_arrays(*(a[..., :] for a in coordinates())))
    taken = np.zeros(SHAPE, bool)
    taken[::3, ::5, ::4] = True
    taken = taken.ravel()
    matrix = np.stack([x**i * y**j * z**k for i, j, k in found["powers"]], axis=1)[taken]
    expected = np.linalg.lstsq(matrix, images.ravel()[taken].astype(float))[0]
    np.testing.assert_allclose(found["coefficients"], expected, rtol=1e-8)


@pytest.mark.parametrize("masked", [{}, MASKED])
def test_preserve_avg_keeps_the_mean_over_the_samples(masked):
    images = noise()
    parameters = {"orders": (1, 1, 1), "skip_factors": (4, 5, 2), **masked}
    kept = correct(BackgroundRemoval(preserve_avg=True, **parameters), images)
    sampled = (slice(None, None, 2), slice(None, None, 5), slice(None, None, 4))
    inside = np.ones(SHAPE, bool) if not masked else (images >= 60) & (images <= 160)
    part, before, after = inside[sampled], images[sampled], kept[sampled]
    assert after[part].mean(dtype=float) == pytest.approx(before[part].mean(dtype=float), abs=1e-3)
    other = correct(BackgroundRemoval(**parameters), images)
    difference = (kept.astype(float) - other)[inside]
    assert np.ptp(difference) < 1e-3
    assert abs(difference.mean()) > 0.1


def test_max_samples_makes_skip_factors_grow_evenly():
    images = noise()
    step = BackgroundRemoval(orders=(1, 1, 1), skip_factors=(1, 1, 1), max_samples=100)
    skips = step.skips(spec_of(images))
    counts = [-(-n // s) for n, s in zip(SHAPE, skips, strict=True)]
    assert 50 < np.prod(counts) <= 100
    assert max(counts) - min(counts) <= 2
    assert fit(step, images, spec_of(images))["samples"] == np.prod(counts)


def test_max_samples_does_not_hold_in_precision_source():
    step = BackgroundRemoval(orders=(1, 1, 1), skip_factors=(2, 3, 1), max_samples=100)
    assert step.skips(spec_of(noise(), "source")) == (1, 3, 2)


def test_per_slice_max_samples_counts_a_slice():
    step = BackgroundRemoval(orders=(1, 1), skip_factors=(2, 3), max_samples=400)
    assert step.skips(spec_of(noise())) == (1, 3, 2)


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({}, "orders"),
        ({"orders": (1,)}, "orders"),
        ({"orders": (1, -1)}, "orders"),
        ({"orders": (10**9, 1, 1)}, "orders"),
        ({"orders": (12, 12, 12)}, "orders"),
        ({"poly_basis": "x**9999999"}, "poly_basis"),
        ({"poly_basis": "1 - x"}, "poly_basis"),
        ({"poly_basis": "z", "dim": 2}, "poly_basis"),
        ({"orders": (1, 1, 1), "skip_factors": (2, 2)}, "skip_factors"),
        ({"orders": (1, 1), "skip_factors": (0, 2)}, "skip_factors"),
        ({"orders": (1, 1), "preserve_avg": True}, "preserve_avg"),
        ({"orders": (1, 1), "max_samples": 0}, "max_samples"),
        ({"orders": (1, 1), "threshold_min": 5, "threshold_max": 4}, "threshold_min"),
        ({"method": "local"}, "size"),
        ({"method": "local", "size": (0, 5, 5)}, "size"),
        ({"method": "local", "size": (1, 5, 5), "size_unit": "um"}, "size_unit"),
    ],
)
def test_wrong_parameters_are_named(parameters, path):
    problems = [*BackgroundRemoval(**parameters).check(spec_of(noise()))]
    assert [p.path for p in problems] == [f"bkg_removal.{path}"]
