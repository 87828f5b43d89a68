"""Rectangles with the origin at the bottom left, and what cropping keeps of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stack_tools import correct, spec_of

from pystack3d_dask.core.area import area_region, check_area
from pystack3d_dask.core.spec import Region
from pystack3d_dask.corrections.cropping import Cropping, CroppingFinal

IMAGES = np.random.default_rng(0).integers(0, 255, (3, 10, 14)).astype(np.uint8)
SPEC = spec_of(IMAGES, pixel_size=(0.1, 0.1))
numbers = st.integers(-5, 20)


@pytest.mark.parametrize("step", [Cropping, CroppingFinal])
@given(area=st.tuples(numbers, numbers, numbers, numbers))
def test_an_area_selects_what_it_selects_upside_down(step, area):
    xmin, xmax, ymin, ymax = area
    upright = IMAGES[:, ::-1]
    inside = upright[:, max(ymin, 0) : max(ymax, 0), max(xmin, 0) : max(xmax, 0)][:, ::-1]
    problems = [*step(area=area).check(SPEC)]
    if not inside.size:
        assert [p.severity for p in problems] == ["error"]
        return
    np.testing.assert_array_equal(correct(step(area=area), IMAGES), inside)
    clipped = min(xmin, ymin) < 0 or xmax > 14 or ymax > 10
    assert [p.severity for p in problems] == ["warning"] * clipped


def test_without_an_area_everything_is_kept():
    np.testing.assert_array_equal(correct(Cropping(), IMAGES), IMAGES)
    assert area_region(None, SPEC) == SPEC.region


def test_the_reference_way_to_say_to_the_edge_needs_no_warning():
    assert not [*check_area("a", (0, 99999, 0, 99999), SPEC)]
    assert area_region((0, 99999, 0, 99999), SPEC) == SPEC.region


def test_messages_tell_what_was_given_and_what_remains():
    (problem,) = check_area("cropping.area", (2, 20, 0, 5), SPEC)
    assert problem.path == "cropping.area"
    assert "[2, 20, 0, 5] is clipped to [2, 14, 0, 5]" in problem.message
    assert "14 x 10 pixels" in problem.message
    (problem,) = check_area("cropping.area", (5, 5, 0, 5), SPEC)
    assert "selects nothing" in problem.message


def test_the_spec_remembers_where_the_first_pixel_was():
    out = Cropping(area=(3, 9, 1, 5)).output_spec(SPEC)
    assert out.shape == (3, 4, 6)
    assert out.origin == (5, 3)
    assert out.dtype == np.uint8


def test_only_the_area_is_read():
    step = Cropping(area=(3, 9, 1, 5))
    assert step.source(Region((1, 0, 0), (2, 4, 6)), SPEC) == Region((1, 5, 3), (2, 9, 9))
