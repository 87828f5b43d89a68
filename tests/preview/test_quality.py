"""Figures of slices: by other programs, and by what they must tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import wasserstein_distance

from pystack3d_dask.demo import DemoStack
from pystack3d_dask.preview.quality import (
    Quality,
    correlation,
    detail,
    histogram_distance,
    sharpness,
    stripe_energy,
)

SHAPE = (200, 240)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def texture(rng, shape=SHAPE):
    return 100 + 200 * ndimage.gaussian_filter(rng.normal(size=shape), 3)


def striped(image, rng, angle, strength=8):
    """Return an image with lines at an angle clockwise from y."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    across = x * np.cos(np.deg2rad(angle)) + y * np.sin(np.deg2rad(angle))
    lines = rng.normal(0, strength, 2000)
    return image + lines[np.rint(across).astype(int) + 1000]


def test_no_direction_is_special_in_isotropic_texture(rng):
    along, across = stripe_energy(texture(rng, (600, 600)))
    assert along == pytest.approx(1, abs=0.15)
    assert across == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("angle", [0, 30, -60, 90])
def test_stripes_are_energy_across_them(rng, angle):
    image = striped(texture(rng), rng, angle)
    along, across = stripe_energy(image, angle)
    assert across > 3
    assert along < 1
    assert stripe_energy(image, angle + 90) == pytest.approx((across, along), rel=0.05)


def test_sharpness_falls_with_blur_and_ignores_contrast(rng):
    image = texture(rng)
    assert sharpness(ndimage.gaussian_filter(image, 2)) < 0.8 * sharpness(image)
    assert sharpness(3 * image + 7) == pytest.approx(sharpness(image), rel=1e-3)
    assert sharpness(np.full(SHAPE, 9)) == 0


def test_the_distance_of_histograms_is_that_of_earth_movers(rng):
    one, other = rng.gamma(3, 20, SHAPE), rng.normal(60, 25, (90, 80))
    expected = wasserstein_distance(one.ravel(), other.ravel()) / other.std()
    assert histogram_distance(one, other) == pytest.approx(expected, rel=0.01)
    assert histogram_distance(one, one[::-1]) == 0
    assert histogram_distance(one, np.zeros((4, 4))) == 0


def test_correlation_is_pearsons_of_what_varies_fast(rng):
    one = texture(rng)
    other = one + rng.normal(0, 10, SHAPE)
    expected = np.corrcoef(detail(one).ravel(), detail(other).ravel())[0, 1]
    assert correlation(one, other) == pytest.approx(expected, abs=2e-3)
    assert correlation(one, -one) == pytest.approx(-1, abs=1e-3)
    assert correlation(one, np.zeros(SHAPE)) == 0


def test_a_background_that_slices_share_makes_them_no_more_alike(rng):
    one, other = texture(rng), texture(rng)
    slope = np.linspace(0, 500, SHAPE[1])
    assert correlation(one + slope, other + slope) == pytest.approx(
        correlation(one, other), abs=0.05
    )


def test_integers_and_floats_have_the_same_figures(rng):
    image, other = (texture(rng).astype(np.uint8) for _ in range(2))
    found = Quality.of(image, other).by_name()
    floats = Quality.of(image.astype(np.float32), other.astype(np.float32)).by_name()
    assert found == pytest.approx(floats, rel=1e-6)


def test_without_a_neighbor_there_is_no_score(rng):
    alone = Quality.of(texture(rng))
    assert np.isnan(alone.score)
    assert np.isfinite(alone.sharpness)


@pytest.mark.parametrize("texture", ["porous", "cellular"])
def test_the_score_is_highest_near_the_truth(texture):
    """Of slices with none to all of their stripes, and of those blurred."""
    stack = DemoStack(
        shape=(2, 256, 256),
        texture=texture,
        border=0,
        shift=0,
        uneven=0,
        shading=0,
        flicker=0,
        noise=0.01,
        curtaining=0.1,
    )
    seen = [stack.slice(k).astype(float) for k in range(2)]
    lines = [stack.curtains(k) for k in range(2)]

    def scored(less, blur=0.0):
        images = [
            ndimage.gaussian_filter(image - less * own, blur)
            for image, own in zip(seen, lines, strict=True)
        ]
        return Quality.of(images[1], images[0]).score

    scores = {share: scored(share) for share in (0, 0.5, 1, 1.5, 2)}
    assert max(scores, key=scores.get) == 1
