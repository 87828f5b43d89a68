"""The search for stripes: what is told from its control, and from slices that move."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from striped import CONTRAST, columns, specimen, stripes

from pystack3d_dask.kernels.destriping.stripe_search import (
    FEWEST,
    compare,
    exchanged,
    find,
    from_slice,
    is_out_of_reach,
    steps,
    upright,
)


def looked(stack, along="y"):
    """Return what is found in a stack."""
    seen = [compare([*stack[k::-1][:4]], along) for k in range(3, len(stack))]
    return find(seen, stack.shape[1:], 3, along)


def test_stripes_are_told_from_what_is_found_along_the_other_axis():
    found = looked(specimen() + stripes())
    assert found.are_stripes
    assert found.expected == pytest.approx(10, rel=0.25)
    assert 0.6 * found.expected < found.rms <= found.expected
    assert found.control < 1
    assert found.contrast == pytest.approx(np.hypot(CONTRAST, 10), rel=0.1)


@pytest.mark.parametrize("make", [specimen, columns])
def test_without_stripes_none_are_found(make):
    assert not looked(make()).are_stripes


@pytest.mark.parametrize("noise", [0, 6])
@pytest.mark.parametrize("moves", [0.5, 1])
def test_upright_layers_that_lean_along_z_are_no_stripes(moves, noise):
    random = np.random.default_rng(0)
    profile = ndimage.gaussian_filter(random.standard_normal(400), 2)
    places = 100 + np.arange(176) + moves * np.arange(-8, 8)[:, np.newaxis]
    profile = np.interp(np.arange(4000) / 10, np.arange(400), profile)
    layers = CONTRAST * profile[np.rint(10 * places).astype(int)] / profile.std()
    given = specimen() + 0.67 * layers[:, np.newaxis]
    assert not looked(given + random.normal(0, noise, given.shape)).are_stripes


def test_what_was_compared_tells_both_directions():
    given = specimen() + stripes()
    seen = [compare([*given[k::-1][:4]], "y") for k in range(3, len(given))]
    across = find([*map(exchanged, seen)], given.shape[1:], 3, "x")
    assert not across.are_stripes
    turned = looked(np.ascontiguousarray(given.swapaxes(1, 2)), "x")
    assert turned.rms == pytest.approx(looked(given).rms, rel=1e-2)
    twice = exchanged(exchanged(seen[0]))
    assert twice.keys() == seen[0].keys()
    for name, values in twice.items():
        np.testing.assert_array_equal(values, seen[0][name])


def test_slices_that_show_something_else_are_left_out():
    given = specimen() + stripes()
    seen = [compare([*given[k::-1][:4]], "y") for k in range(3, len(given))]
    noise = np.random.default_rng(0).normal(0, 200, (4, *given.shape[1:]))
    seen.append(compare([*noise], "y"))
    found = find(seen, given.shape[1:], 3, "y")
    assert found.rms == pytest.approx(looked(given).rms, rel=1e-6)


def test_too_few_slices_tell_nothing():
    given = specimen()
    seen = [compare([*given[k::-1][:4]], "y") for k in range(3, 2 + FEWEST)]
    assert find(seen, given.shape[1:], 3, "y") is None
    assert find([], given.shape[1:], 3, "y") is None


def test_movements_add_up_from_any_slice():
    moved = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]])
    path = np.concatenate([[[0, 0]], np.cumsum(moved, axis=0)])
    for k in range(4):
        np.testing.assert_allclose(from_slice(k, moved), path - path[k])


def test_steps_are_those_of_the_slices():
    large = specimen((4, 200, 200), (8, 4, 4))
    path = [(20, 20), (23, 18), (23, 18), (19, 25)]
    slices = [each[y : y + 150, x : x + 150] for each, (y, x) in zip(large, path, strict=True)]
    # what is at y in the first one is at y - 3 in the next
    np.testing.assert_allclose(steps(slices), [[-3, 2], [0, 0], [4, -7]], atol=0.4)


def test_slices_that_have_moved_far_are_of_no_use():
    assert is_out_of_reach(np.array([0.0, -60.0]), (1000, 1000))
    assert is_out_of_reach(np.array([20.0, 0.0]), (100, 1000))
    assert not is_out_of_reach(np.array([10.0, -10.0]), (1000, 1000))


def test_slices_are_turned_back_as_they_are_turned():
    image = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(upright(upright(image, "x"), "x"), image)
    np.testing.assert_array_equal(upright(image, "y"), image)
