"""Histogram equalization, against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from gray_levels import TOPS, stack
from skimage import exposure
from stack_tools import correct, spec_of

from pystack3d_dask.corrections.equalization import Equalization


@pytest.mark.parametrize("dtype", TOPS)
def test_a_stack_is_equalized_as_scikit_image_does_it(dtype):
    images = stack(dtype)
    expected = exposure.equalize_hist(images) * TOPS[dtype]
    np.testing.assert_allclose(correct(Equalization(), images), expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", TOPS)
def test_slices_are_equalized_as_scikit_image_does_it(dtype):
    images = stack(dtype)
    expected = np.stack([exposure.equalize_hist(image) for image in images]) * TOPS[dtype]
    found = correct(Equalization(scope="slice"), images)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_all_gray_levels_become_equally_frequent():
    found = correct(Equalization(), stack("uint16")) / 65535
    counts, _ = np.histogram(found, 20, (0, 1))
    np.testing.assert_allclose(counts, counts.mean(), rtol=0.02)


@pytest.mark.parametrize("nbins", [1, 10**9])
def test_wrong_bins_are_named(nbins):
    (problem,) = Equalization(nbins=nbins).check(spec_of(stack("uint8")))
    assert problem.path == "equalization.nbins"
