"""Ranks and sorting keys of gray levels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stack_tools import spec_of

from pystack3d_dask.corrections.levels import check_range, full_range
from pystack3d_dask.kernels.intensity.quantiles import of_sorting_keys, ranked, ranks, sorting_keys

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("dtype", "ends"),
    [("uint8", (0, 255)), ("int16", (-32768, 32767)), ("float32", (0, 1))],
)
def test_black_and_white_are_the_ends_of_the_type(dtype, ends):
    assert full_range(spec_of(np.zeros((2, 3, 4), dtype))) == ends


@given(
    values=hnp.arrays(np.uint8, st.integers(1, 40)),
    percentiles=st.tuples(st.floats(0, 50), st.floats(50, 100)),
)
def test_values_between_ranks_are_percentiles_as_numpy_has_them(values, percentiles):
    counts = np.bincount(values, minlength=256)
    ends, fraction = ranks(len(values), percentiles)
    below, above = ranked(counts, ends)[0]
    expected = np.percentile(values, percentiles)
    np.testing.assert_allclose(below + (above - below) * fraction, expected, atol=1e-9)


def test_the_rank_inside_a_bin_counts_from_its_first_value():
    bins, rank = ranked(np.array([3, 0, 2]), np.array([0, 2, 3, 4]))
    np.testing.assert_array_equal(bins, [0, 0, 2, 2])
    np.testing.assert_array_equal(rank, [0, 2, 0, 1])


@given(hnp.arrays(np.float32, st.integers(1, 30), elements=finite))
def test_keys_sort_like_their_values_and_lead_back_to_them(values):
    keys = sorting_keys(values)
    assert np.all(np.diff(values[np.argsort(keys)]) >= 0)
    np.testing.assert_array_equal(of_sorting_keys(keys).view(np.uint32), values.view(np.uint32))


@pytest.mark.parametrize(
    "levels", [(5, 5), (9, 1), (1.0, 1.0000001), (0, 5e-324), (-1e300, 1e300), (0, 1e38)]
)
def test_ranges_that_cannot_be_computed_with_are_named(levels):
    (problem,) = check_range("gamma.in_range", levels)
    assert problem.path == "gamma.in_range"
    assert str(levels[0]) in problem.message


def test_other_ranges_are_not():
    assert [
        *check_range("x", None),
        *check_range("x", (0, 255)),
        *check_range("x", (-1, 1e-3)),
    ] == []
