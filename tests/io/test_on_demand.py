"""Arrays on disk whose selections are all that is read."""

from __future__ import annotations

import pickle

import dask.array as da
import numpy as np
import pytest
import zarr
from counting import CountingArray
from hypothesis import given
from hypothesis import strategies as st

from pystack3d_dask.io.on_demand import OnDemand

SHAPE = (2, 9, 7, 8)
VALUES = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
BLOCKS = (1, 4, -1, -1)

steps = st.integers(-3, 3).filter(bool) | st.none()
ends = st.integers(-12, 12) | st.none()
indices = st.lists(st.integers(-2, 1) | st.builds(slice, ends, ends, steps), max_size=4).map(tuple)


@given(first=indices, second=indices)
def test_selections_of_selections_are_those_of_numpy(first, second):
    counting = CountingArray(VALUES)
    found, expected = OnDemand(counting, BLOCKS), VALUES
    for index in (first, second):
        try:
            expected = expected[index]
        except IndexError:
            with pytest.raises(IndexError):
                found[index]
            return
        found = found[index]
    np.testing.assert_array_equal(found.compute(scheduler="synchronous"), expected)
    if expected.ndim and expected.size:
        assert isinstance(found, OnDemand)
        assert counting.loaded == expected.size


@pytest.mark.parametrize(
    "index", [(0, [3, 1]), (..., 2), (None, 0), np.array([1, 0]), (0, 1, 2, 3)]
)
def test_other_indices_are_left_to_dask(index):
    found = OnDemand(CountingArray(VALUES), BLOCKS)[index]
    assert type(found) is da.Array
    np.testing.assert_array_equal(found.compute(scheduler="synchronous"), VALUES[index])


def test_it_is_a_dask_array_to_all_others():
    array = OnDemand(CountingArray(VALUES), BLOCKS)
    assert array.chunks == ((1, 1), (4, 4, 1), (7,), (8,))
    assert array.dtype == VALUES.dtype
    total = (array[1] + 1).sum()
    assert type(total) is da.Array
    assert total.compute(scheduler="synchronous") == (VALUES[1] + 1).sum()
    again = pickle.loads(pickle.dumps(array[0, 3]))
    np.testing.assert_array_equal(again.compute(scheduler="synchronous"), VALUES[0, 3])


def test_zarr_arrays_are_read_backwards_too():
    stored = zarr.array(VALUES, chunks=(1, 2, 4, 4))
    found = OnDemand(stored, BLOCKS)[1, ::-2, 5:1:-1]
    np.testing.assert_array_equal(found.compute(), VALUES[1, ::-2, 5:1:-1])
