"""Shifts found by phases and least squares: as exact as StackReg's, or more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pystack3d_dask.kernels.registration.phase_correlation import register_shift
from pystack3d_dask.kernels.registration.stackreg import SMALLEST, register

MARGIN = 40


def pair(shape, shift, detail=4.0, noise=2.0, seed=0):
    """Return two images of 8 bits; what is at q in the first is at q + shift (x, y) in the other.

    The texture is moved by the phases of its spectrum, outside which is nothing: exactly.
    """
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(
        rng.standard_normal([n + 2 * MARGIN for n in shape]), detail, mode="wrap"
    )
    field = ndimage.gaussian_filter(np.tanh(2 * field / field.std()), 0.7, mode="wrap")
    y, x = (np.fft.fftfreq(n) for n in field.shape)
    turn = np.exp(-2j * np.pi * (shift[1] * y[:, None] + shift[0] * x))
    moved = np.fft.ifft2(np.fft.fft2(field) * turn).real
    images = []
    for each in (field, moved):
        kept = each[MARGIN:-MARGIN, MARGIN:-MARGIN]
        values = 128 + 40 * kept + noise * rng.standard_normal(shape)
        images.append(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    return images


def error(matrix, shift):
    return float(np.hypot(*(matrix[:2, 2] - shift)))


@pytest.mark.parametrize("noise", [2, 15, 30])
@pytest.mark.parametrize("detail", [1.5, 4.0, 10.0])
def test_nothing_is_lost_against_stackreg(detail, noise):
    rng = np.random.default_rng(1)
    shifts = rng.uniform(-6, 6, (10, 2))
    errors = {"phase": [], "stackreg": []}
    for seed, shift in enumerate(shifts):
        images = pair((160, 170), shift, detail, noise, seed)
        errors["phase"].append(error(register_shift(*images), shift))
        errors["stackreg"].append(error(register(*images, "TRANSLATION"), shift))
    phase, stackreg = (np.sqrt(np.mean(np.square(each))) for each in errors.values())
    assert phase <= 1.05 * stackreg
    assert phase < 0.01 * (noise + 1) * (1 + detail / 4)


@pytest.mark.parametrize("shift", [(60.3, -11.8), (-20.4, 50.5), (0.0, 0.0), (33.0, 41.0)])
def test_large_shifts_are_found(shift):
    full = pair((300, 300), (shift[0] % 1, shift[1] % 1), seed=2)
    whole = [int(np.floor(each)) for each in shift]
    first = [full[0][80:-80, 80:-80], full[1]]
    rows, columns = (slice(80 - n, 220 - n) for n in whole[::-1])
    assert error(register_shift(first[0], full[1][rows, columns]), shift) < 0.02


@settings(max_examples=25, deadline=None)
@given(st.integers(-12, 12), st.integers(-12, 12), st.integers(0, 1000))
def test_whole_shifts_of_the_same_pixels_are_exact(dx, dy, seed):
    scene = np.random.default_rng(seed).normal(size=(90, 100)).astype(np.float32)
    reference, image = scene[20:70, 20:80], scene[20 - dy : 70 - dy, 20 - dx : 80 - dx]
    np.testing.assert_allclose(register_shift(reference, image)[:2, 2], [dx, dy], atol=1e-3)


def test_contrast_and_brightness_do_not_matter():
    reference, image = pair((120, 140), (2.3, -1.6))
    expected = register_shift(reference, image)
    other = 1000 + 3.7 * image.astype(np.float64)
    np.testing.assert_allclose(register_shift(reference, other), expected, atol=1e-3)


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1e9, 1e34])
def test_units_do_not_matter(scale):
    reference, image = (each.astype(np.float32) for each in pair((90, 110), (3.3, -2.6)))
    found = register_shift(reference * np.float32(scale), image * np.float32(scale))
    np.testing.assert_allclose(found, register_shift(reference, image), atol=1e-3)


def test_noise_does_not_draw_shifts_to_where_reading_smooths():
    for fraction in (0.25, 0.75):
        found = [
            register_shift(*pair((120, 120), (fraction, fraction), 4.0, 20.0, seed))[:2, 2]
            for seed in range(30)
        ]
        mean, spread = np.mean(found), np.std(found) / np.sqrt(np.size(found))
        assert abs(mean - fraction) < 4 * spread


def test_masks_are_registered():
    reference, image = pair((150, 150), (3.4, 1.2))
    assert error(register_shift(reference > 128, image > 128), (3.4, 1.2)) < 0.05


def test_the_other_way_round_is_the_way_back():
    reference, image = pair((120, 140), (2.3, -1.6), noise=10)
    there, back = register_shift(reference, image), register_shift(image, reference)
    np.testing.assert_allclose(there @ back, np.eye(3), atol=0.03)


@pytest.mark.parametrize("shape", [(SMALLEST, SMALLEST), (13, 200), (97, 31)])
def test_any_size_gives_a_shift(shape):
    matrix = register_shift(*pair(shape, (0.4, 0.3)))
    assert error(matrix, (0.4, 0.3)) < 0.3
    np.testing.assert_array_equal(matrix[:, :2], np.eye(3)[:, :2])


@pytest.mark.parametrize("kind", ["blank", "noise", "one pixel"])
def test_what_shows_nothing_in_common_gives_a_finite_shift(kind):
    reference, _ = pair((60, 70), (0, 0))
    other = np.zeros((60, 70), np.uint8)
    if kind == "noise":
        other = np.random.default_rng(3).integers(0, 255, (60, 70)).astype(np.uint8)
    if kind == "one pixel":
        other[30, 35] = 255
    for images in ((reference, other), (other, reference)):
        assert np.isfinite(register_shift(*images)).all()
    if kind == "blank":
        np.testing.assert_array_equal(register_shift(reference, other), np.eye(3))


def test_images_are_left_alone():
    images = [each[:, ::2] for each in pair((60, 140), (1, 1))]
    kept = [each.copy() for each in images]
    for each in images:
        each.flags.writeable = False
    register_shift(*images)
    for image, copy in zip(images, kept, strict=True):
        np.testing.assert_array_equal(image, copy)
