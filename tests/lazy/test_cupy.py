"""Arrays of CuPy in, arrays of CuPy out: what stays on the GPU, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest
import standin_cupy
import xarray as xr

import pystack3d_dask as ps

SHAPE = (5, 40, 56)
MOTION = ps.RegistrationCalculation(transformation="TRANSLATION", method="phase")
DESTRIPING = ps.Destriping(filters=[ps.Gabor(noise_level=20, sigma=(1, 10))], maxit=4)
ON_GPU = [
    ps.Cropping(area=(2, 50, 3, 30)),
    ps.BackgroundRemoval(orders=(1, 1, 1), skip_factors=(4, 4, 2)),
    ps.IntensityRescaling(nbins=32, filter_size=3),
    ps.RegistrationTransformation(mode="edge"),
    DESTRIPING,
    ps.Resampling(dz=0.7),
]
ON_CPU = [ps.CLAHE(), ps.BackgroundRemoval(method="local", size=(3, 9, 9))]


@pytest.fixture
def cupy(monkeypatch) -> standin_cupy.StandIn:
    return standin_cupy.put_in_place(monkeypatch)


@pytest.fixture
def host() -> xr.DataArray:
    """Return waves with noise, that move along z, and are a micrometer apart."""
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    noise = np.random.default_rng(0).normal(0, 6, SHAPE)
    values = 120 + 50 * np.sin((y + z) / 4) * np.cos(x / 5) + noise
    um = {"units": "micrometer"}
    coords = {axis: (axis, np.arange(float(n)), um) for axis, n in zip("zyx", SHAPE, strict=True)}
    return xr.DataArray(values.astype(np.uint8), dims=("z", "y", "x"), coords=coords)


def corrected(stack: xr.DataArray, correction: ps.Step) -> xr.DataArray:
    """Return a stack corrected with the fit that the correction needs, if any."""
    if not correction.needs:
        return ps.correct(stack, correction)
    is_own = correction.needs == (correction.name,)
    return ps.correct(stack, correction, ps.fit(stack, correction if is_own else MOTION))


def sent(cupy: standin_cupy.StandIn, stack: xr.DataArray) -> xr.DataArray:
    """Return a stack on the GPU, in the same chunks."""
    there = stack.copy(data=cupy.asarray(stack.data))
    cupy.uploads.clear()
    cupy.downloads.clear()
    return there


def images_in(arrays: list[np.ndarray]) -> int:
    return sum(array.size >= 1000 for array in arrays)  # samples of gray levels are smaller


@pytest.mark.parametrize("chunks", [None, (2, -1, -1), (2, 20, 25)], ids=str)
@pytest.mark.parametrize("correction", ON_GPU + ON_CPU, ids=lambda each: each.name)
def test_the_result_is_an_array_of_cupy_with_the_values_of_the_cpu(cupy, host, correction, chunks):
    there = sent(cupy, host)
    if chunks is not None:
        host, there = (
            stack.chunk(dict(zip("zyx", chunks, strict=True))) for stack in (host, there)
        )
    expected = corrected(host, correction).compute()
    found = corrected(there, correction)
    assert type(found.data._meta) is standin_cupy.DeviceArray
    values = found.compute(scheduler="synchronous").data
    assert type(values) is standin_cupy.DeviceArray
    assert values.dtype == found.dtype == expected.dtype
    np.testing.assert_allclose(values.get(), expected, atol=0.01)


@pytest.mark.parametrize("correction", ON_GPU, ids=lambda each: each.name)
def test_no_slice_leaves_the_gpu_where_it_can_be_corrected_there(cupy, host, correction):
    lazy = corrected(sent(cupy, host), correction)
    lazy.compute(scheduler="synchronous")  # what is the same for all slices stays there
    cupy.uploads.clear()
    cupy.downloads.clear()
    lazy.compute(scheduler="synchronous")
    assert images_in(cupy.downloads) == images_in(cupy.uploads) == 0


def test_a_correction_for_the_cpu_fetches_each_slice_once_and_returns_it(cupy, host):
    wavelets = ps.Destriping(wavelet_decomposition={"wavelet": "db2", "sigma": 3.0})
    ps.correct(sent(cupy, host), wavelets).compute(scheduler="synchronous")
    assert images_in(cupy.downloads) == images_in(cupy.uploads) == SHAPE[0]


def test_rounding_happens_there_too(cupy, host):
    expected = ps.to_source_type(ps.correct(host, DESTRIPING)).compute()
    found = ps.to_source_type(ps.correct(sent(cupy, host), DESTRIPING))
    values = found.compute(scheduler="synchronous").data
    assert images_in(cupy.downloads) == 0
    assert values.dtype == expected.dtype == np.uint8
    np.testing.assert_array_equal(values.get(), expected)
