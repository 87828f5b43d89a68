"""What holds for all corrections of gray levels with a scope."""

from __future__ import annotations

import numpy as np
import pytest
from gray_levels import SHAPE, TOPS, stack
from stack_tools import correct, spec_of

from pystack3d_dask.corrections.clahe import CLAHE
from pystack3d_dask.corrections.equalization import Equalization
from pystack3d_dask.corrections.percentile_clipping import PercentileClipping

pytestmark = pytest.mark.parametrize("scope", ["stack", "slice"])


@pytest.mark.parametrize("step", [Equalization, PercentileClipping])
@pytest.mark.parametrize("precision", ["float32", "source"])
@pytest.mark.parametrize("dtype", TOPS)
def test_a_constant_stack_is_unchanged(step, scope, dtype, precision):
    images = np.full(SHAPE, 77, dtype)
    found = correct(step(scope=scope), images, spec_of(images, precision))
    np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize("step", [CLAHE, Equalization, PercentileClipping])
def test_integers_are_truncated_in_precision_source_only(step, scope):
    images = stack("uint8")
    exact = correct(step(scope=scope), images)
    found = correct(step(scope=scope), images, spec_of(images, "source"))
    assert found.dtype == np.uint8
    # an ulp of float32 may move a value across an integer
    near = np.abs(exact - np.rint(exact)) < 1e-4
    np.testing.assert_array_equal(found[~near], np.trunc(exact[~near]))
