"""What an iteration of VSNR costs: transforms, their pixels, and sweeps over the image."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from time import sleep

import numpy as np
import pytest
from scipy import fft
from test_vsnr import DIRAC, STRIPES, texture

from pystack3d_dask.kernels.destriping import fourier as vsnr_fourier
from pystack3d_dask.kernels.destriping import low_rank as vsnr_rows
from pystack3d_dask.kernels.destriping import noise_model as vsnr_noise
from pystack3d_dask.kernels.destriping.noise_model import Filter, few_rows, noise_power
from pystack3d_dask.kernels.destriping.vsnr import remove_noise

TRANSFORMS = ("fft", "ifft", "rfft", "irfft", "fft2", "ifft2", "rfft2", "irfft2")
SHAPE = (480, 90)
LEANING = Filter(name="Gabor", noise_level=20.0, sigma=(1.0, 30.0), theta=30.0)


@pytest.fixture
def counts(monkeypatch):
    """Count calls of transforms, the values they get, and sweeps."""
    found = Counter()

    def counted(name, function):
        def call(values, *arguments, **options):
            found[name] += 1
            found[f"{name} values"] += values.size
            return function(values, *arguments, **options)

        return call

    for name in TRANSFORMS:
        monkeypatch.setattr(fft, name, counted(name, getattr(fft, name)))
    for module in (vsnr_fourier, vsnr_rows):
        monkeypatch.setattr(module, "_sweep", counted("sweep", module._sweep))
    return found


def spent(counts, filters, maxit):
    """Return what a number of iterations takes, filters made before."""
    image = texture(SHAPE) + np.random.default_rng(1).normal(0, 8, SHAPE)
    remove_noise(image, filters, maxit=2)
    counts.clear()
    assert remove_noise(image, filters, maxit=maxit).iterations == maxit
    return dict(counts)


@pytest.mark.parametrize("filters", [(DIRAC,), (LEANING,)], ids=["white", "leaning stripes"])
def test_noise_of_any_kind_takes_two_real_transforms_and_a_sweep_per_iteration(counts, filters):
    pixels, spectrum = SHAPE[0] * SHAPE[1], SHAPE[0] * (SHAPE[1] // 2 + 1)
    found = spent(counts, filters, maxit=11)
    assert {name: n for name, n in found.items() if name.endswith("values")} == {
        "rfft values": 10 * pixels,
        "fft values": 10 * spectrum,
        "ifft values": 10 * spectrum,
        "irfft values": 10 * spectrum,
        "sweep values": 10 * pixels,
    }
    assert found["rfft"] == found["irfft"] == found["sweep"] == 10


def test_long_stripes_take_a_sweep_and_transforms_of_a_few_rows(counts):
    waves = len(few_rows(SHAPE, (STRIPES,)).frequencies)
    assert waves < SHAPE[0] // 16
    found = spent(counts, (STRIPES,), maxit=11)
    assert found == {
        "rfft": 10,
        "rfft values": 10 * 2 * waves * SHAPE[1],
        "irfft": 20,
        "irfft values": 20 * waves * (SHAPE[1] // 2 + 1),
        "sweep": 10,
        "sweep values": 10 * SHAPE[0] * SHAPE[1],
    }


def test_threads_that_begin_together_share_what_is_made_once(monkeypatch):
    original = vsnr_noise._pattern_power

    def slow(*arguments):
        sleep(0.2)  # long enough for all threads to ask
        return original(*arguments)

    monkeypatch.setattr(vsnr_noise, "_pattern_power", slow)
    noise_power.cache_clear()
    few_rows.cache_clear()
    stacks = [texture(SHAPE, seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda image: remove_noise(image, (STRIPES,), maxit=2), stacks))
    made = [found.cache_info().misses for found in (noise_power, few_rows)]
    assert made == [1, 1]


def test_the_spectrum_of_the_noise_is_made_once_per_shape_and_filters():
    noise_power.cache_clear()
    few_rows.cache_clear()
    for seed in range(4):
        remove_noise(texture(SHAPE, seed), (STRIPES,), maxit=3)
        remove_noise(texture(SHAPE, seed), (LEANING,), maxit=3)
    assert noise_power.cache_info().misses == 2
    assert few_rows.cache_info().misses == 2
