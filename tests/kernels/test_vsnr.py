"""The solver of VSNR: its filters, the minimum it finds, and its other implementations."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage, optimize

from pystack3d_dask.kernels.destriping.noise_model import Filter, noise_power, pattern
from pystack3d_dask.kernels.destriping.pyvsnr import pyvsnr_solution
from pystack3d_dask.kernels.destriping.vsnr import normalized, remove_noise
from pystack3d_dask.kernels.destriping.vsnr_arrays import remove_noise_on_arrays

DIRAC = Filter(name="Dirac", noise_level=0.5)
SMALL = Filter(name="Gabor", noise_level=3.0, sigma=(0.5, 1.2))
STRIPES = Filter(name="Gabor", noise_level=20.0, sigma=(1.0, 30.0))
FILTERS = {"white": (DIRAC,), "spots": (SMALL,), "both": (SMALL, DIRAC)}
every_filter = pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS)


def on_arrays(image, filters, **how):
    (solution,) = remove_noise_on_arrays(image[None], filters, **how)
    return solution


def texture(shape=(64, 80), seed=0):
    """Return smooth noise, about 60 to 180."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2, mode="wrap")
    return 120 + 20 * noise / noise.std()


def differences(shape):
    """Return the transfer functions of a pixel less the next one, along y and x."""
    y, x = (np.exp(2j * np.pi * np.fft.fftfreq(n)) for n in shape)
    return np.broadcast_to(1 - y[:, None], shape), np.broadcast_to(1 - x[None, :], shape)


def gaussian(shape, kind):
    """Return a Gaussian around the middle, the long axis turned clockwise on the screen."""
    y, x = (np.arange(n) - n / 2 for n in shape)
    turn = np.deg2rad(kind.theta)
    along = np.array([-np.sin(turn), np.cos(turn)])  # (x, y), y downwards
    across = np.array([np.cos(turn), np.sin(turn)])
    u = (across[0] * x[None, :] + across[1] * y[:, None]) / kind.sigma[0]
    v = (along[0] * x[None, :] + along[1] * y[:, None]) / kind.sigma[1]
    return np.exp(-(u**2 + v**2) / 2)


def psi(u0, filters):
    """Return the transfer function of the noise, as the contract has it."""
    total = np.zeros(u0.shape)
    largest = np.max(np.abs(differences(u0.shape)), axis=0)
    for kind in filters:
        is_delta = kind.name == "Dirac"
        power = np.ones(u0.shape) if is_delta else abs(np.fft.fft2(gaussian(u0.shape, kind))) ** 2
        total += kind.noise_level * power / (np.sqrt(u0.size) * (largest * power).max())
    return np.sqrt(np.linalg.norm(u0) * total)


def objective(x, u0, transfer, smoothing=0.0):
    """Return total variation plus energy of x, and its gradient if it is smoothed."""
    gradients = differences(u0.shape)
    rest = np.fft.fft2(u0) - transfer * np.fft.fft2(x)
    parts = [np.fft.ifft2(d * rest).real for d in gradients]
    length = np.sqrt(parts[0] ** 2 + parts[1] ** 2 + smoothing**2)
    value = length.sum() + (x**2).sum() / 2
    if not smoothing:
        return value
    pulled = sum(
        d.conj() * np.fft.fft2(part / length) for d, part in zip(gradients, parts, strict=True)
    )
    return value, (x - np.fft.ifft2(transfer * pulled).real).ravel()


def achieved(image, solution, filters):
    """Return the objective that a solution reaches."""
    u0 = image / image.max()
    transfer = psi(u0, filters)
    x = np.fft.ifft2(np.fft.fft2(u0 - solution / image.max()) / transfer).real
    return objective(x, u0, transfer)


@every_filter
@pytest.mark.parametrize("shape", [(12, 14), (11, 15)], ids=["even", "odd"])
def test_it_finds_the_minimum_that_another_method_finds(filters, shape):
    image = texture(shape) + np.random.default_rng(1).normal(0, 15, shape)
    u0, transfer = image / image.max(), psi(image / image.max(), filters)
    x = np.zeros(u0.size)
    for smoothing in (1e-1, 1e-2, 1e-3, 1e-4):  # each a start for the next

        def smoothed(x, smoothing=smoothing):
            return objective(x.reshape(shape), u0, transfer, smoothing)

        how = {"maxiter": 3000, "maxfun": 4000, "ftol": 1e-12, "gtol": 1e-8}
        x = optimize.minimize(smoothed, x, jac=True, method="L-BFGS-B", options=how).x
    lowest = objective(x.reshape(shape), u0, transfer)
    first, early, last = (
        achieved(image, remove_noise(image, filters, maxit=maxit).image, filters)
        for maxit in (1, 5, 500)
    )
    assert first > early > last
    assert last == pytest.approx(lowest, rel=1e-3)
    assert first > 1.1 * lowest  # there was something to gain


@pytest.mark.parametrize("beta", [1.0, 30.0])
def test_beta_decides_how_fast_not_where_to(beta):
    image = texture((24, 20)) + np.random.default_rng(1).normal(0, 15, (24, 20))
    found = [remove_noise(image, (SMALL,), beta=b, maxit=4000).image for b in (10.0, beta)]
    np.testing.assert_allclose(found[0], found[1], atol=0.3)


