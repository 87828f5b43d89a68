"""Long stripes: the same solution without transforms of the whole image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from pystack3d_dask.kernels.destriping.fourier import FourierSolver
from pystack3d_dask.kernels.destriping.low_rank import FewRowsSolver
from pystack3d_dask.kernels.destriping.noise_model import Filter, few_rows, noise_power
from pystack3d_dask.kernels.destriping.vsnr import remove_noise

UPRIGHT = Filter(name="Gabor", noise_level=20.0, sigma=(1.0, 22.0))
LEVEL = Filter(name="Gabor", noise_level=20.0, sigma=(1.0, 22.0), theta=90.0)
LEANING = Filter(name="Gabor", noise_level=20.0, sigma=(2.0, 25.0), theta=2.0)
SHORT = Filter(name="Gabor", noise_level=20.0, sigma=(1.0, 3.0))
TURNED = Filter(name="Gabor", noise_level=20.0, sigma=(1.0, 22.0), theta=40.0)
DIRAC = Filter(name="Dirac", noise_level=5.0)


def striped(shape: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(size=shape), 3)
    stripes = ndimage.gaussian_filter1d(rng.normal(size=shape), 20, axis=0)
    values = 0.5 + 0.15 * texture / texture.std() + 0.1 * stripes / stripes.std()
    return np.clip(values, 0, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "filters"),
    [
        ((240, 90), (UPRIGHT,)),
        ((241, 91), (UPRIGHT,)),
        ((243, 66), (UPRIGHT, LEANING)),
        ((90, 250), (LEVEL,)),
        ((71, 253), (LEVEL,)),
    ],
)
def test_both_solvers_go_the_same_way(shape, filters):
    u0, scale = striped(shape), 0.5
    rows = few_rows(shape, filters)
    assert rows is not None
    assert rows.transposed == (filters == (LEVEL,))
    few = FewRowsSolver(u0, rows, scale, 10.0)
    whole = FourierSolver(u0, np.sqrt(np.float32(scale) * noise_power(shape, filters)), 10.0)
    for _ in range(12):
        assert few.iterate() == pytest.approx(whole.iterate(), rel=1e-3)
    np.testing.assert_allclose(few.image(), whole.image(), atol=2e-5)
    assert np.abs(few.image() - u0).max() > 0.05


@pytest.mark.parametrize(
    ("shape", "filters"),
    [
        ((240, 90), (SHORT,)),
        ((240, 240), (TURNED,)),
        ((240, 90), (DIRAC,)),
        ((240, 90), (UPRIGHT, DIRAC)),
        ((240, 250), (UPRIGHT, LEVEL)),
        ((40, 90), (UPRIGHT,)),
    ],
    ids=["short", "turned", "points", "stripes and points", "both ways", "few rows of image"],
)
def test_other_noise_is_in_many_rows(shape, filters):
    assert few_rows(shape, filters) is None


def test_rows_are_chosen_by_the_spectrum_not_by_the_angle():
    turned_back = Filter(name="Gabor", noise_level=20.0, sigma=(22.0, 1.0), theta=90.0)
    one, other = few_rows((240, 90), (UPRIGHT,)), few_rows((240, 90), (turned_back,))
    assert one is not None
    assert other is not None
    assert not one.transposed
    assert not other.transposed
    np.testing.assert_array_equal(one.frequencies, other.frequencies)


def test_the_image_is_left_alone_and_the_result_is_its_own():
    image = striped((240, 90))
    image.flags.writeable = False
    found = remove_noise(image, (UPRIGHT,), maxit=3).image
    assert not np.shares_memory(found, image)
    assert found.flags.c_contiguous
