"""The widget: what its sliders show and load."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from conftest import textured
from counting import CountingArray, placed
from PIL import Image

from pystack3d_dask import explore
from pystack3d_dask.errors import StackError

SHAPE = (12, 40, 60)


def browser(**given):
    counting = CountingArray(textured(SHAPE))
    controls, picture = explore.browse(placed(counting, np.arange(12) * 0.02), **given).children
    return counting, *controls.children, picture


def pixels(picture) -> np.ndarray:
    with Image.open(io.BytesIO(picture.value)) as image:
        return np.asarray(image.convert("L")).astype(int)


def test_it_starts_in_the_middle_with_one_slice_loaded():
    counting, axis, index, grays, picture = browser()
    assert (axis.value, index.value, index.max) == ("z", 6, 11)
    assert counting.loaded == 40 * 60
    low, high = np.percentile(textured(SHAPE)[6], (0.5, 99.5))
    assert grays.value == pytest.approx((low, high))
    assert pixels(picture).std() > 20


def test_a_slider_loads_the_slice_that_it_shows():
    counting, _, index, _, picture = browser()
    before, loaded = pixels(picture), counting.loaded
    index.value = 2
    assert counting.loaded - loaded == 40 * 60
    assert np.abs(pixels(picture) - before).mean() > 1
    index.value = 6
    np.testing.assert_array_equal(pixels(picture), before)


def test_dragging_loads_nothing_until_the_slider_is_let_go():
    _, _, index, grays, _ = browser()
    assert not index.continuous_update
    assert not grays.continuous_update


def test_other_gray_levels_load_nothing():
    counting, _, _, grays, picture = browser()
    before, loaded = pixels(picture), counting.loaded
    grays.value = (grays.min, grays.min + 5)
    assert counting.loaded == loaded
    assert pixels(picture).mean() > before.mean() + 10


@pytest.mark.parametrize(("name", "count", "size"), [("y", 40, 12 * 60), ("x", 60, 12 * 40)])
def test_another_axis_loads_its_middle_plane_once(name, count, size):
    counting, axis, index, _, _ = browser()
    loaded = counting.loaded
    index.value = 11
    loaded = counting.loaded
    axis.value = name
    assert (index.max, index.value, index.description) == (count - 1, count // 2, name)
    assert counting.loaded - loaded == size
    index.value = 1
    assert counting.loaded - loaded == 2 * size


def test_gray_levels_may_be_given():
    _, _, _, grays, _ = browser(limits=(-5, 300))
    assert grays.value == (-5, 300)


def test_constant_floats_can_be_browsed():
    controls, picture = explore.browse(np.zeros((3, 8, 9), np.float32)).children
    assert controls.children[2].value == (0, 1)
    assert bytes(picture.value).startswith(b"\x89PNG")


def test_without_ipywidgets_it_is_said_how_to_install_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(StackError, match=r"pip install 'pystack3d-dask\[notebook\]'"):
        explore.browse(textured(SHAPE))
