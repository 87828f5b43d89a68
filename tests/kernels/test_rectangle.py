"""The largest rectangle, against trying all of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pystack3d_dask.kernels.registration.inscribed_rectangle import largest_rectangle

masks = arrays(
    bool,
    array_shapes(min_dims=2, max_dims=2, max_side=7),
    elements=st.sampled_from([True, True, True, False]),
)


def all_rectangles(valid):
    """Return area, top and left, of every rectangle of valid pixels."""
    rows, columns = valid.shape
    for top, bottom in combinations(range(rows + 1), 2):
        for left, right in combinations(range(columns + 1), 2):
            if valid[top:bottom, left:right].all():
                yield (bottom - top) * (right - left), top, left


@settings(deadline=None, max_examples=300)
@given(masks)
def test_it_is_the_largest_and_of_equal_ones_that_at_the_top_left(valid):
    top, bottom, left, right = largest_rectangle(valid)
    found = [*all_rectangles(valid)]
    if not found:
        assert (top, bottom, left, right) == (0, 0, 0, 0)
        return
    assert valid[top:bottom, left:right].all()
    largest = max(area for area, _, _ in found)
    assert (bottom - top) * (right - left) == largest
    assert (top, left) == min((row, column) for area, row, column in found if area == largest)


def test_the_whole_image_and_nothing():
    assert largest_rectangle(np.ones((5, 8), bool)) == (0, 5, 0, 8)
    assert largest_rectangle(np.zeros((5, 8), bool)) == (0, 0, 0, 0)


def test_any_memory_layout_will_do():
    valid = np.zeros((6, 9), bool, order="F")
    valid[1:4, 2:9] = True
    assert largest_rectangle(valid) == (1, 4, 2, 9)
    assert largest_rectangle(valid[::-1, ::-1]) == (2, 5, 0, 7)


def test_a_circle_holds_its_square():
    y, x = np.mgrid[-50:51, -50:51]
    top, bottom, left, right = largest_rectangle(x**2 + y**2 <= 50**2)
    assert (bottom - top) * (right - left) >= 71**2
    assert abs((bottom - top) - 71) <= 4
