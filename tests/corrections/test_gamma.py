"""Gamma correction, against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from gray_levels import TOPS, stack
from skimage import exposure
from stack_tools import correct, spec_of

from pystack3d_dask.corrections.gamma import Gamma


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.2])
@pytest.mark.parametrize("dtype", TOPS)
def test_gamma_is_that_of_scikit_image(dtype, gamma):
    images = stack(dtype)
    step = Gamma(gamma=gamma, in_range=(0.0, 1.0) if dtype == "float32" else None)
    expected = exposure.adjust_gamma(images / TOPS[dtype], gamma) * TOPS[dtype]
    np.testing.assert_allclose(correct(step, images), expected, rtol=2e-6)


def test_gamma_leaves_black_and_white_and_clips_what_lies_beyond():
    images = np.array([[[10, 40, 90, 160, 200]]], np.uint8)
    found = correct(Gamma(gamma=0.5, in_range=(40, 140)), images)
    np.testing.assert_allclose(found, [[[40, 40, 40 + 100 * 0.5**0.5, 140, 140]]], rtol=1e-6)


def test_gamma_of_signed_integers_goes_from_the_smallest_to_the_largest():
    images = np.array([[[-128, 0, 127]]], np.int8)
    found = correct(Gamma(gamma=2.0), images)
    np.testing.assert_allclose(found, [[[-128, -128 + 128**2 / 255, 127]]], rtol=1e-5)


def test_gamma_of_floats_has_to_know_black_and_white():
    (problem,) = Gamma(gamma=0.5).check(spec_of(stack("float32")))
    assert problem.path == "gamma.in_range"
    assert "in_range = [min, max]" in problem.message


@pytest.mark.parametrize("gamma", [0.0, -1.0, 1e3, 1e-9])
def test_a_gamma_that_leaves_no_gray_is_named(gamma):
    (problem,) = Gamma(gamma=gamma).check(spec_of(stack("uint8")))
    assert problem.path == "gamma.gamma"
