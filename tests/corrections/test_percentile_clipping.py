"""Percentile clipping, against numpy and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from gray_levels import SHAPE, TOPS, stack
from skimage import exposure
from stack_tools import correct, fit, spec_of

from pystack3d_dask.corrections.percentile_clipping import PercentileClipping


@pytest.mark.parametrize("percentiles", [(0.5, 99.5), (0.0, 100.0), (13.0, 61.7)])
@pytest.mark.parametrize("dtype", TOPS)
def test_percentiles_of_the_stack_become_black_and_white(dtype, percentiles):
    images = stack(dtype)
    step = PercentileClipping(percentiles=percentiles)
    limits = np.percentile(images, percentiles)
    np.testing.assert_allclose(fit(step, images, spec_of(images))["limits"], limits, rtol=1e-12)
    wanted = exposure.rescale_intensity(
        images.astype(float), (limits[0], limits[1]), (0, TOPS[dtype])
    )
    found = correct(step, images)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6 * TOPS[dtype])
    assert found.min() == 0
    assert found.max() == TOPS[dtype]


@pytest.mark.parametrize("dtype", TOPS)
def test_percentiles_of_slices_are_their_own(dtype):
    images = stack(dtype)
    found = correct(PercentileClipping(percentiles=(2, 90), scope="slice"), images)
    for image, corrected in zip(images, found, strict=True):
        low, high = np.percentile(image, (2, 90))
        wanted = exposure.rescale_intensity(image.astype(float), (low, high), (0, TOPS[dtype]))
        np.testing.assert_allclose(corrected, wanted, rtol=1e-6, atol=1e-6 * TOPS[dtype])


def test_percentiles_of_floats_are_exact_beside_wild_values():
    images = np.random.default_rng(0).normal(-3, 1e-3, SHAPE).astype(np.float32)
    images[2, 3, :2], images[4, 5, :2] = 3e38, -3e38
    step = PercentileClipping(percentiles=(5, 80))
    found = fit(step, images, spec_of(images))["limits"]
    np.testing.assert_allclose(found, np.percentile(images.astype(float), (5, 80)), rtol=1e-12)
    assert step.fit_rounds(spec_of(images)) == 2
    assert step.fit_rounds(spec_of(stack("uint16"))) == 1


@pytest.mark.parametrize("percentiles", [(50, 50), (-1, 50), (1, 101), (90, 10)])
def test_wrong_percentiles_are_named(percentiles):
    (problem,) = PercentileClipping(percentiles=percentiles).check(spec_of(stack("uint8")))
    assert problem.path == "percentile_clipping.percentiles"
