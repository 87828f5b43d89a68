"""Slices at other positions, against numpy.interp and sums of slices."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stack_tools import correct, spec_of

from pystack3d_dask.core.chain import Chain
from pystack3d_dask.core.spec import Region
from pystack3d_dask.corrections.positions import neighbors
from pystack3d_dask.corrections.resampling import Resampling
from pystack3d_dask.kernels.registration.interpolation import SCHEMES
from pystack3d_dask.kernels.slice_weights import slice_weights

SHAPE = (9, 6, 7)
IMAGES = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
Z = (0.0, 0.01, 0.03, 0.035, 0.06, 0.07, 0.08, 0.11, 0.12)


def listed(z=Z, **parameters):
    return Resampling(**{"dz": 0.013, "z_source": tuple(z), **parameters})


def spec(**given):
    return spec_of(IMAGES, **given)


def interpolated(images, z, z_out):
    flat = images.reshape(len(images), -1)
    columns = [np.interp(z_out, z, pixel) for pixel in flat.T]
    return np.array(columns).T.reshape(-1, *images.shape[1:])


def named(z, policy="slice_{}_z={:.4f}um.tif"):
    return tuple(policy.format(k, each) for k, each in enumerate(z))


def problems(step, stack=None):
    return [(p.path, p.severity) for p in step.check(stack or spec())]


@settings(deadline=None)
@given(
    gaps=st.lists(st.integers(1, 40), min_size=8, max_size=8),
    dz=st.integers(3, 60),
)
def test_slices_are_linear_between_their_neighbors(gaps, dz):
    z = 0.001 * np.cumsum([5, *gaps])
    step = listed(z, dz=0.001 * dz)
    z_out = np.array(Chain((step,), spec()).levels[1].z)
    np.testing.assert_allclose(z_out, z[0] + 0.001 * dz * np.arange(len(z_out)), atol=1e-8)
    np.testing.assert_allclose(correct(step, IMAGES), interpolated(IMAGES, z, z_out), atol=1e-2)


@pytest.mark.parametrize("precision", ["float32", "source"])
def test_a_position_of_a_slice_copies_it(precision):
    step = listed(zpos_out=(0.01, 0.035, 0.05, 0.12))
    found = correct(step, IMAGES, spec(precision=precision))
    np.testing.assert_array_equal(found[[0, 1, 3]], IMAGES[[1, 3, 8]])
    middle = interpolated(IMAGES, Z, [0.05])
    expected = np.floor(middle + 1e-9) if precision == "source" else middle
    np.testing.assert_allclose(found[2:3], expected, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_uniform_stack_is_copied_to_the_last_slice(count):
    images = IMAGES[:count]
    z = 0.1 + 0.01 * np.arange(count)
    stack = spec_of(images, names=named(z))
    step = Resampling(dz=0.01)
    assert not problems(step, stack)
    np.testing.assert_array_equal(correct(step, images, stack), images)


def test_positions_come_from_names_metadata_or_a_list():
    stack = spec(names=named(Z), z=tuple(Z), z_metadata=tuple(2 * z for z in Z))
    for step, last in [
        (Resampling(dz=0.01), 0.12),
        (Resampling(dz=0.01, z_source="metadata"), 0.24),
        (listed([5 * z for z in Z], dz=0.01), 0.6),
    ]:
        assert not problems(step, stack)
        assert step.output_spec(stack).z[-1] == pytest.approx(last)


def test_a_stack_without_names_has_the_positions_it_carries():
    stack = spec(z=Z)
    np.testing.assert_allclose(
        correct(Resampling(dz=0.02), IMAGES, stack),
        interpolated(IMAGES, Z, 0.02 * np.arange(7)),
        atol=1e-3,
    )


def test_slices_that_do_not_go_up_are_left_out_and_told_of():
    z = list(Z)
    z[3], z[6] = 0.02, 0.07
    step = listed(z, dz=0.015)
    ((path, severity),) = problems(step)
    assert (path, severity) == ("resampling.z_source", "warning")
    (problem,) = step.check(spec())
    assert "slice 3, slice 6: not above the slices before, left out" in problem.message
    kept = [0, 1, 2, 4, 5, 7, 8]
    z_out = np.array(step.output_spec(spec()).z)
    expected = interpolated(IMAGES[kept], np.array(z)[kept], z_out)
    np.testing.assert_allclose(correct(step, IMAGES), expected, atol=1e-3)


def test_the_output_knows_names_positions_and_shape():
    stack = spec(names=named(Z), z_metadata=Z)
    out = Resampling(dz=0.05).output_spec(stack)
    assert out.shape == (3, 6, 7)
    assert out.names == tuple(f"slice_{k:04d}_z={0.05 * k:.4f}um.tif" for k in range(3))
    assert out.z == pytest.approx((0, 0.05, 0.1))
    assert out.z_metadata is None
    assert out.dtype == np.float32
    assert Resampling(dz=0.05).output_spec(spec(names=named(Z), precision="source")).dtype == "u1"


def test_what_is_made_of_a_bad_slice_counts_as_bad():
    step = listed(zpos_out=(Z[0], Z[2], (Z[2] + Z[3]) / 2, Z[4]))
    assert step.output_spec(spec(bad=(3,))).bad == (2,)


@pytest.mark.parametrize("interpolation", SCHEMES)
@settings(deadline=None)
@given(cuts=st.sets(st.integers(1, 20)), dz=st.sampled_from([0.005, 0.0075, 0.01, 0.0127, 0.03]))
def test_each_slice_belongs_to_one_block(interpolation, cuts, dz):
    for z in (Z, np.arange(len(Z)) / 100):
        chain = Chain((listed(z, dz=dz, interpolation=interpolation),), spec())
        out = chain.levels[1]
        edges = [0, *sorted(cut for cut in cuts if cut < out.shape[0]), out.shape[0]]
        blocks = [out.region.with_z(a, b) for a, b in pairwise(edges)]
        owned = [z for block in blocks for z in chain.owned(block.z, 1, 0)]
        assert owned == list(range(len(Z)))


def test_bad_slices_that_hardly_count_make_none_bad():
    step = listed(np.arange(9) / 10, zpos_out=(0.05, 0.45, 0.75), interpolation="cubic")
    assert step.output_spec(spec(bad=(0,))).bad == (0,)
    assert step.output_spec(spec(bad=(8,))).bad == (2,)


@pytest.mark.parametrize("interpolation", SCHEMES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_slices_are_weighted_sums(interpolation, dtype):
    images = IMAGES.astype(dtype)
    step = listed(interpolation=interpolation)
    z_out = np.array(Chain((step,), spec()).levels[1].z)
    weights = slice_weights(np.array(Z), *neighbors(np.array(Z), z_out), interpolation)
    padded = np.concatenate([images, np.zeros((16, *SHAPE[1:]))])
    expected = [
        np.tensordot(each, padded[first : first + len(each)], 1)
        for first, each in zip(*weights, strict=True)
    ]
    np.testing.assert_allclose(correct(step, images), expected, atol=1e-3)


@pytest.mark.parametrize(("interpolation", "count"), [("catmull-rom", 4), ("lanczos3", 6)])
def test_as_many_slices_are_read_as_count(interpolation, count):
    step = listed(zpos_out=(0.01, 0.05), interpolation=interpolation)
    out = replace(spec(), shape=(2, 6, 7)).region
    wanted = [step.source(out.with_z(k, k + 1), spec()).z for k in range(2)]
    assert wanted == [range(1, 2), range(4 - count // 2, 4 + count // 2)]


def test_only_the_neighbors_are_read():
    step = listed(zpos_out=(0.01, 0.02, 0.09))
    out = replace(spec(), shape=(3, 6, 7)).region
    wanted = [step.source(out.with_z(k, k + 1), spec()).z for k in range(3)]
    assert wanted == [range(1, 2), range(1, 3), range(6, 8)]
    assert step.source(Region((0, 2, 3), (2, 4, 5)), spec()) == Region((1, 2, 3), (3, 4, 5))


@settings(deadline=None)
@given(
    cuts=st.sets(st.integers(1, 9)),
    dz=st.sampled_from([0.005, 0.0127, 0.03]),
    interpolation=st.sampled_from([*SCHEMES]),
)
def test_blocks_do_not_matter(cuts, dz, interpolation):
    z = list(Z)
    z[4] = 0.02  # left out
    step = listed(z, dz=dz, interpolation=interpolation)
    out = step.output_spec(spec())
    edges = [0, *sorted(cut for cut in cuts if cut < out.shape[0]), out.shape[0]]
    blocks = [out.region.with_z(a, b) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(correct(step, IMAGES, blocks=blocks), correct(step, IMAGES))


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"dz": None}, "dz"),
        ({"antialias": True, "interpolation": "whole"}, "antialias"),
        ({"dz": 0.0}, "dz"),
        ({"dz": -0.01}, "dz"),
        ({"dz": float("nan")}, "dz"),
        ({"dz": float("inf")}, "dz"),
        ({"dz": 1e-8}, "dz"),  # meters
        ({"zpos_out": ()}, "zpos_out"),
        ({"zpos_out": (0.02, 0.01)}, "zpos_out"),
        ({"zpos_out": (0.01, 0.01)}, "zpos_out"),
        ({"zpos_out": (0.01, 0.2)}, "zpos_out"),
        ({"zpos_out": (-0.01, 0.01)}, "zpos_out"),
        ({"zpos_out": tuple(np.linspace(Z[0], Z[-1], 100_000))}, "zpos_out"),
        ({"z_source": (0.0, 0.1)}, "z_source"),
        ({"z_source": "metadata"}, "z_source"),
        ({"z_source": tuple(reversed(Z))}, "z_source"),
        ({"z_source": (float("nan"), *Z[1:])}, "z_source"),
        ({"z_source": (*Z[:-1], float("inf"))}, "z_source"),
        ({"z_source": "names", "policy": "s_{slice_nb}_{z_coord}.tif"}, "policy"),
        ({"z_source": "names", "policy": "slice.tif"}, "policy"),
        ({"policy": "slice.tif"}, "policy"),
    ],
)
def test_what_is_wrong_is_named(parameters, path):
    stack = spec(names=named(Z))
    assert problems(listed(**parameters), stack) == [(f"resampling.{path}", "error")]


def test_several_mistakes_are_named_at_once():
    step = Resampling(dz=0.0, policy="slice.tif")
    found = problems(step, spec(names=named(Z)))
    assert found == [("resampling.policy", "error"), ("resampling.dz", "error")]


def test_slices_in_the_wrong_order_are_said_to_be():
    (problem,) = listed(tuple(reversed(Z))).check(spec())
    assert "go down from 0.12 to 0" in problem.message


@pytest.mark.parametrize("interpolation", SCHEMES)
@settings(deadline=None)
@given(cuts=st.sets(st.integers(1, 9)), dz=st.sampled_from([0.005, 0.02, 0.03, 0.05]))
def test_slices_that_are_thinned_do_not_depend_on_blocks(interpolation, cuts, dz):
    step = listed(dz=dz, interpolation=interpolation, antialias=True)
    out = step.output_spec(spec())
    edges = [0, *sorted(cut for cut in cuts if cut < out.shape[0]), out.shape[0]]
    blocks = [out.region.with_z(a, b) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(correct(step, IMAGES, blocks=blocks), correct(step, IMAGES))


def test_with_antialiasing_all_slices_count_where_few_are_made():
    z = np.arange(9) / 100
    found = correct(listed(z, dz=0.04, antialias=True), IMAGES)
    weights = np.array([1, 2, 3, 4, 3, 2, 1]) / 16
    np.testing.assert_allclose(found[1], np.tensordot(weights, IMAGES[1:8], 1), rtol=1e-5)
    copied = correct(listed(z, dz=0.04), IMAGES)
    np.testing.assert_array_equal(copied[1], IMAGES[4])


def test_a_single_slice_is_made_as_without_antialiasing():
    for zpos_out in ((0.02,), (0.0,)):
        some, others = (listed(zpos_out=zpos_out, antialias=on) for on in (True, False))
        np.testing.assert_allclose(correct(some, IMAGES), correct(others, IMAGES), atol=1e-4)


def test_slices_made_close_together_are_not_smeared_by_one_far_away():
    z = np.arange(9) / 100
    step = listed(z, zpos_out=(0.0, 0.01, 0.08), antialias=True)
    np.testing.assert_array_equal(correct(step, IMAGES)[:2], IMAGES[:2])


def test_antialiasing_without_effect_is_named():
    z = np.arange(9) / 100
    assert problems(listed(z, dz=0.01, antialias=True)) == [("resampling.antialias", "warning")]
    assert problems(listed(z, dz=0.02, antialias=True)) == []
