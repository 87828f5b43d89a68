"""The algebra of regions, and what a spec tells about a stack."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystack3d_dask.core.spec import EMPTY, Region, StackSpec

SHAPE = (7, 8, 9)
triples = st.tuples(*[st.integers(-4, 12)] * 3)
lengths = st.tuples(*[st.integers(0, 6)] * 3)


@st.composite
def regions(draw):
    start, length = draw(triples), draw(lengths)
    return Region(start, tuple(a + n for a, n in zip(start, length, strict=True)))


def voxels(region):
    """Return the voxels as a set, which needs no arithmetic to be right."""
    axes = (range(a, b) for a, b in zip(region.start, region.stop, strict=True))
    z, y, x = axes
    return {(i, j, k) for i in z for j in y for k in x}


@given(regions())
def test_size_shape_and_slices_count_the_voxels(region):
    assert region.size == len(voxels(region))
    assert region.shape == tuple(
        len(range(*s.indices(99))) for s in region.shifted((9,) * 3).slices
    )
    assert region.z == range(region.start[0], region.stop[0])


@given(regions(), triples)
def test_shifting_moves_every_voxel_and_back(region, offset):
    moved = {tuple(np.add(v, offset).tolist()) for v in voxels(region)}
    assert voxels(region.shifted(offset)) == moved
    assert region.shifted(offset).shifted([-d for d in offset]) == region


@given(regions(), lengths, lengths)
def test_growing_adds_a_halo(region, before, after):
    grown = region.grown(before, after)
    assert grown.shape == tuple(np.add(region.shape, before) + after)
    assert voxels(region) <= voxels(grown)
    assert grown.grown([-d for d in before], [-d for d in after]) == region


@given(regions())
def test_clipping_keeps_the_voxels_inside(region):
    inside = voxels(Region.full(SHAPE))
    clipped = region.clipped(SHAPE)
    assert voxels(clipped) == voxels(region) & inside
    assert clipped.clipped(SHAPE) == clipped
    assert min(clipped.start) >= 0


@given(regions(), regions())
def test_joining_covers_both_tightly(one, other):
    joined = one.joined(other)
    both = voxels(one) | voxels(other)
    assert both <= voxels(joined)
    assert one.joined(other).size == other.joined(one).size
    if both:
        points = np.array(sorted(both))
        assert joined.start == tuple(points.min(axis=0))
        assert joined.stop == tuple(points.max(axis=0) + 1)


@given(regions())
def test_an_empty_region_adds_nothing(region):
    assert region.joined(EMPTY) == (region if region.size else EMPTY)
    assert EMPTY.joined(region) == region


@given(regions(), regions())
def test_relative_coordinates_start_where_the_outer_region_starts(inner, outer):
    relative = inner.relative_to(outer)
    assert relative.shape == inner.shape
    assert relative.shifted(outer.start) == inner
    assert outer.relative_to(outer).start == (0, 0, 0)


def test_relative_slices_find_the_same_pixels():
    stack = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    outer, inner = Region((1, 2, 3), (6, 8, 9)), Region((2, 4, 5), (4, 7, 9))
    block = stack[outer.slices]
    np.testing.assert_array_equal(block[inner.relative_to(outer).slices], stack[inner.slices])


@given(regions(), st.integers(0, 9), st.integers(0, 9))
def test_other_slices_keep_rows_and_columns(region, start, stop):
    other = region.with_z(start, stop)
    assert other.z == range(start, stop)
    assert (other.start[1:], other.stop[1:]) == (region.start[1:], region.stop[1:])


def test_a_region_turned_inside_out_is_empty():
    region = Region((3, 3, 3), (1, 5, 5))
    assert region.shape == (0, 2, 2)
    assert region.size == 0


def spec(dtype="uint16", **given):
    defaults = {"shape": (5, 6, 7), "dtype": np.dtype(dtype), "source_dtype": np.dtype(dtype)}
    return StackSpec(**{**defaults, **given})


@pytest.mark.parametrize(
    ("dtype", "precision", "computed", "arithmetic"),
    [
        ("uint8", "float32", "float32", "float32"),
        ("uint8", "source", "uint8", "float64"),
        ("uint16", "float32", "float32", "float32"),
        ("uint16", "source", "uint16", "float64"),
        ("float32", "source", "float32", "float32"),
    ],
)
def test_types_of_values_and_of_arithmetic(dtype, precision, computed, arithmetic):
    stack = spec(dtype, precision=precision)
    assert stack.computed().dtype == computed
    assert stack.computed().source_dtype == dtype
    assert stack.arithmetic == arithmetic


def test_float32_is_too_coarse_to_truncate_16_bits():
    # what the wider arithmetic is for
    exact = np.nextafter(40000.0, 0)
    assert int(np.float32(exact)) == 40000 > int(exact)


def test_cropping_keeps_positions_and_remembers_the_origin():
    stack = spec(z=(0.0, 0.1, 0.2, 0.3, 0.4), origin=(10, 20))
    part = stack.cropped(Region((1, 2, 3), (4, 6, 7)))
    assert part.shape == (3, 4, 4)
    assert part.z == (0.1, 0.2, 0.3)
    assert part.origin == (12, 23)
    assert part.nbytes == 3 * 4 * 4 * 2


def test_picked_slices_keep_their_names_and_positions():
    stack = spec(z=(0.0, 0.1, 0.2, 0.3, 0.4), names=tuple("abcde"), origin=(10, 20))
    part = stack.picked((0, 3, 4))
    assert part.shape == (3, *stack.shape[1:])
    assert part.z == (0.0, 0.3, 0.4)
    assert part.names == ("a", "d", "e")
    assert part.z_metadata is None
    assert part.origin == (10, 20)


def test_bad_slices_are_followed_through_what_is_cut_and_picked():
    stack = spec(bad=(0, 3, 4))
    assert stack.cropped(Region((1, 2, 3), (4, 6, 7))).bad == (2,)
    assert stack.picked((0, 1, 4)).bad == (0, 2)


@pytest.mark.parametrize(
    ("z", "expected"), [(None, 0.5), ((0.0, 0.1, 0.2, 0.6, 0.7), 0.2), ((1.0,) * 5, 0.5)]
)
def test_the_way_between_two_slices_is_measured_where_it_is_known(z, expected):
    assert spec(z=z).share_between(1, 2, 3) == pytest.approx(expected)
    assert spec(z=z).share_between(2, 2, 2) == 0


def test_regions_beyond_a_stack_are_refused():
    Region((0, 0, 0), SHAPE).check_inside(SHAPE)
    with pytest.raises(ValueError, match=r"not inside a stack of shape \(7, 8, 9\)"):
        Region((0, 0, 0), (7, 8, 10)).check_inside(SHAPE)


@pytest.mark.parametrize(
    ("z", "pixel", "expected"),
    [
        (None, None, (1, 1, 1)),
        (None, (0.01, 0.02), (0.01, 0.01, 0.02)),
        ((0.0, 0.5, 2.0), (0.01, 0.02), (1.0, 0.01, 0.02)),
        ((2.0, 0.4, 0.0), None, (1.0, 1.0, 1.0)),
        ((1.0, 0.4, 0.0), None, (0.5, 0.5, 0.5)),
        ((3.0,), (0.01, 0.02), (0.01, 0.01, 0.02)),
    ],
)
def test_voxels_are_cubes_along_axes_that_are_not_known(z, pixel, expected):
    assert spec(z=z, pixel_size=pixel).spacing() == pytest.approx(expected)
