"""VSNR on whole arrays, and by pyvsnr."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import standin_cupy
from test_vsnr import DIRAC, SMALL, STRIPES, on_arrays, texture

from pystack3d_dask.kernels.backend import to_gpu
from pystack3d_dask.kernels.destriping.noise_model import Filter
from pystack3d_dask.kernels.destriping.pyvsnr import pyvsnr_solution
from pystack3d_dask.kernels.destriping.vsnr import remove_noise
from pystack3d_dask.kernels.destriping.vsnr_arrays import remove_noise_on_arrays

TURNED = Filter(name="Gabor", noise_level=10.0, sigma=(1.0, 20.0), theta=30.0)
CASES = {
    "stripes": ((STRIPES,), {"maxit": 40}),
    "several, beta": ((STRIPES, TURNED, DIRAC), {"maxit": 25, "beta": 3.0}),
    "threshold": ((SMALL,), {"maxit": 200, "threshold": 0.03}),
    "one iteration": ((STRIPES,), {"maxit": 1}),
}
SHAPES = [(48, 64), (47, 61), (48, 61), (47, 64)]


@pytest.mark.parametrize("solve", [on_arrays, pyvsnr_solution])
@pytest.mark.parametrize(("filters", "how"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_ways_agree(solve, filters, how, shape):
    image = texture(shape) + np.random.default_rng(1).normal(0, 8, shape)
    expected, found = remove_noise(image, filters, **how), solve(image, filters, **how)
    assert found.iterations == expected.iterations
    np.testing.assert_allclose(found.changes, expected.changes, rtol=1e-2, atol=1e-6)
    np.testing.assert_allclose(found.image, expected.image, atol=0.02)
    assert found.image.dtype == np.float32


@pytest.mark.parametrize(("filters", "how"), CASES.values(), ids=CASES)
def test_each_of_several_images_ends_where_it_ends_alone(filters, how):
    noise = np.random.default_rng(1).normal(0, 1, (4, 47, 64))
    images = np.stack([texture((47, 64), seed=k) + 5 * k * noise[k] for k in range(4)])
    images = np.concatenate([np.zeros((1, 47, 64)), images, np.full((1, 47, 64), 7.0), -images[:1]])
    found = remove_noise_on_arrays(images, filters, **how)
    alone = [remove_noise(image, filters, **how) for image in images]
    assert [each.iterations for each in found] == [each.iterations for each in alone]
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_allclose(one.changes, other.changes, rtol=1e-2, atol=1e-6)
        np.testing.assert_allclose(one.image, other.image, atol=0.02)
        assert one.image.dtype == np.float32
    if "threshold" in how:
        assert len({each.iterations for each in found}) > 2


def test_images_of_one_gray_level_stay_as_they_are():
    images = np.full((3, 8, 9), [[[3]], [[0]], [[200]]], np.uint8)
    for image, found in zip(images, remove_noise_on_arrays(images, (STRIPES,)), strict=True):
        np.testing.assert_array_equal(found.image, image)
        assert found.changes == ()


def test_a_single_pixel_stays_as_it_is():
    for found in remove_noise_on_arrays(np.array([[[3]], [[0]]], np.uint8), (STRIPES,)):
        assert found.image.shape == (1, 1)
        assert found.changes == ()


@pytest.mark.parametrize("threshold", [0.0, 0.03])
def test_images_are_picked_out_only_where_some_have_ended(monkeypatch, threshold):
    cupy = standin_cupy.put_in_place(monkeypatch)
    noise = np.random.default_rng(1).normal(0, 1, (3, 47, 64))
    images = np.stack([texture((47, 64), seed=k) + 5 * k * noise[k] for k in range(3)])
    found = remove_noise_on_arrays(to_gpu(images), (SMALL,), maxit=20, threshold=threshold)
    ends = {each.iterations for each in found}
    picked = [numbers for numbers in cupy.uploads if numbers.dtype.kind == "i"]
    assert bool(picked) == (len(ends) > 1) == (threshold > 0)


def test_numpy_keeps_its_fourier_transforms():
    before = np.fft
    pyvsnr_solution(texture(), (STRIPES,), maxit=3)
    assert np.fft is before
    with pytest.raises(TypeError):
        pyvsnr_solution(texture(), (STRIPES,), maxit="three")
    assert np.fft is before


def test_numpy_keeps_its_fourier_transforms_when_threads_overlap():
    before = np.fft
    with ThreadPoolExecutor(4) as threads:
        tasks = [
            threads.submit(pyvsnr_solution, texture(seed=k), (STRIPES,), maxit=2 + k % 5)
            for k in range(24)
        ]
        for task in tasks:
            assert np.isfinite(task.result().image).all()
    assert np.fft is before
