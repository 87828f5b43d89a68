"""Shifts that classes of gray levels share in windows, and whether they are a background."""

from __future__ import annotations

import numpy as np
import pytest

from pystack3d_dask.kernels.background.local_judgment import (
    FEWEST_WINDOWS,
    shared_by_groups,
    sums_inside,
)
from pystack3d_dask.kernels.background.local_shift import (
    BINS,
    LevelClasses,
    Shifts,
    cell_histograms,
    window_shifts,
)

DARK, BRIGHT, NOISE = 60.0, 150.0, 3.0


def classes(*, multiplies=False):
    levels = np.array([DARK, BRIGHT])
    return LevelClasses(
        levels, np.full(2, NOISE**2), np.array([0.3, 0.7]), multiplies, low=20.0, high=200.0
    )


def window(porosity, shift=0.0, count=4000, *, multiplies=False):
    """Return pixels of two materials that are shifted."""
    rng = np.random.default_rng(0)
    levels = np.where(rng.uniform(size=count) < porosity, DARK, BRIGHT)
    shifted = levels * (1 + shift) if multiplies else levels + shift
    return (shifted + rng.normal(0, NOISE, count)).reshape(-1, 50)


def shifts_of(image, *, multiplies=False):
    rows, columns = image.shape
    histograms = cell_histograms(image, rows, columns, classes(multiplies=multiplies))
    return window_shifts(histograms[0, 0], classes(multiplies=multiplies))


def test_cells_are_counted_without_what_is_out_of_range():
    image = np.full((7, 10), BRIGHT)
    image[0, :3] = [19.0, 200.0, np.nan]
    counts = cell_histograms(image, 4, 5, classes())
    assert counts.shape == (2, 2, BINS)
    np.testing.assert_array_equal(counts.sum(axis=2), [[17, 20], [15, 15]])
    assert np.count_nonzero(counts) == 4


@pytest.mark.parametrize("porosity", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shift", [-20.0, 0.0, 12.0])
def test_a_shift_is_told_from_a_porosity(porosity, shift):
    found = shifts_of(window(porosity, shift))
    np.testing.assert_allclose(found[:3], shift, atol=0.5)
    assert found.seen == 1


def test_a_shift_of_many_standard_deviations_is_found_in_little_noise():
    sharp = LevelClasses(
        np.array([DARK, BRIGHT]), np.full(2, 0.1), np.array([0.3, 0.7]), False, 20.0, 200.0
    )
    image = np.where(np.random.default_rng(0).uniform(size=(80, 50)) < 0.4, DARK, BRIGHT) + 20
    found = window_shifts(cell_histograms(image, 80, 50, sharp)[0, 0], sharp)
    np.testing.assert_allclose(found[:3], 20, atol=sharp.step)


@pytest.mark.parametrize("shift", [-0.15, 0.1])
def test_a_shift_may_be_a_share_of_the_level(shift):
    found = shifts_of(window(0.4, shift, multiplies=True), multiplies=True)
    np.testing.assert_allclose(found[:3], shift, atol=0.01)


def test_a_group_that_is_hardly_there_is_hardly_seen():
    assert shifts_of(window(0.01)).seen < 0.3
    assert shifts_of(window(0.0)).seen < 1e-9


def test_windows_without_pixels_are_not_shifted():
    found = window_shifts(np.zeros((2, 3, BINS), np.float32), classes())
    np.testing.assert_array_equal(np.stack(found), np.zeros((4, 2, 3)))


def test_no_class_is_taken_for_another():
    found = shifts_of(window(0.0, -80.0))  # nearly as dark as the dark ones
    assert abs(found.joint) <= classes().largest


def places(shape=(60, 60)):
    """Return materials in stripes of 12 places, and a ramp."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.where(x // 12 % 2, BRIGHT, DARK), 0.2 * (y + x) - 12


def test_a_background_goes_on_inside_parts():
    levels, ramp = places()
    inside = sums_inside(levels + ramp, ramp, classes(), (10, 10))
    assert (inside[:, 0] > 100).all()
    np.testing.assert_allclose(inside[:, 1], inside[:, 0])


def test_layers_that_look_like_a_background_are_flat_inside():
    levels, ramp = places()
    flat = np.broadcast_to(ramp[30].reshape(-1, 12).mean(axis=1).repeat(12), levels.shape)
    inside = sums_inside(levels + flat, ramp, classes(), (4, 4))
    assert (inside[:, 0] > 100).all()
    np.testing.assert_allclose(inside[:, 1], 0, atol=1e-9)


def test_places_that_are_no_class_or_not_known_do_not_count():
    levels, ramp = places()
    means, shifts = levels + ramp, ramp.copy()
    means[::2], shifts[:, ::2] = np.nan, np.nan
    means[1, 1] = 100.0
    inside = sums_inside(means, shifts, classes(), (10, 10))
    np.testing.assert_allclose(inside[:, 1], inside[:, 0])
    np.testing.assert_array_equal(
        sums_inside(np.full((9, 9), np.nan), np.zeros((9, 9)), classes(), (3, 3)), 0
    )


def shifts(common, own, count=1000, seed=0):
    """Return shifts of windows of which dark and bright parts have a share in common."""
    rng = np.random.default_rng(seed)
    both = rng.normal(0, common, count)
    dark, bright = both + rng.normal(0, own, (2, count))
    return Shifts((dark + bright) / 2, dark, bright, np.ones(count))


FOLLOWED = np.array([[10.0, 9.0], [20.0, 22.0]])


def test_what_both_groups_show_is_a_background():
    found = shared_by_groups(shifts(3.0, 1.5), FOLLOWED, 100, classes())
    assert found.is_sure
    assert found.correlation == pytest.approx(0.8, abs=0.05)
    assert found.rms == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize(
    ("seen", "inside", "independent"),
    [
        pytest.param(shifts(0.8, 3.0), FOLLOWED, 100, id="each group its own"),
        pytest.param(shifts(0.5, 0.2), FOLLOWED, 100, id="hardly noticeable"),
        pytest.param(shifts(3.0, 1.5), FOLLOWED, 9, id="few independent windows"),
        pytest.param(shifts(3.0, 1.5, FEWEST_WINDOWS - 1), FOLLOWED, 100, id="few windows"),
        pytest.param(shifts(3.0, 1.5), FOLLOWED * [[1, 0.1], [1, 1]], 100, id="flat inside"),
        pytest.param(shifts(0.0, 0.0), FOLLOWED, 100, id="none"),
    ],
)
def test_anything_else_is_the_specimens(seen, inside, independent):
    assert not shared_by_groups(seen, inside, independent, classes()).is_sure
