"""Positions from names and back, and which slices lie around a position."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pystack3d_dask.corrections.positions import (
    POLICY,
    PolicyError,
    ascending,
    check_policy,
    neighbors,
    output_name,
    parse_position,
    regular,
)

heights = st.floats(-1e4, 1e4).map(lambda z: round(z, 4))
stacks = st.lists(st.integers(-9999, 9999), min_size=1, max_size=30, unique=True).map(
    lambda values: np.sort(values) * 0.0037
)


@given(st.integers(0, 99999), heights)
@pytest.mark.parametrize(
    "policy",
    [POLICY, "{z_coord}.tif", "a+(b)_{slice_nb}[{z_coord}].tiff", "z{z_coord}_{slice_nb}.tif"],
)
def test_a_name_that_was_made_is_read_again(policy, index, z):
    assert parse_position(output_name(policy, index, z), policy) == z


def test_names_follow_the_policy():
    assert output_name(POLICY, 7, 0.12) == "slice_0007_z=0.1200um.tif"
    assert output_name("{slice_nb}{slice_nb}", 12, 0) == "00120012"


@pytest.mark.parametrize(
    ("name", "policy", "z"),
    [
        ("slice_0012_z=0.1200um.tif", POLICY, 0.12),
        ("SLICE_0012_Z=0.1200UM.TIF", POLICY, 0.12),
        ("slice_x_y_z=-1e-3um.tif", POLICY, -0.001),
        ("slice_1_z=.5um.tif", POLICY, 0.5),
        ("a.b-3.5.tif", "{anything}-{z_coord}.tif", 3.5),
        ("42_42.tif", "{slice_nb}_{z_coord}.tif", 42),
    ],
)
def test_names_tell_positions(name, policy, z):
    assert parse_position(name, policy) == z


@pytest.mark.parametrize(
    ("name", "policy", "message"),
    [
        ("slice_1.tif", POLICY, "slice_1.tif does not follow the policy"),
        ("slice_1_z=0.1um.tiff", POLICY, "does not follow"),
        ("slice_1_z=0.1um.tif", "slice_{slice_nb}.tif", r"has no \{z_coord\}"),
        ("0_0.tif", "{z_coord}_{z_coord}.tif", r"has more than one \{z_coord\}"),
        ("slice_1_z=0,1um.tif", POLICY, "a number expected at .* found '0,1'"),
        ("slice_1_z=um.tif", POLICY, "does not follow"),
        ("sliceX1_z=0.1um.tif", "slice.{slice_nb}_z={z_coord}um.tif", "does not follow"),
        ("slice_1_z=nanum.tif", POLICY, "a number expected at .* found 'nan'"),
        ("slice_1_z=1e999um.tif", POLICY, "a number expected at .* found '1e999'"),
    ],
)
def test_what_cannot_be_read_is_named(name, policy, message):
    with pytest.raises(PolicyError, match=message):
        parse_position(name, policy)


@given(
    st.lists(st.sampled_from(["{a}", "{b}", "x", "1", "1x", "."]), max_size=6),
    st.lists(st.sampled_from(["{a}", "x", "1", "1x", "."]), max_size=6),
    st.text("x1.", max_size=12),
)
def test_names_are_read_as_by_trying_all_ways(before, after, name):
    policy = "".join([*before, "{z_coord}", *after])
    places = re.split(r"(\{\w+\})", policy)
    ways = {"{z_coord}": "(.+?)", "{a}": ".+?", "{b}": ".+?"}
    match = re.fullmatch("".join(ways.get(each, re.escape(each)) for each in places), name)
    try:
        expected = None if match is None else float(match[1])
    except ValueError:
        expected = None
    if expected is None:
        with pytest.raises(PolicyError):
            parse_position(name, policy)
    else:
        assert parse_position(name, policy) == expected


@pytest.mark.parametrize("policy", [POLICY, "{anything}-{z_coord}.tif", "con_{z_coord}.tif"])
def test_policies_that_make_names_of_files_are_taken(policy):
    check_policy(policy)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=20))
def test_slices_are_kept_that_lie_above_all_before(positions):
    kept = ascending(positions)
    expected = [k for k, z in enumerate(positions) if all(before < z for before in positions[:k])]
    assert kept == expected


@given(stacks, st.floats(1e-3, 50))
def test_regular_positions_go_from_the_lowest_to_the_highest_at_most(positions, dz):
    found = regular(positions, dz)
    low, high = positions[0], positions[-1]
    assert found[0] == low
    np.testing.assert_allclose(found, low + dz * np.arange(len(found)), atol=1e-6 * dz + 1e-9)
    assert found[-1] <= high < found[-1] + dz * (1 + 1e-6)


@given(st.integers(1, 3000), st.sampled_from([0.003, 0.01, 0.1, 0.7, 10.0]), heights)
def test_the_last_slice_of_a_uniform_stack_is_reached(count, dz, low):
    positions = np.round(low + dz * np.arange(count), 4)
    found = regular(positions, dz)
    assert len(found) == count
    np.testing.assert_allclose(found, positions, atol=1e-9)
    assert found[-1] == pytest.approx(positions[-1], abs=1e-9)


@given(stacks, st.data())
def test_neighbors_interpolate_as_numpy_does(positions, data):
    low, high = positions[0], positions[-1]
    some = st.floats(low, high)
    z = np.array(data.draw(st.lists(some, min_size=1, max_size=20)))
    z = np.append(z, positions)  # exact hits too
    below, distance, gap = neighbors(positions, z)
    values = np.sin(np.arange(len(positions)) * 3.0)
    above = np.minimum(below + 1, len(positions) - 1)
    found = values[below] + distance / gap * (values[above] - values[below])
    np.testing.assert_allclose(found, np.interp(z, positions, values), atol=1e-5)
    assert (distance >= 0).all()
    assert (distance < gap).all()
    hits = len(z) - len(positions)
    np.testing.assert_array_equal(below[hits:], np.arange(len(positions)))
    np.testing.assert_array_equal(distance[hits:], 0)


@given(stacks, st.floats(-1e-7, 1e-7))
def test_a_position_next_to_a_slice_is_that_slice(positions, error):
    assume(len(positions) > 1)
    z = np.clip(positions + error * 0.0037, positions[0], positions[-1])
    below, distance, _ = neighbors(positions, z)
    np.testing.assert_array_equal(below, np.arange(len(positions)))
    np.testing.assert_array_equal(distance, 0)


@pytest.mark.parametrize("policy", ["{a}" * 20 + "{z_coord}x", "{z_coord}_{z_coord}.tif"])
def test_a_policy_with_many_fields_is_refused(policy):
    with pytest.raises(PolicyError, match=r"does not follow|more than one \{z_coord\}"):
        parse_position("slice_0012_z=0.1200um.tif", policy)
