"""Corrections of slices with padding: it stays as it is, and nothing depends on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from stack_tools import correct, fit, posed, registration_fit, spec_of, turned
from striped import specimen, stripes

import pystack3d_dask as ps
from pystack3d_dask.core.registry import registry
from pystack3d_dask.core.spec import Region
from pystack3d_dask.kernels.registration.affine import identities

SHAPE = (12, 96, 110)
IMAGE = np.s_[:, 10:-14, 12:-9]
VOID = np.s_[:, 40:60, 30:60]
LEVELS = (0, 255, 3)

CORRECTIONS = [
    ps.BackgroundRemoval(orders=(2, 2, 1)),
    ps.BackgroundRemoval(orders=(2, 2, 1), outside="correct"),
    ps.BackgroundRemoval(dim=2, orders=(2, 2)),
    ps.BackgroundRemoval(method="local", size=(30, 30, 3)),
    ps.BackgroundRemoval(method="classes"),
    ps.IntensityRescaling(nbins=64, filter_size=6),
    ps.IntensityRescaling(method="neighbors", anchor="auto"),
    ps.IntensityRescaling(method="neighbors", anchor=100.0),
    ps.IntensityRescaling(method="neighbors", anchor=(0, 70, 30, 96)),
    ps.IntensityRescalingArea(area=(0, 60, 10, 70)),
    ps.Destriping(filters=[ps.Gabor(noise_level=20, sigma=(1, 30))], maxit=5),
    ps.Destriping(neighbors=2),
    ps.Gamma(gamma=0.7),
    ps.PercentileClipping(),
    ps.PercentileClipping(scope="slice"),
    ps.Equalization(),
    ps.Equalization(scope="slice"),
    ps.CLAHE(),
    ps.CLAHE(scope="slice"),
    ps.SliceCheck(),
    ps.Resampling(z_source="coordinates", dz=0.7),
]
FITTED_TO_ALL = [
    ps.PercentileClipping(),
    ps.Equalization(),
    ps.BackgroundRemoval(orders=(2, 2, 1)),
    ps.BackgroundRemoval(method="classes"),
    ps.Destriping(neighbors=2),
]
MOVING = {
    "cropping",
    "cropping_final",
    "registration_calculation",
    "registration_transformation",
    "slice_repair",
}
every_correction = pytest.mark.parametrize(
    "correction", [pytest.param(each, id=f"{each.name}-{k}") for k, each in enumerate(CORRECTIONS)]
)


def stack(level, least=10, most=245):
    """Return a shaded specimen with stripes and jumps, padded, and where its image is."""
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    gains = 1 + 0.1 * np.random.default_rng(5).standard_normal(SHAPE[0])[:, None, None]
    images = (specimen(SHAPE) + stripes(SHAPE, 5) + 0.2 * y + 0.1 * x) * gains
    images = np.clip(np.rint(images), least, most).astype(np.uint8)
    is_image = np.zeros(SHAPE, bool)
    is_image[IMAGE] = True
    is_image[VOID] = False
    images[~is_image] = level
    return images, is_image


def corrected(correction, images, fill, blocks=None):
    spec = spec_of(images, z=tuple(np.arange(len(images), dtype=float)))
    return correct(correction, images, spec, blocks, fill=fill)


def test_all_corrections_are_tried():
    assert {each.name for each in CORRECTIONS} | MOVING == registry().keys()


@every_correction
def test_the_level_of_padding_decides_nothing(correction):
    found = {}
    for level in LEVELS:
        images, is_image = stack(level)
        values = corrected(correction, images, (level,))
        where = np.broadcast_to(is_image[:1], values.shape)
        assert (values[~where] == level).all()
        found[level] = values[where]
    for level in LEVELS[1:]:
        # a value that is the level by chance is moved off it
        assert np.allclose(found[level], found[LEVELS[0]], rtol=3e-6, atol=1e-30)


@pytest.mark.parametrize(
    "correction",
    [
        ps.IntensityRescaling(nbins=64, filter_size=6),
        ps.PercentileClipping(),
        ps.PercentileClipping(scope="slice"),
        ps.Equalization(),
        ps.Equalization(scope="slice"),
        ps.Gamma(gamma=0.7),
    ],
    ids=lambda each: f"{each.name} {getattr(each, 'scope', '')}",
)
def test_histograms_are_those_of_the_image_alone(correction):
    images, _ = stack(0)
    images[VOID] = 90
    found = corrected(correction, images, (0,))[IMAGE]
    assert np.allclose(found, corrected(correction, images[IMAGE], ()), rtol=3e-6)


@pytest.mark.parametrize("scope", ["stack", "slice"])
def test_tiles_of_clahe_do_not_count_padding(scope):
    images = np.clip(specimen((6, 80, 80)), 10, 245).astype(np.uint8)
    size = (20, 20, 6) if scope == "stack" else (20, 20)
    correction = ps.CLAHE(scope=scope, size=size, clip_limit=1)
    found = []
    for width in (20, 60):  # whole tiles, so that the others stay where they are
        padded = np.pad(images, [(0, 0), (width, width), (width, width)])
        inside = np.s_[:, width:-width, width:-width]
        found.append(corrected(correction, padded, (0,))[inside])
    assert np.allclose(*found, atol=1e-3)
    if scope == "stack":
        assert np.allclose(found[0], corrected(correction, images, ()), atol=1e-3)


@every_correction
def test_a_level_that_no_border_has_changes_nothing(correction):
    images, _ = stack(100, least=100, most=180)
    images[images == 100] = 0  # clipped, at both ends
    images[images == 180] = 255
    images[:, 0, 0] = 100
    found = corrected(correction, images, (99,))
    # what becomes this level by interpolation is moved off it
    assert np.allclose(found, corrected(correction, images, ()), rtol=3e-6, atol=0)


@every_correction
@pytest.mark.parametrize("size", [(5, 96, 110), (12, 50, 37)], ids=["slices", "parts"])
def test_blocks_decide_nothing(correction, size):
    images, _ = stack(0)
    images[:, 46:54, 70:80] = 0  # pores, at edges of parts
    images[:, 70:80, 35:40] = 0
    whole = corrected(correction, images, (0,))
    starts = np.ndindex(*(-(-n // s) for n, s in zip(whole.shape, size, strict=True)))
    blocks = [
        Region(
            tuple(k * s for k, s in zip(at, size, strict=True)),
            tuple(min((k + 1) * s, n) for k, s, n in zip(at, size, whole.shape, strict=True)),
        )
        for at in starts
    ]
    assert np.array_equal(corrected(correction, images, (0,), blocks), whole)


@every_correction
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("which", [slice(3, 4), slice(None)], ids=["one slice", "all"])
def test_slices_may_be_all_padding(correction, dtype, which):
    images = stack(0)[0].astype(dtype)
    images[which] = 0
    found = corrected(correction, images, (0,))
    assert np.isfinite(found).all()
    if correction.name != "resampling":
        assert (found[which] == 0).all()


def test_fill_moves_with_the_specimen():
    poses = [turned(0, (0, 0), shift) for shift in ((0, 0), (3.5, -2.25), (-4.0, 1.5), (2.2, 5.7))]
    images = np.maximum(posed(poses, SHAPE[1:]), 60)
    images[:, :16] = 0
    pairwise = identities(4, 1)
    for k in range(1, 4):
        pairwise[k, 0] = poses[k] @ np.linalg.inv(poses[k - 1])
    correction = ps.RegistrationTransformation(interpolation="cubic")
    fits = {"registration_calculation": registration_fit(pairwise, SHAPE[1:])}

    found = correct(correction, images, fits=fits, fill=(0,))

    for z, pose in enumerate(poses):
        edge = 16 - pose[1, 2]  # rows above it are padding
        moved = found[z, :, 20:-20]
        assert (moved[: int(np.floor(edge))] == 0).all()
        assert moved[int(np.ceil(edge)) : -10].min() >= 55, "nothing between padding and specimen"
    assert not np.array_equal(found, correct(correction, images, fits=fits))


@pytest.mark.parametrize("fill", [(255,), (7, 255)])
def test_what_no_slice_reaches_becomes_padding(fill):
    poses = [turned(0, (0, 0), shift) for shift in ((0, 0), (6.0, 0), (0, -8.0))]
    images = np.clip(posed(poses, SHAPE[1:]), 60, 200)
    images[1, :, -10:] = 255
    pairwise = identities(3, 1)
    for k in (1, 2):
        pairwise[k, 0] = poses[k] @ np.linalg.inv(poses[k - 1])
    fits = {"registration_calculation": registration_fit(pairwise, SHAPE[1:])}
    found = correct(ps.RegistrationTransformation(), images, fits=fits, fill=fill)
    assert (found[1, :, -6:] == fill[0]).all()
    assert (found[1, :, -15:-7] == 255).all()
    assert (found[2, :8] == fill[0]).all()
    assert ((found[2, 9:-1, 1:-1] >= 55) & (found[2, 9:-1, 1:-1] <= 205)).all()


@pytest.mark.parametrize(
    "correction",
    [
        *FITTED_TO_ALL,
        ps.BackgroundRemoval(method="local", size=(30, 30, 3)),
        ps.IntensityRescaling(method="neighbors", anchor="auto"),
        ps.IntensityRescalingArea(area=(0, 60, 10, 70)),
    ],
    ids=lambda each: f"{each.name} {getattr(each, 'method', '')}",
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("blank", [[7], [0, 1, 7, 8]], ids=["one slice", "four slices"])
def test_slices_that_are_all_padding_decide_nothing(correction, dtype, blank):
    found = []
    for level in (0, 20, 255):
        images, is_image = stack(level, least=21)
        images[blank] = level
        found.append(corrected(correction, images.astype(dtype), (level,)))
    is_image[blank] = False
    assert np.allclose(found[1][is_image], found[0][is_image], rtol=1e-5)
    assert np.allclose(found[2][is_image], found[0][is_image], rtol=1e-5)


@pytest.mark.parametrize("correction", FITTED_TO_ALL, ids=lambda each: each.name)
def test_slices_that_are_all_padding_are_bad_ones(correction):
    images, _ = stack(0)
    bad = correct(correction, images, replace(spec_of(images), bad=(7,)), fill=(0,))
    images[7] = 0
    others = np.arange(len(images)) != 7
    assert np.allclose(corrected(correction, images, (0,))[others], bad[others], rtol=1e-4)


def test_an_area_that_is_all_padding_tells_nothing():
    correction = ps.IntensityRescalingArea(area=(0, 60, 10, 70))
    found = []
    for level in (0, 255):
        images, is_image = stack(level)
        images[4, 20:, :70] = level
        found.append(corrected(correction, images, (level,)))
    is_image[4, 20:, :70] = False
    assert np.allclose(found[0][is_image], found[1][is_image])


@pytest.mark.parametrize(
    "correction", [ps.Resampling(z_source="coordinates", dz=2.3, antialias=True)]
)
def test_saturated_spots_do_not_become_padding_where_they_move(correction):
    images, is_image = stack(255)
    images[:, 70:74, 70:74] = 255
    found = corrected(correction, images, (255,))
    assert np.array_equal(found == 255, np.broadcast_to(~is_image[:1], found.shape))


@pytest.mark.parametrize("action", ["interpolate", "drop"])
def test_slices_that_stand_in_have_the_padding_of_those_around(action):
    images, is_image = stack(0)
    images[5][is_image[5]] = 200
    spec = replace(spec_of(images), bad=(5,))
    fits = {"slice_check": fit(ps.SliceCheck(), images, spec, (0,))}
    fits["slice_check"]["is_worse"] = np.arange(len(images)) == 5
    found = correct(ps.SliceRepair(action=action), images, spec, fits=fits, fill=(0,))
    assert np.array_equal(found == 0, ~is_image[: len(found)])


@pytest.mark.parametrize("method", ["phase", "stackreg"])
def test_registration_does_not_hold_on_to_padding(method):
    shifts = np.array([(0, 0), (1.5, -1.25), (-1.0, 1.5), (2.2, 0.7)])
    shade = np.linspace(-50, 50, 220)  # stays, too, and ends where padding begins
    images = posed([turned(0, (0, 0), shift) for shift in shifts], (200, 220)) + shade
    images = np.clip(np.rint(images), 1, 254).astype(np.uint8)
    images[:, :30], images[:, :, -40:] = 0, 0  # at one place in all slices
    correction = ps.RegistrationCalculation(transformation="TRANSLATION", method=method)
    found = fit(correction, images, spec_of(images), (0,))["pairwise"][1:, 0, :2, 2]
    assert np.abs(found - np.diff(shifts, axis=0)).max() < 0.075


@dataclass(frozen=True, kw_only=True)
class Halved(ps.Step):
    """Means over two pixels along each axis, times a factor, from another package."""

    name: ClassVar[str] = "halved"
    factor: float

    def output_spec(self, spec, fitted=None):
        z, y, x = spec.shape
        return replace(spec.computed(), shape=(z, y // 2, x // 2))

    def source(self, out, spec, fitted=None):
        start, stop = ((a[0], 2 * a[1], 2 * a[2]) for a in (out.start, out.stop))
        return Region(start, stop)

    def apply(self, block, fitted=None):
        z, y, x = block.out.shape
        return block.values.reshape(z, y, 2, x, 2).mean(axis=(2, 4)) * self.factor, {}


@pytest.mark.parametrize("factor", [1.0, 1 / 255, 255.0])
def test_padding_keeps_its_place_where_a_correction_changes_the_shape(factor):
    images, is_image = stack(0)
    found = correct(Halved(factor=factor), images, fill=(0,))
    assert np.array_equal(found == 0, ~is_image[:, ::2, ::2])
