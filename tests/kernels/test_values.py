"""Statistics, casting and the repair of bad pixels, against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pystack3d_dask.kernels.casting import cast, cast_measured, difference, measure, repair
from pystack3d_dask.kernels.casting_arrays import fit_on_arrays, measure_on_arrays

INTEGERS = ["uint8", "int8", "uint16", "int16"]
LEVELS = st.floats(-70_000, 70_000, width=32)


def floats(dtype):
    return arrays.arrays(dtype, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=LEVELS)


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64"])
def test_measure_is_minimum_maximum_and_mean(dtype):
    image = np.random.default_rng(0).normal(60, 30, (41, 53)).clip(0, 127).astype(dtype)
    found = measure(image)
    assert found.dtype == np.float64
    assert tuple(found[:2]) == (image.min(), image.max())
    assert found[2] == pytest.approx(image.mean(dtype=np.float64), rel=1e-12)


def test_the_mean_of_large_values_does_not_lose_digits():
    image = np.full((1000, 1000), 65535.0, np.float32)
    image[0, 0] = 0
    assert measure(image)[2] == pytest.approx(65535 * (1 - 1e-6), rel=1e-12)


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64"])
def test_operations_on_whole_arrays_measure_the_same(dtype):
    image = np.random.default_rng(0).normal(60, 30, (41, 53)).clip(0, 127).astype(dtype)
    found = measure_on_arrays(image)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, measure(image), rtol=1e-12)


@settings(deadline=None)
@given(values=floats("float32"), dtype=st.sampled_from(INTEGERS), truncates=st.booleans())
def test_operations_on_whole_arrays_cast_the_same(values, dtype, truncates):
    dtype = np.dtype(dtype)
    found = fit_on_arrays(values, dtype, truncates=truncates)
    assert found.dtype == dtype
    expected = cast(values, dtype, "source" if truncates else "float32")
    np.testing.assert_array_equal(found, expected)


def test_nothing_measured_is_not_a_number():
    assert np.isnan(measure(np.empty((0, 5), np.uint8))).all()


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("source", ["float32", "float64"])
@settings(deadline=None)  # the first call compiles
@given(data=st.data())
def test_casting_rounds_halves_to_even_and_clips(dtype, source, data):
    values = data.draw(floats(source))
    limits = np.iinfo(dtype)
    expected = np.rint(np.clip(values, limits.min, limits.max)).astype(dtype)
    found = cast(values, np.dtype(dtype), "float32")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("source", ["float32", "float64"])
@settings(deadline=None)  # the first call compiles
@given(data=st.data())
def test_casting_in_precision_source_truncates_and_clips(dtype, source, data):
    values = data.draw(floats(source))
    limits = np.iinfo(dtype)
    expected = np.trunc(np.clip(values, limits.min, limits.max)).astype(dtype)
    np.testing.assert_array_equal(cast(values, np.dtype(dtype), "source"), expected)


@pytest.mark.parametrize("precision", ["float32", "source"])
@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64"])
@pytest.mark.parametrize("source", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 2), (41, 53), (0, 5)])
def test_casting_and_measuring_at_once_is_one_after_the_other(shape, source, dtype, precision):
    image = np.random.default_rng(0).normal(60, 300, shape).astype(source)
    found, before, after = cast_measured(image, np.dtype(dtype), precision)
    expected = cast(image, np.dtype(dtype), precision)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(before, measure(image), rtol=1e-12)
    np.testing.assert_allclose(after, measure(expected), rtol=1e-12)


@pytest.mark.parametrize(
    ("value", "rounded", "truncated"),
    [(0.5, 0, 0), (1.5, 2, 1), (2.5, 2, 2), (254.6, 255, 254), (255.9, 255, 255), (-0.9, 0, 0)],
)
def test_halves_and_ends_of_the_range(value, rounded, truncated):
    values = np.array([[value]], np.float32)
    assert cast(values, np.dtype("u1"), "float32") == rounded
    assert cast(values, np.dtype("u1"), "source") == truncated


@pytest.mark.parametrize("precision", ["float32", "source"])
def test_infinity_is_clipped(precision):
    values = np.array([[-np.inf, np.inf]], np.float32)
    assert cast(values, np.dtype("u2"), precision).tolist() == [[0, 65535]]


def test_values_of_the_wanted_type_come_back_themselves():
    values = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert cast(values, np.dtype("u1"), "float32") is values


def test_casting_to_floats_converts():
    found = cast(np.array([[1 / 3]]), np.dtype("f4"), "source")
    assert found.dtype == np.float32
    assert found[0, 0] == np.float32(1 / 3)


def test_casting_reads_views_that_are_not_contiguous():
    values = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::-2]
    np.testing.assert_array_equal(cast(values, np.dtype("u1"), "float32"), values)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(deadline=None)  # the first call compiles
@given(data=st.data())
def test_bad_pixels_take_the_value_of_a_nearest_valid_one(dtype, data):
    image = data.draw(floats(dtype))
    bad = data.draw(arrays.arrays(bool, image.shape))
    kind = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    broken = np.where(bad, np.array(kind, dtype), image)
    found, count = repair(broken)
    assert count == bad.sum()
    assert found.dtype == dtype
    if bad.all():
        assert not found.any()
        return
    np.testing.assert_array_equal(found[~bad], image[~bad])
    valid = np.argwhere(~bad)
    for y, x in np.argwhere(bad):
        distance = ((valid - [y, x]) ** 2).sum(axis=1)
        nearest = valid[distance == distance.min()]
        assert found[y, x] in image[tuple(nearest.T)]


@pytest.mark.parametrize("image", [np.ones((3, 4), np.float32), np.ones((3, 4), np.uint8)])
def test_a_slice_without_bad_pixels_comes_back_itself(image):
    found, count = repair(image)
    assert found is image
    assert count == 0


def test_repair_leaves_its_input_alone():
    image = np.array([[1, np.nan]], np.float32)
    repair(image)
    assert np.isnan(image[0, 1])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_a_difference_is_that_of_the_numbers(dtype):
    one, other = np.array([[3, 200]], dtype), np.array([[100, 7]], dtype)
    found = difference(one, other)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[-97, 193]])


def test_a_difference_beyond_the_range_is_the_largest_value():
    most = np.finfo(np.float32).max
    found = difference(np.array([[1e300, -1e300, 1e308]]), np.array([[5e299, 1e300, -1e308]]))
    np.testing.assert_array_equal(found, [[most, -most, most]])