@pytest.mark.parametrize("theta", [0.0, 25.0, -60.0, 90.0])
@pytest.mark.parametrize("shape", [(64, 80), (63, 81)])
def test_the_pattern_has_the_power_of_a_turned_gaussian(theta, shape):
    kind = Filter(name="Gabor", noise_level=1.0, sigma=(1.2, 6.0), theta=theta)
    expected = np.abs(np.fft.rfft2(gaussian(shape, kind))) ** 2
    found = np.abs(np.fft.rfft2(pattern(shape, kind))) ** 2
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize("filters", [(DIRAC,), (SMALL,), (SMALL, SMALL, DIRAC)])
def test_powers_add_as_the_contract_has_it(filters):
    u0 = np.ones((21, 24))
    expected = psi(u0, filters)[:, :13] ** 2
    expected[0, 0] = 0
    near = 1e-6 * expected.max()
    np.testing.assert_allclose(noise_power((21, 24), filters), expected, rtol=1e-4, atol=near)


@pytest.mark.parametrize("kind", [STRIPES, DIRAC], ids=["few rows", "any noise"])
def test_the_mean_of_an_image_stays(kind):
    image = np.random.default_rng(0).uniform(0, 60000, (240, 90))
    clean = remove_noise(image, (kind,), maxit=40).image
    assert clean.mean(dtype=np.float64) == pytest.approx(image.mean(), rel=1e-8)


@pytest.mark.parametrize("shape", [(64, 80), (63, 81)])
@pytest.mark.parametrize("turned", [False, True], ids=["upright", "level"])
def test_stripes_go_and_the_texture_stays(shape, turned):
    clean = texture(shape)
    axis = 1 if turned else 0
    stripes = np.random.default_rng(3).normal(0, 12, shape[1 - axis])
    image = np.clip(clean + np.expand_dims(stripes, axis), 1, 255)
    kind = Filter(name="Gabor", noise_level=50.0, sigma=(0.5, 300.0), theta=90.0 * turned)
    found = remove_noise(image, (kind,), maxit=400).image
    left, before = found - clean, image - clean
    jumps, jumps_before = (np.abs(np.diff(each.mean(axis=axis))) for each in (left, before))
    assert jumps.mean() < 0.25 * jumps_before.mean()
    varying = left - left.mean(axis=axis, keepdims=True)
    assert varying.std() < 0.1 * clean.std()


def test_the_result_scales_with_the_image():
    image = texture()
    one, other = (remove_noise(k * image, (STRIPES,), maxit=20).image for k in (1, 200))
    np.testing.assert_allclose(other, 200 * one, rtol=1e-5)


def test_the_mean_is_kept():
    image = texture() + 10 * np.random.default_rng(0).normal(size=(1, 80))
    found = remove_noise(image, (STRIPES, DIRAC), maxit=60).image
    assert found.mean(dtype=float) == pytest.approx(image.mean(), rel=1e-5)


@pytest.mark.parametrize("level", [0, 7, 255])
@pytest.mark.parametrize("solve", [remove_noise, on_arrays, pyvsnr_solution])
def test_an_image_of_one_gray_level_stays_as_it_is(solve, level):
    image = np.full((9, 12), level, np.uint8)
    found = solve(image, (STRIPES,), maxit=10)
    np.testing.assert_array_equal(found.image, image)
    assert found.changes == ()


@pytest.mark.parametrize("shape", [(1, 20), (20, 1), (2, 2), (7, 5)])
def test_tiny_and_thin_images_have_finite_results(shape):
    image = np.random.default_rng(0).integers(1, 255, shape).astype(np.uint8)
    for solve in (remove_noise, on_arrays):
        found = solve(image, (STRIPES, DIRAC), maxit=30)
        assert found.image.shape == shape
        assert np.isfinite(found.image).all()
        assert np.isfinite(found.changes).all()


def test_an_image_below_zero_is_divided_by_its_largest_magnitude():
    image = -texture((20, 24)).astype(np.float32)
    values, top = normalized(image)
    assert top == pytest.approx(-image.min())
    np.testing.assert_allclose(values * top, image, rtol=1e-6)
    found = remove_noise(image, (DIRAC,), maxit=50).image
    assert found.std() < image.std()
    assert normalized(np.zeros((3, 3)))[1] == 0


def test_it_stops_when_nothing_changes_any_more():
    image = texture() + 10 * np.random.default_rng(0).normal(size=(1, 80))
    found = remove_noise(image, (STRIPES,), maxit=500, threshold=0.02)
    assert 2 <= found.iterations < 500
    assert found.changes[-1] <= 0.02
    assert min(found.changes[:-1]) > 0.02
    same = remove_noise(image, (STRIPES,), maxit=found.iterations)
    np.testing.assert_array_equal(same.image, found.image)
    assert remove_noise(image, (STRIPES,), maxit=9).iterations == 9


def test_the_input_is_left_alone():
    image = texture().astype(np.float32)
    image.flags.writeable = False
    before = image.copy()
    for solve in (remove_noise, on_arrays, pyvsnr_solution):
        found = solve(image, (STRIPES,), maxit=3).image
        assert not np.shares_memory(found, image)
    np.testing.assert_array_equal(image, before)


def test_the_spectra_of_several_filters_are_not_held_at_once():
    peaks = []
    for count in (2, 8):
        filters = tuple(
            Filter(name="Gabor", noise_level=20.0, sigma=(1.0, 9.0), theta=20.0 + k)
            for k in range(count)
        )
        tracemalloc.start()
        noise_power.__wrapped__((200, 300), filters)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
