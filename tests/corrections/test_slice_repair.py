"""Bad slices are interpolated between good ones, or left out."""

from __future__ import annotations

import numpy as np
import pytest
from stack_tools import correct, spec_of

from pystack3d_dask.core.chain import Chain
from pystack3d_dask.core.spec import Region
from pystack3d_dask.corrections.slice_repair import SliceRepair
from pystack3d_dask.testing import check_step

CHECKED = {"slice_check": {"is_worse": np.ones(8, bool)}}
Z = (0.0, 0.01, 0.02, 0.03, 0.07, 0.08, 0.09, 0.1)


def ramp(count=8):
    """Return slices that grow brighter by 10 from one to the next."""
    pattern = np.arange(30, dtype=np.uint8).reshape(5, 6)
    return np.stack([pattern + np.uint8(10 * z) for z in range(count)])


def spoilt(stack, places):
    """Return a stack with some slices white."""
    out = stack.copy()
    out[list(places)] = 255
    return out


def repaired(places, action="interpolate", **given):
    """Return a ramp whose slices at some places are bad, repaired."""
    stack = spoilt(ramp(), places)
    spec = spec_of(stack, bad=tuple(places), **given)
    return correct(SliceRepair(action=action), stack, spec, fits=CHECKED)


@pytest.mark.parametrize("places", [[], [3], [2, 5], [1, 2, 3, 5]])
def test_what_changes_evenly_along_z_comes_back(places):
    np.testing.assert_array_equal(repaired(places), ramp())


def test_at_the_ends_the_nearest_good_slice_stands_in():
    expected = ramp()[[2, 2, 2, 3, 4, 5, 6, 6]]
    np.testing.assert_array_equal(repaired([0, 1, 7]), expected)


def test_positions_along_z_count():
    stack = repaired([3], z=Z)
    # 10 nm from the slice before, of 50 nm to the one after
    np.testing.assert_array_equal(stack[3], ramp()[2] + 4)


def test_bad_slices_are_left_out_with_their_positions():
    good = [0, 1, 2, 4, 6, 7]
    np.testing.assert_array_equal(repaired([3, 5], "drop"), ramp()[good])
    spec = spec_of(ramp(), bad=(3, 5), z=Z, names=tuple("abcdefgh"))
    out = Chain((SliceRepair(action="drop"),), spec, CHECKED).levels[-1]
    assert out.shape == (6, 5, 6)
    assert out.z == tuple(Z[k] for k in good)
    assert out.names == tuple("abcegh")
    assert out.bad == ()


def test_a_bad_slice_that_is_nearer_to_the_truth_than_its_neighbors_stays():
    stack = spoilt(ramp(), [2, 5])
    checked = {"slice_check": {"is_worse": np.arange(8) == 5}}
    found = correct(SliceRepair(), stack, spec_of(stack, bad=(2, 5)), fits=checked)
    np.testing.assert_array_equal(found[5], ramp()[5])
    np.testing.assert_array_equal(found[2], stack[2])


def test_how_many_slices_are_left_is_not_known_before_the_check():
    spec = spec_of(ramp(), bad=(3,))
    out = Chain((SliceRepair(action="drop"),), spec).levels[-1]
    assert out.is_bound
    assert out.shape == spec.shape


@pytest.mark.parametrize("action", ["interpolate", "drop"])
def test_where_no_slice_is_good_all_stay(action):
    stack = ramp(5)
    spec = spec_of(stack, bad=tuple(range(5)))
    found = correct(SliceRepair(action=action), stack, spec, fits=CHECKED)
    np.testing.assert_array_equal(found, stack)


@pytest.mark.parametrize("action", ["interpolate", "drop"])
@pytest.mark.parametrize("thickness", [1, 2, 3])
def test_blocks_do_not_matter(action, thickness):
    whole = repaired([2, 3, 6], action)
    stack = spoilt(ramp(), [2, 3, 6])
    frame = Region.full(whole.shape)
    blocks = [
        frame.with_z(z, min(z + thickness, len(whole))) for z in range(0, len(whole), thickness)
    ]
    spec = spec_of(stack, bad=(2, 3, 6))
    found = correct(SliceRepair(action=action), stack, spec, blocks, CHECKED)
    np.testing.assert_array_equal(found, whole)


def test_with_precision_source_a_warning_says_that_nothing_is_done():
    (problem,) = SliceRepair().check(spec_of(ramp(), precision="source"))
    assert problem.severity == "warning"
    assert "stay as they are" in problem.message


def test_a_check_has_to_come_before():
    (problem,) = SliceRepair().check_order([])
    assert "needs slice_check before it" in problem.message


@pytest.mark.parametrize("action", ["interpolate", "drop"])
def test_the_contract_is_kept(action):
    images = np.random.default_rng(0).integers(0, 255, (9, 37, 53)).astype(np.uint8)
    spec = spec_of(images, bad=(0, 4, 5, 8))
    fits = {"slice_check": {"is_worse": np.ones(9, bool)}}
    check_step(SliceRepair(action=action), spec, images, fits)
