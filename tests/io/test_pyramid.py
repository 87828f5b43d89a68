"""Which levels a pyramid has, and that pooling is the plain mean."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pystack3d_dask.core.pyramid import pooled_shape, pyramid, slab_thickness
from pystack3d_dask.io.ome.pyramid import pooled, pooled_positions

CUBES = (1.0, 1.0, 1.0)


def plain_means(values, factor):
    """Pool in the slowest and plainest way."""
    padded = np.pad(
        values.astype(np.float64),
        [(0, -n % f) for n, f in zip(values.shape, factor, strict=True)],
        constant_values=np.nan,
    )
    z, y, x = (n // f for n, f in zip(padded.shape, factor, strict=True))
    fz, fy, fx = factor
    means = np.nanmean(padded.reshape(z, fz, y, fy, x, fx), axis=(1, 3, 5))
    return (means if values.dtype.kind == "f" else np.rint(means)).astype(values.dtype)


@pytest.mark.parametrize(
    ("shape", "itemsize", "slices"),
    [
        ((1000, 500, 500), 1, 16),
        ((1000, 1448, 1448), 1, 16),
        ((1000, 2048, 2048), 1, 8),
        ((1000, 2049, 2048), 1, 4),
        ((1000, 2048, 2048), 2, 4),
        ((1000, 20_000, 20_000), 2, 1),
        ((1, 10, 10), 1, 1),
        ((64, 10, 10), 1, 8),
        ((63, 10, 10), 1, 4),
    ],
)
def test_a_slab_is_the_largest_power_of_two_within_its_bounds(shape, itemsize, slices):
    assert slab_thickness(shape, itemsize) == slices


def test_a_small_image_has_one_level():
    assert pyramid((100, 512, 512), CUBES, 16) == ((1, 1, 1),)


def test_cubes_are_halved_along_every_axis_until_rows_and_columns_are_few():
    assert pyramid((100, 2000, 513), CUBES, 16) == ((1, 1, 1), (2, 2, 2), (4, 4, 4))


def test_a_coarse_axis_waits_until_the_others_have_caught_up():
    levels = pyramid((100, 4000, 4000), (4.0, 1.0, 1.0), 16)
    assert levels == ((1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8))


@pytest.mark.parametrize(("z", "factor"), [(1.41, 2), (1.42, 1)])
def test_an_axis_waits_when_it_is_more_than_sqrt_2_times_as_coarse(z, factor):
    assert pyramid((100, 1000, 1000), (z, 1.0, 1.0), 16)[1] == (factor, 2, 2)


def test_a_fine_z_is_halved_first():
    levels = pyramid((100, 1000, 1000), (1.0, 2.0, 2.0), 16)
    assert levels == ((1, 1, 1), (2, 1, 1), (4, 2, 2))


@pytest.mark.parametrize(("slab", "largest"), [(1, 1), (2, 2), (16, 8), (12, 4)])
def test_the_factor_of_z_divides_the_slab(slab, largest):
    levels = pyramid((100, 4000, 4000), CUBES, slab)
    assert levels[-1] == (largest, 8, 8)


def test_an_axis_that_cannot_be_halved_does_not_hold_back_the_others():
    levels = pyramid((100, 1000, 1000), (0.01, 1.0, 1.0), 2)
    assert levels == ((1, 1, 1), (2, 1, 1), (2, 2, 2))


def test_an_axis_of_length_1_is_not_halved():
    assert pyramid((1, 2000, 1), CUBES, 16)[-1] == (1, 4, 1)


def test_positions_are_those_of_the_voxels_pooled():
    assert pooled_positions(np.array([0.0, 1.0, 4.0, 5.0, 9.0]), 2).tolist() == [0.5, 4.5, 9.0]


@st.composite
def slabs(draw):
    dtype = draw(st.sampled_from(["u1", "i1", "u2", "i2", "f4", "f8"]))
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 90), st.integers(1, 40)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if dtype.startswith("f"):
        values = rng.normal(100, 1000, shape)
    else:
        limits = np.iinfo(dtype)
        values = rng.choice([limits.min, limits.max, 0, 1, 2, 3], shape)
    steps = draw(st.lists(st.tuples(*[st.sampled_from([1, 2])] * 3), max_size=4))
    factors = np.cumprod(np.array(steps, dtype=int).reshape(-1, 3), axis=0)
    return values.astype(dtype), [tuple(map(int, factor)) for factor in factors]


@given(slabs())
@settings(deadline=None)
def test_every_level_is_the_mean_of_the_full_image_rounded_once(slab):
    values, factors = slab
    levels = pooled(values, factors)
    assert len(levels) == len(factors)
    for level, factor in zip(levels, factors, strict=True):
        expected = plain_means(values, factor)
        assert level.dtype == values.dtype
        assert level.shape == expected.shape == pooled_shape(values.shape, factor)
        if values.dtype.kind == "f":
            # sums of both signs lose digits of the largest value, not of the mean
            eps = np.finfo(values.dtype).eps * np.abs(values).max()
            np.testing.assert_allclose(level, expected, rtol=0, atol=16 * eps)
        else:
            np.testing.assert_array_equal(level, expected)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
@pytest.mark.parametrize("thickness", [2, 4, 8])
def test_levels_do_not_depend_on_the_thickness_of_the_slab(dtype, thickness):
    values = np.random.default_rng(0).integers(0, 128, (13, 70, 33)).astype(dtype)
    factors = [(1, 2, 2), (2, 4, 4)]
    whole = pooled(values, factors)
    parts = [pooled(values[z : z + thickness], factors) for z in range(0, 13, thickness)]
    for level, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(level, np.concatenate(pieces))


def test_halves_round_to_even_so_that_noise_is_not_brightened():
    values = np.array([[[0, 1, 1, 2]]], dtype=np.uint8)
    assert pooled(values, [(1, 1, 2)])[0].tolist() == [[[0, 2]]]


def test_pooling_leaves_its_input_alone():
    values = np.ones((2, 5, 5), dtype=np.float32)
    values.flags.writeable = False
    pooled(values, [(2, 2, 2)])
