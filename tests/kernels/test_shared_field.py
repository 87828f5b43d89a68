"""A smooth field that classes of gray levels share."""

from __future__ import annotations

import numpy as np
import pytest

from pystack3d_dask.kernels.background.class_mixture import ClassMixture, merged
from pystack3d_dask.kernels.background.field_judgment import Verdict
from pystack3d_dask.kernels.background.field_samples import Samples
from pystack3d_dask.kernels.background.flat_places import flat_places
from pystack3d_dask.kernels.background.shared_field import (
    field_row_terms,
    find_field,
    without_field,
)

SHAPE = (16, 200, 220)
DARK, BRIGHT = 60.0, 150.0


def places(count=5000, seed=0):
    """Return places, (z, y, x) from 0 to 1, in the middles of 16 slices."""
    rng = np.random.default_rng(seed)
    found = rng.uniform(size=(count, 3))
    found[:, 0] = (np.floor(16 * found[:, 0]) + 0.5) / 16
    return found


def classes(where, seed=0, porosity=0.3):
    """Return gray levels of two materials with grains and noise."""
    rng = np.random.default_rng(seed)
    levels = np.where(rng.uniform(size=len(where)) < porosity, DARK, BRIGHT)
    return levels + rng.normal(0, 2, len(where))


def bowl(where, size):
    """Return a field that has its lowest place beside the middle, of some rms."""
    _, y, x = 2 * where.T - 1
    field = x**2 + y**2 - 0.5 * x * y + 0.4 * x
    field -= field.mean()
    return size * field / field.std()


def field_at(found, where):
    """Return a field that was found at places."""
    axes = 2 * where - 1
    return np.polynomial.legendre.legval3d(*axes.T, found.coefficients)


@pytest.mark.parametrize("size", [4.0, 15.0, 40.0])
def test_a_field_that_is_added_is_found(size):
    where = places()
    truth = bowl(where, size)
    found = find_field(Samples(classes(where) + truth, where), SHAPE)
    assert (found.verdict, found.multiplies) == (Verdict.FOUND, False)
    assert np.std(field_at(found, where) - truth) < 0.5
    assert found.explained > 0.9
    assert field_at(found, where).mean() == pytest.approx(0, abs=1e-9)


def test_a_field_that_multiplies_is_told_from_one_that_is_added():
    where = places()
    truth = bowl(where, 0.15)
    found = find_field(Samples(classes(where) * (1 + truth), where), SHAPE)
    assert (found.verdict, found.multiplies) == (Verdict.FOUND, True)
    ratio = (1 + truth) / (1 + field_at(found, where))
    assert np.std(ratio / ratio.mean()) < 5e-3


def spot(where, size):
    """Return a field that is bright on a charged object, and fades around it."""
    _, y, x = where.T
    field = np.exp(-np.maximum(np.hypot(y - 0.45, x - 0.6) - 0.12, 0) / 0.15)
    return size * (field - field.mean())


@pytest.mark.parametrize("size", [20.0, 50.0])
def test_a_bright_spot_needs_high_orders(size):
    where = places(6000)
    truth = spot(where, size)
    found = find_field(Samples(classes(where) + truth, where), SHAPE)
    assert found.verdict == Verdict.FOUND
    assert max(found.coefficients.shape) > 6
    assert np.std(field_at(found, where) - truth) < 0.3 * truth.std()
    low, high = found.limits
    assert low < field_at(found, where).min() < field_at(found, where).max() < high


def test_a_bright_spot_of_one_material_is_the_specimens():
    where = places(6000)
    values = classes(where)
    values = np.where(values > 105, values + spot(where, 40), values)
    assert find_field(Samples(values, where), SHAPE).verdict != Verdict.FOUND


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("porous", [True, False])
def test_grains_of_different_gray_levels_are_the_specimens(seed, porous):
    where = places(6000, seed)
    rng = np.random.default_rng(seed)
    grains = rng.uniform(size=(40, 3)) * [3, 1, 1] - [1, 0, 0]  # longer along z than the stack
    own = np.linalg.norm(where[:, None] - grains, axis=2).argmin(axis=1)
    values = 150 + rng.normal(0, 15, 40)[own] + rng.normal(0, 2, len(where))
    if porous:
        values = np.where(rng.uniform(size=len(where)) < 0.15, 60, values)
    assert find_field(Samples(values, where), SHAPE).verdict != Verdict.FOUND


def test_details_are_not_told_where_pixels_differ_much_beside_each_other():
    where = places(6000)
    values = classes(where) + spot(where, 50)
    inside = 0.3 / 0.7 * values.var()
    found = find_field(Samples(values, where, inside), SHAPE)
    assert max(found.coefficients.shape) <= 5


def test_a_trend_along_z_is_found():
    where = places()
    truth = 25 * (where[:, 0] - 0.5)
    found = find_field(Samples(classes(where) + truth, where), SHAPE)
    assert found.verdict == Verdict.FOUND
    assert found.coefficients.shape[1:] == (1, 1)
    assert np.std(field_at(found, where) - truth) < 0.5


@pytest.mark.parametrize("seed", range(6))
def test_without_a_field_nothing_is_found(seed):
    where = places(seed=seed)
    found = find_field(Samples(classes(where, seed), where), SHAPE)
    assert found.verdict != Verdict.FOUND
    np.testing.assert_array_equal(found.coefficients, 0)


def test_a_porosity_that_changes_over_the_image_is_no_field():
    where = places()
    values = classes(where, porosity=0.1 + 0.6 * where[:, 2])
    assert find_field(Samples(values, where), SHAPE).verdict != Verdict.FOUND


