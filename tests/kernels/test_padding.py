"""Padding: which pixels it is, and that it is told apart from the image."""

from __future__ import annotations

import numpy as np
import pytest

from pystack3d_dask.kernels.padding import (
    beside,
    faded,
    filled_up,
    has_one_of,
    keep_levels,
    moved_off,
    padding,
)

SHAPE = (100, 120)


def gray(level=50, dtype=np.uint8):
    return np.full(SHAPE, level, dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_borders_of_the_level_are_padding(dtype):
    image = gray(dtype=dtype)
    image[:5], image[:, -1] = 0, 0
    assert np.array_equal(padding(image, [0]), image == 0)


def test_a_large_void_is_padding_and_a_pore_is_not():
    image = gray()
    image[20:40, 20:40] = 0
    image[60:65, 60:65] = 0
    found = padding(image, [0])
    assert found[20:40, 20:40].all()
    assert found.sum() == 400


def test_each_of_several_levels_is_looked_at_alone():
    image = gray()
    image[:3], image[-3:] = 0, 255
    image[50, 50:52] = 0, 255
    found = padding(image, [0, 255])
    assert found[:3].all()
    assert found[-3:].all()
    assert found.sum() == 6 * SHAPE[1]


@pytest.mark.parametrize("level", [0, 255, 65535, -1000.0, 0.1])
def test_others_are_moved_off_its_level_by_next_to_nothing(level):
    values = np.full((2, 4), level, np.float32)
    found = moved_off(values, [level])
    assert not has_one_of(found, [level]).any()
    assert np.abs(found - values).max() <= 1.1e-6 * abs(level) + 1e-30
    assert np.rint(beside(level)) == np.rint(level)


@pytest.mark.parametrize("level", [255, 65535, -1000.0, 0.1, 3.0])
def test_rounding_does_not_lead_back_to_the_level(level):
    shares = np.random.default_rng(0).uniform(size=100_000).astype(np.float32)
    pixel = np.float32(beside(level))
    assert not has_one_of(shares * pixel + (1 - shares) * pixel, [level]).any()


def test_padding_has_the_mean_of_the_others():
    image = gray()
    image[:, :60] = 0
    assert np.array_equal(filled_up(image, image == 0), gray(50, np.float32))
    blank = gray(0)
    assert np.array_equal(filled_up(blank, blank == 0), blank)


def test_only_the_levels_are_kept():
    image = gray(50, np.float32)
    image[0] = 0
    kept = keep_levels(image + 7, image, [0])
    assert (kept[0] == 0).all()
    assert (kept[1:] == 57).all()
    assert np.array_equal(keep_levels(image + 7, image, []), image + 7)


def test_an_image_fades_where_padding_begins():
    image = np.random.default_rng(0).normal(100, 20, (160, 200)).astype(np.float32)
    where = np.zeros(image.shape, bool)
    where[:, :40] = True
    filled = filled_up(image, where)
    found = faded(filled, where)
    assert found[:, :41].std() < 1
    assert np.array_equal(found[:, 60:], filled[:, 60:])
    assert np.array_equal(faded(image, np.zeros_like(where)), image)
