"""The step around the ways to remove stripes: what it checks, casts and records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from stack_tools import correct, spec_of

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.spec import Region
from pystack3d_dask.corrections import destriping
from pystack3d_dask.corrections.destriping import Destriping
from pystack3d_dask.kernels.destriping.noise_model import Filter
from pystack3d_dask.kernels.destriping.vsnr import remove_noise
from pystack3d_dask.kernels.destriping.wavelets import WaveletDecomposition, remove_stripes

GABOR = Filter(name="Gabor", noise_level=30.0, sigma=(1.0, 30.0))
WAVELET = WaveletDecomposition(wavelet="db3", sigma=2.0)
WAYS = {
    "native": {"filters": (GABOR,), "maxit": 8},
    "pyvsnr": {"filters": (GABOR,), "maxit": 8, "backend": "pyvsnr"},
    "wavelets": {"wavelet_decomposition": WAVELET},
}
every_way = pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)


def striped(dtype="uint8", shape=(4, 37, 45)):
    """Return slices under stripes, some pixels black."""
    rng = np.random.default_rng(0)
    values = 90 + 20 * rng.normal(size=(shape[0], 1, shape[2])) + 25 * rng.normal(size=shape)
    return np.clip(values, 0, 255).astype(dtype)


def paths(step):
    found = step.check(spec_of(striped()))
    return [problem.path for problem in found if problem.severity == "error"]


def test_slices_are_what_the_solver_makes_of_each():
    images = striped()
    found = correct(Destriping(**WAYS["native"]), images)
    for image, slice_found in zip(images, found, strict=True):
        np.testing.assert_array_equal(slice_found, remove_noise(image, (GABOR,), maxit=8).image)
    found = correct(Destriping(**WAYS["wavelets"]), images)
    for image, slice_found in zip(images, found, strict=True):
        np.testing.assert_array_equal(slice_found, remove_stripes(image.astype("f4"), WAVELET))


@every_way
@pytest.mark.parametrize("level", [0, 9, 255])
@pytest.mark.parametrize("precision", ["float32", "source"])
def test_a_slice_of_one_gray_level_stays_as_it_is(how, level, precision):
    images = striped()
    images[2] = level
    found = correct(Destriping(**how), images, spec_of(images, precision))
    np.testing.assert_array_equal(found[2], level)
    assert (found[1] != images[1]).any()


@every_way
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_in_source_precision_integers_are_truncated_and_never_wrap(how, dtype):
    images = striped(dtype)
    plain = correct(Destriping(**how), images)
    assert plain.min() < 0  # there is something to clip
    found = correct(Destriping(**how), images, spec_of(images, "source"))
    top = np.iinfo(dtype).max
    assert found.dtype == dtype
    difference = np.abs(found - np.trunc(np.clip(plain.astype(float), 0, top)))
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.999


def figures_of(step, images):
    spec = spec_of(images)
    return step.apply(Block(images, spec.region, spec.region, spec))[1]


def test_iterations_and_convergence_are_recorded_per_slice():
    images = striped()
    images[1] = 50
    figures = figures_of(Destriping(filters=(GABOR,), maxit=30, cvg_threshold=0.05), images)
    assert figures["convergence"].shape == (4, 30)
    for k, (count, changes) in enumerate(
        zip(figures["iterations"], figures["convergence"], strict=True)
    ):
        assert np.isfinite(changes[: count - 1]).all()
        assert np.isnan(changes[count - 1 :]).all()
        assert k == 1 or 2 <= count < 30
    assert figures_of(Destriping(wavelet_decomposition=WAVELET), images) == {}


def test_a_slice_is_needed_whole():
    spec = spec_of(striped())
    found = Destriping(filters=(GABOR,)).source(Region((1, 3, 4), (2, 5, 6)), spec)
    assert found == Region((1, 0, 0), (2, 37, 45))
    assert Destriping(filters=(GABOR,)).whole == ("y", "x")


def test_gpus_are_for_our_solver_only():
    assert Destriping(**WAYS["native"]).devices == ("cpu", "gpu")
    assert Destriping(**WAYS["pyvsnr"]).devices == ("cpu",)
    assert Destriping(**WAYS["wavelets"]).devices == ("cpu",)


@pytest.mark.parametrize(
    ("parameters", "wrong"),
    [
        ({}, ["filters"]),
        ({"filters": ()}, ["filters"]),
        ({"filters": (Filter(name="Gabor", noise_level=1.0),)}, ["filters[0].sigma"]),
        (
            {"filters": (GABOR, Filter(name="Gabor", noise_level=0.0, sigma=(0.0, 1.0)))},
            ["filters[1].noise_level", "filters[1].sigma"],
        ),
        ({"filters": (Filter(name="Dirac", noise_level=-1.0),)}, ["filters[0].noise_level"]),
        ({"filters": (Filter(name="Dirac", noise_level=1.0),)}, []),
        ({"filters": (GABOR,), "maxit": 0, "beta": 0.0}, ["maxit", "beta"]),
        ({"filters": (GABOR,), "maxit": 10**10, "beta": 1e300}, ["maxit", "beta"]),
        (
            {"filters": (Filter(name="Gabor", noise_level=1e300, sigma=(0.01, 1.0)),)},
            ["filters[0].noise_level", "filters[0].sigma"],
        ),
        (
            {"wavelet_decomposition": replace(WAVELET, sigma=1e-300, level=2**31)},
            ["wavelet_decomposition.sigma", "wavelet_decomposition.level"],
        ),
        (
            {"wavelet_decomposition": WaveletDecomposition(wavelet="mexh", sigma=1.0)},
            ["wavelet_decomposition.wavelet"],
        ),
        (
            {"wavelet_decomposition": WaveletDecomposition(wavelet="db2", sigma=0.0, level=0)},
            ["wavelet_decomposition.sigma", "wavelet_decomposition.level"],
        ),
        ({"wavelet_decomposition": WAVELET}, []),
    ],
)
def test_all_that_is_wrong_is_named_at_once(parameters, wrong):
    assert paths(Destriping(**parameters)) == [f"destriping.{path}" for path in wrong]


def test_a_package_that_is_not_there_is_asked_for(monkeypatch):
    monkeypatch.setattr(destriping.importlib.util, "find_spec", lambda name: None)
    (problem,) = Destriping(**WAYS["pyvsnr"]).check(spec_of(striped()))
    assert "pip install 'pystack3d-dask[pyvsnr]'" in problem.message
    assert not [*Destriping(**WAYS["native"]).check(spec_of(striped()))]


@pytest.mark.parametrize(
    ("how", "path"),
    [
        ({"wavelet": "db25"}, "destriping.wavelet_decomposition.wavelet"),
        ({"wavelet": "db2", "level": 9}, "destriping.wavelet_decomposition.level"),
    ],
)
def test_wavelets_too_long_for_the_slices_are_told_of(how, path):
    images = np.random.default_rng(0).integers(0, 255, (1, 40, 44)).astype(np.uint8)
    step = Destriping(wavelet_decomposition=WaveletDecomposition(sigma=2.0, **how))
    (problem,) = step.check(spec_of(images))
    assert (problem.path, problem.severity) == (path, "warning")
    assert correct(step, images).shape == images.shape


@every_way
@pytest.mark.parametrize("precision", ["float32", "source"])
@pytest.mark.parametrize(("dtype", "offset"), [("int8", -90), ("int16", -2000), ("int16", -90)])
def test_negative_values_of_signed_types_stay(how, dtype, offset, precision):
    images = (striped().astype(np.int16) + offset).clip(-128 if dtype == "int8" else -4000, 127)
    images = images.astype(dtype)
    found = correct(Destriping(**how), images, spec_of(images, precision))
    negative = images < -30
    assert negative.any()
    assert np.mean(found[negative] < 0) > 0.95
    assert abs(found.mean() - images.mean()) < 2


def test_stripes_of_values_below_zero_are_those_above_upside_down():
    images = striped("int16")
    below = correct(Destriping(**WAYS["native"]), -images)
    np.testing.assert_allclose(below, -correct(Destriping(**WAYS["native"]), images), atol=0.01)


@every_way
@pytest.mark.parametrize("border", [0, 255])
@pytest.mark.parametrize("precision", ["float32", "source"])
def test_a_border_stays_and_makes_no_stripes(how, border, precision):
    images = np.clip(striped(shape=(3, 90, 100)), 40, 215)
    bordered = images.copy()
    bordered[:, :20], bordered[:, :, :9] = border, border
    inner = np.s_[:, 24:, 12:]
    expected = correct(Destriping(**how), images)[inner]
    found = correct(Destriping(**how), bordered, spec_of(bordered, precision))
    if precision == "source":  # as PyStack3D does
        assert (found[:, :20] != border).any()
        return
    np.testing.assert_array_equal(found[bordered == border], border)
    changed = correct(Destriping(**how), bordered, spec_of(bordered, "source"))[inner]
    assert (found[inner] - expected).std() < 0.9 * (changed - expected).std()