def test_a_gradient_of_one_material_is_the_specimens():
    where = places()
    values = classes(where)
    values = np.where(values > 105, values + 30 * (where[:, 2] - 0.5), values)
    assert find_field(Samples(values, where), SHAPE).verdict != Verdict.FOUND


def test_layers_that_alternate_and_rise_are_the_specimens():
    where = places()
    layer = np.floor(5 * where[:, 1]).astype(int)
    levels = np.array([105.0, 145.0, 120.0, 160.0, 135.0])[layer]
    values = levels + np.random.default_rng(0).normal(0, 2, len(where))
    assert find_field(Samples(values, where), SHAPE).verdict == Verdict.NOT_NEARBY


def test_materials_that_are_not_resolved_are_not_judged():
    where = places()
    share = 0.05 + 0.9 * where[:, 2]
    values = 60 + 120 * share + np.random.default_rng(0).normal(0, 20, len(where))
    inside = 120**2 * np.mean(share * (1 - share))
    assert find_field(Samples(values, where, inside), SHAPE).verdict == Verdict.UNRESOLVED


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        (np.empty(0), SHAPE),
        (np.full(5000, 7.0), SHAPE),
        (classes(places(500)), SHAPE),
        (classes(places()), (16, 40, 220)),
    ],
    ids=["none", "constant", "few", "small"],
)
def test_where_too_little_is_seen_nothing_is_found(values, shape):
    assert find_field(Samples(values, places(len(values))), shape).verdict == Verdict.TOO_LITTLE


@pytest.mark.parametrize("level", [0.0, -40.0])
def test_gray_levels_may_be_0_or_less(level):
    where = places()
    values = classes(where) - DARK + level
    assert find_field(Samples(values, where), SHAPE).verdict != Verdict.FOUND
    found = find_field(Samples(values + bowl(where, 10), where), SHAPE)
    assert found.verdict == Verdict.FOUND
    assert not found.multiplies


def test_samples_of_one_corner_are_not_judged():
    where = places()
    where[:, 1:] *= 0.2
    values = classes(where) + 25 * (where[:, 0] - 0.5)
    assert find_field(Samples(values, where), SHAPE).verdict == Verdict.NOT_SHARED


@pytest.mark.parametrize("multiplies", [False, True])
def test_a_field_is_taken_from_slices(multiplies):
    rng = np.random.default_rng(0)
    coefficients = rng.normal(0, 0.05, (2, 3, 4))
    axes = [2 * (np.arange(count) + 0.5) / count - 1 for count in SHAPE]
    field = np.polynomial.legendre.leggrid3d(*axes, coefficients)[5]
    image = rng.uniform(50, 200, SHAPE[1:]).astype(np.float32)
    out = np.empty_like(image)
    low, high = -0.1, 0.12
    assert field.min() < low < high < field.max()
    rows, width = field_row_terms(coefficients, 5, SHAPE), SHAPE[2]
    for first, last in ((0, 90), (90, width)):
        some = np.s_[:, first:last]
        without_field(image[some], first, width, rows, low, high, multiplies, out[some])
    field = np.clip(field, low, high)
    expected = image / np.maximum(1 + field, 0.3) if multiplies else image - field
    np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_levels_of_classes_are_found_beside_outliers():
    where = places()
    values = classes(where)
    values[::50] = np.random.default_rng(1).uniform(0, 255, len(values[::50]))
    none = np.zeros((len(values), 0))
    found = ClassMixture.around(np.array([90.0, 120.0]), 255.0).fitted(values, none, 60)
    np.testing.assert_allclose(np.sort(found.levels), [DARK, BRIGHT], atol=0.5)
    np.testing.assert_allclose(np.sort(found.shares), [0.3, 0.7], atol=0.03)
    assert found.memberships(values, np.zeros(len(values))).sum(axis=1).max() <= 1


def test_classes_that_are_no_materials_of_their_own_are_one():
    mixture = ClassMixture(
        np.array([156.0, 60.0, 150.0]),
        np.array([64.0, 4.0, 4.0]),
        np.array([0.2, 0.2, 0.6]),
        np.zeros(0),
        multiplies=False,
        span=200.0,
    )
    found = merged(mixture, 2.0)
    np.testing.assert_allclose(found.levels, [60, 151.5])
    np.testing.assert_allclose(found.shares, [0.2, 0.8])
    np.testing.assert_allclose(found.variances, [4, 0.25 * 64 + 0.75 * 4 + 0.25 * 0.75 * 6**2])
    assert len(merged(mixture, 0.5).levels) == 3


def test_flat_places_avoid_edges_and_what_is_clipped():
    image = np.full((120, 160), 100, np.uint8)
    image[:, 80:] = 200
    image[:40, :40] = 0
    found = flat_places(image, 10_000)
    assert set(np.unique(found.values)) <= {100.0, 200.0}
    y, x = (found.places * image.shape).T
    assert not ((y < 40) & (x < 40)).any()
    assert np.abs(x - 80).min() > 1
    noisy = np.random.default_rng(0).normal(100, 4, image.shape)
    assert flat_places(noisy, 10_000).inside == pytest.approx(16, rel=0.1)


def test_a_clipped_spot_is_no_flat_place():
    image = np.full((120, 160), 100, np.uint8)
    image[60:62, 60:62] = 255  # a cell; those around it are flat
    values = flat_places(image, 10_000).values
    assert len(values) > 1000
    assert (values == 100).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (2, 2)])
def test_a_tiny_slice_has_few_flat_places_or_none(shape):
    assert len(flat_places(np.ones(shape, np.uint8), 100).values) <= 100
