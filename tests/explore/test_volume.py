"""Which planes are looked at, where they lie, and what is loaded for them."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from conftest import textured
from counting import MICROMETERS, CountingArray, placed
from hypothesis import given
from hypothesis import strategies as st

from pystack3d_dask.errors import StackError
from pystack3d_dask.explore.volume import Axis, as_volume, gray_limits, load

SHAPE = (11, 24, 30)
VALUES = textured(SHAPE)


def axis(positions: list[float]) -> Axis:
    return Axis.at("z", np.array(positions), "µm")


def test_voxels_end_half_way_between_their_centers():
    np.testing.assert_allclose(axis([0, 1, 3]).edges, [-0.5, 0.5, 2, 4])
    np.testing.assert_allclose(axis([3, 1, 0]).edges, [4, 2, 0.5, -0.5])
    np.testing.assert_allclose(axis([7]).edges, [6.5, 7.5])
    assert axis([0, 1, 3]).span == 4.5


@pytest.mark.parametrize("step", [1, 2, 3, 50])
@pytest.mark.parametrize("change", [Axis.strided, Axis.pooled])
def test_fewer_voxels_cover_the_same_length(change, step):
    whole = axis([0.0, 1, 2, 3, 4, 5, 6])
    fewer = change(whole, step)
    assert len(fewer.positions) == len(fewer.edges) - 1 == -(-7 // step)
    assert fewer.span == whole.span
    np.testing.assert_array_equal(fewer.edges[:-1], whole.edges[:-1:step])


def test_rows_of_an_even_axis_are_its_voxels():
    np.testing.assert_array_equal(axis([0, 0.1, 0.2, 0.3]).even(), [0, 1, 2, 3])
    np.testing.assert_array_equal(axis([5]).even(), [0])


@given(
    gaps=st.lists(st.floats(0.5, 4), min_size=2, max_size=12),
    is_falling=st.booleans(),
)
def test_rows_of_an_uneven_axis_lie_in_their_voxel(gaps, is_falling):
    positions = np.cumsum([0, *gaps])
    uneven = axis(list(positions[::-1] if is_falling else positions))
    rows = uneven.even()
    middle = uneven.edges[0] + (np.arange(len(rows)) + 0.5) / len(rows) * np.ptp(uneven.edges) * (
        -1 if is_falling else 1
    )
    first, last = np.sort([uneven.edges[rows], uneven.edges[rows + 1]], axis=0)
    tolerance = 1e-3 * uneven.span
    assert np.all((first - tolerance <= middle) & (middle <= last + tolerance))
    assert set(rows.tolist()) == set(range(len(positions)))


def test_positions_are_told_as_finely_as_voxels_are_apart():
    assert axis([0, 0.008, 0.016]).tell(1) == "z = 0.008 µm"
    assert axis([0, 0.1, 0.2]).tell(1) == "z = 0.1 µm"
    assert axis([0, 5, 20]).tell(2) == "z = 20 µm"
    assert Axis.at("z", np.arange(9), "px", is_known=False).tell(4) == "z = 4"


@pytest.mark.parametrize(
    "make", [np.asarray, da.from_array, zarr.array, lambda v: xr.DataArray(v, dims=("z", "y", "x"))]
)
def test_stacks_of_any_kind_are_taken_in_pixels_where_they_tell_no_more(make):
    volume = as_volume(make(VALUES))
    assert [each.label for each in volume.axes] == ["z (slices)", "y (pixels)", "x (pixels)"]
    (plane,) = load([volume.cut("z", 4)])
    np.testing.assert_array_equal(plane.image, VALUES[4])
    assert plane.extent == (-0.5, 29.5, 23.5, -0.5)


def test_coordinates_in_micrometers_place_the_planes():
    z = np.array([0, 0.1, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1])
    volume = as_volume(placed(VALUES, z, dy=0.02, dx=0.01))
    xy, xz, zy = load(
        [volume.cut(name, index) for name, index in zip("zyx", (3, 5, -1), strict=True)]
    )
    np.testing.assert_array_equal(xy.image, VALUES[3])
    np.testing.assert_array_equal(xz.image, VALUES[:, 5])
    np.testing.assert_array_equal(zy.image, VALUES[:, :, 29])
    np.testing.assert_allclose(xy.extent, (-0.005, 0.295, 0.47, -0.01))
    np.testing.assert_allclose(xz.extent, (-0.005, 0.295, 1.15, -0.05))
    np.testing.assert_allclose(zy.turned().extent, (-0.05, 1.15, 0.47, -0.01))
    assert [plane.cut.title for plane in (xy, xz, zy)] == [
        "z = 0.4 µm",
        "y = 0.10 µm",
        "x = 0.29 µm",
    ]
    # the slices around the gap are drawn as thick as they are
    assert xz.even().shape[0] == 12
    assert xz.rows.label == "z (µm)"


def test_slices_of_unknown_thickness_are_taken_for_cubes_and_said_to_be():
    stack = placed(VALUES, np.arange(11)).drop_vars("z")
    z = as_volume(stack).axes[0]
    assert z.label == "z (thickness unknown)"
    assert z.span == pytest.approx(0.11)
    assert z.tell(3) == "z = 3"


@pytest.mark.parametrize("z", [np.array([0, 2, 1]), np.array([0, 1, 1])])
def test_positions_in_disorder_are_not_used(z):
    assert not as_volume(placed(VALUES[:3], z)).axes[0].is_known


def test_a_channel_is_taken_by_place_or_name():
    both = xr.DataArray(
        np.stack([VALUES, VALUES // 2]), dims=("c", "z", "y", "x"), coords={"c": ["ESB", "SE2"]}
    )
    for channel in (1, "SE2"):
        np.testing.assert_array_equal(as_volume(both, channel).values, VALUES // 2)
    with pytest.raises(StackError, match=r"\['ESB', 'SE2'\] or 0 to 1 expected, found 'BSE'"):
        as_volume(both, "BSE")


def test_of_long_axes_slices_are_left_out_and_rows_and_columns_averaged():
    counting = CountingArray(VALUES)
    volume = as_volume(counting)
    (plane,) = load([volume.cut("y", 7, most=5)])
    assert counting.loaded == 4 * 30
    expected = VALUES[::3, 7].astype(float).reshape(4, 5, 6).mean(axis=2)
    np.testing.assert_allclose(plane.image, expected, rtol=1e-6)
    np.testing.assert_array_equal(plane.rows.positions, [0, 3, 6, 9])
    assert plane.extent == (-0.5, 29.5, 10.5, -0.5)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (VALUES[0], "found ndarray of shape"),
        ("stack", "found str"),
        (xr.DataArray(VALUES, dims=("t", "y", "x")), r"found \('t', 'y', 'x'\)"),
        (VALUES[:0], "is empty"),
    ],
)
def test_what_is_no_stack_is_refused(wrong, words):
    with pytest.raises(StackError, match=words):
        as_volume(wrong)


def test_a_plane_that_is_not_there_is_named():
    with pytest.raises(StackError, match="y: 0 to 23, the index of a voxel, expected, found 24"):
        as_volume(VALUES).cut("y", 24)


def test_gray_limits_are_percentiles_of_all_that_is_shown():
    images = [np.arange(100.0), np.array([np.nan, np.inf, 1000.0])]
    pixels = [*range(100), 1000]
    assert gray_limits(images) == pytest.approx(tuple(np.percentile(pixels, (0.5, 99.5))))
    assert gray_limits([np.full(5, 7)]) == (7, 8)
    assert gray_limits([np.full(5, np.nan)]) == (0, 1)


def test_units_other_than_micrometers_do_not_count():
    stack = placed(VALUES, np.arange(11))
    stack.x.attrs["units"] = "pixel"
    assert MICROMETERS["units"] != stack.x.attrs["units"]
    assert {each.unit for each in as_volume(stack).axes} == {"px"}
