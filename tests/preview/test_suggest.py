"""What images suggest, against what was put into them."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest
from scipy import ndimage
from stacks import images, make_project

from pystack3d_dask.demo import DemoStack
from pystack3d_dask.errors import ParameterError
from pystack3d_dask.kernels.destriping.noise_model import Filter, noise_power
from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.preview.suggest import (
    registration_area,
    stripes,
    suggest,
    thresholds,
    without_border,
)

SHAPE = (400, 420)


def demo(**given):
    defaults = {"shape": (3, *SHAPE), "border": 0.0, "shift": 0.0, "uneven": 0.0}
    return DemoStack(**{**defaults, "shading": 0.0, "flicker": 0.0, "curtaining": 0.0, **given})


def stripes_of(sigma, angle, strength=10.0):
    """Return stripes as the destriping models them."""
    pattern = Filter(name="Gabor", noise_level=1, sigma=sigma, theta=angle)
    noise = np.fft.rfft2(np.random.default_rng(1).normal(size=SHAPE))
    found = np.fft.irfft2(noise * np.sqrt(noise_power(SHAPE, (pattern,))), s=SHAPE)
    return strength * found / found.std()


@pytest.mark.parametrize("angle", [0, 20, -35, 88])
@pytest.mark.parametrize("sigma", [(1, 30), (2, 40), (1.5, 15), (0.7, 60)])
def test_angle_and_width_of_stripes_are_found(sigma, angle):
    found = stripes(demo().slice(1) + stripes_of(sigma, angle))
    assert found.are_noticeable or sigma == (2, 40)  # broad ones are not much above the texture
    assert abs((found.angle - angle + 90) % 180 - 90) < 1
    assert found.sigma[0] == pytest.approx(sigma[0], rel=0.15)
    assert found.sigma[1] == pytest.approx(sigma[1], rel=0.35)


@pytest.mark.parametrize("texture", ["porous", "cellular"])
def test_the_curtains_of_the_demo_are_found_and_their_absence_too(texture):
    found = stripes(demo(texture=texture, curtaining=0.05).slice(1))
    assert found.are_noticeable
    assert abs(found.angle) < 1
    assert 0.4 < found.sigma[0] < 1.5
    assert found.sigma[1] > 20
    assert not stripes(demo(texture=texture).slice(1)).are_noticeable


@pytest.mark.parametrize("border", [(12, 0, 0, 0), (0, 7, 0, 20), (9, 30, 40, 1)])
@pytest.mark.parametrize("level", [0, 30])
def test_the_border_of_an_aligned_slice_makes_no_difference(border, level):
    top, bottom, left, right = border
    image = demo(curtaining=0.05).slice(1)
    whole = np.pad(image, ((top, bottom), (left, right)), constant_values=level)
    found, wanted = stripes(whole), stripes(image)
    assert found.are_noticeable
    assert found.angle == wanted.angle
    assert found.sigma == pytest.approx(wanted.sigma, rel=0.1)


@pytest.mark.parametrize("shift", [(0.5, 0), (0, 0.5), (0.3, -0.4)])
def test_stripes_are_found_behind_interpolation(shift):
    image = demo(curtaining=0.05).slice(1).astype(float)
    found, wanted = stripes(ndimage.shift(image, shift, order=1)), stripes(image)
    assert found.are_noticeable
    assert abs(found.angle) < 1
    assert found.sigma[1] == pytest.approx(wanted.sigma[1], rel=0.35)


def test_an_image_is_left_as_it_is_where_it_has_no_border():
    image = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(without_border(image), image)
    blank_inside = np.array([[1, 2, 3], [5, 5, 5], [4, 6, 8]])
    np.testing.assert_array_equal(without_border(blank_inside), blank_inside)
    assert not without_border(np.ones((3, 4))).size


@pytest.mark.parametrize("shape", [(16, 16), (20, 30), (12, 300)])
def test_in_small_images_no_frequency_is_compared_with_nothing(shape):
    for seed in range(8):
        noise = np.random.default_rng(seed).random(shape)
        assert not stripes(noise).energy > 1e3


@pytest.mark.parametrize("shape", [(1, 60), (60, 3), (5, 60)])
def test_what_is_left_of_a_blank_image_may_be_too_thin_for_stripes(shape):
    image = np.pad(np.random.default_rng(0).random(shape), 40)
    assert not stripes(image).are_noticeable


def test_an_image_of_one_gray_level_has_no_stripes():
    assert not stripes(np.full((64, 80), 7, np.uint8)).are_noticeable


def test_thresholds_lie_between_phases():
    rng = np.random.default_rng(0)
    levels = [(60, 4000), (120, 9000), (185, 3000)]
    image = np.concatenate([rng.normal(level, 8, count) for level, count in levels])
    low, high = thresholds(image)
    dark, middle, bright = np.split(image, np.cumsum([count for _, count in levels])[:-1])
    assert np.mean(dark < low) > 0.99
    assert np.mean(bright > high) > 0.99
    assert np.mean((middle >= low) & (middle <= high)) > 0.99
    assert thresholds(image.round().astype(np.uint8)) == pytest.approx((low, high), abs=6)


def test_pores_of_the_demo_are_below_the_threshold():
    stack = demo()
    low, _ = thresholds(stack.slice(1))
    pores = next(iter(stack.truth([stack.z[1]]))) < 0.4 * 255
    assert np.mean((stack.slice(1) < low) == pores) > 0.98


@pytest.mark.parametrize(
    "image",
    [
        np.random.default_rng(0).normal(100, 10, 20_000),
        np.zeros((9, 9)),
        np.tile([3, 200], 50),
    ],
    ids=["one peak", "constant", "two levels"],
)
def test_without_valleys_on_both_sides_nothing_is_cut_there(image):
    assert None in thresholds(image)


def test_the_area_for_registration_is_where_there_is_detail_in_both_directions():
    rng = np.random.default_rng(0)
    stack = np.zeros((2, 200, 300))
    stack[:, 20:100, 150:270] = rng.normal(size=(2, 80, 120))
    stack[:, :, 30:120:4] = 50  # stripes hold nothing along y
    assert registration_area(stack, 0.4) == pytest.approx((150, 270, 100, 180), abs=14)


def test_the_area_is_where_all_slices_have_detail():
    rng = np.random.default_rng(0)
    stack = np.zeros((2, 100, 200))
    stack[:, :, 100:] = rng.normal(size=(2, 100, 100))
    stack[0, :, :100] = rng.normal(size=(100, 100))
    assert registration_area(stack)[0] > 80


def test_suggestions_are_toml_that_the_steps_take(tmp_path):
    directory = tmp_path / "demo"
    demo(shape=(12, 256, 256), curtaining=0.08, border=0.06).write(directory)
    pipeline = Pipeline.from_toml(directory)
    text = suggest(pipeline.project)
    found = tomllib.loads(text)
    assert set(found) == {"bkg_removal", "registration_calculation", "destriping"}
    changes = {
        f"{step}.{name}": value for step, table in found.items() for name, value in table.items()
    }
    assert {"registration_calculation.area", "destriping.filters"} <= set(changes)
    changed = pipeline.with_parameters(changes)
    assert not changed.preview(z=3).difference.max() == 0
    assert all("#" in line for line in text.splitlines() if "=" in line)
    assert not (directory / "process").exists()


def test_without_a_step_to_suggest_anything_for_this_is_said(tmp_path):
    pipeline = Pipeline.from_toml(make_project(tmp_path, ["cropping"], images((3, 50, 64))))
    with pytest.raises(ParameterError, match=r"one of bkg_removal, .* expected"):
        suggest(pipeline.project)
