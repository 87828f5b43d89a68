"""Histogram matching, against a plain implementation of what is specified."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from stack_tools import correct, fit, spec_of

from pystack3d_dask.corrections.histogram_matching import (
    match,
    spread,
    targets,
)
from pystack3d_dask.corrections.intensity_rescaling import IntensityRescaling
from pystack3d_dask.kernels.intensity.histograms import bin_centers

SHAPE = (9, 31, 43)


def jumping(dtype="uint8", shape=SHAPE, seed=0):
    """Return a stack whose slices differ in gain and offset."""
    rng = np.random.default_rng(seed)
    gain = rng.uniform(0.8, 1.2, (shape[0], 1, 1))
    top = {"uint8": 1, "uint16": 200, "float32": 0.01}[dtype]
    values = rng.gamma(5, 14, shape) * gain + rng.uniform(0, 20, (shape[0], 1, 1))
    return (values.clip(0, 255) * top).astype(dtype)


def plain(images, nbins, limits, size, precision):
    """Return the corrected stack and the maps, straight from the words of the specification."""
    low, high = limits
    values = images.astype(np.float64)
    bins = np.floor((values - low) / (high - low) * nbins).clip(0, nbins - 1).astype(int)
    counts = np.array([np.bincount(b.ravel(), minlength=nbins) for b in bins])
    own = np.maximum(counts, 1)
    pool = counts if precision == "source" else own
    n = len(images)
    reflected = [*range(n), *reversed(range(n))]
    centers = low + (np.arange(nbins) + 0.5) * (high - low) / nbins
    out = np.empty(images.shape)
    for i in range(n):
        first = i - size // 2
        picks = (
            range(n) if size == -1 else [reflected[k % (2 * n)] for k in range(first, first + size)]
        )
        target = np.mean([pool[k] for k in picks], axis=0)
        if precision == "source" and size != -1:
            target = np.trunc(target)
        cdf, wanted = np.cumsum(own[i]) / own[i].sum(), np.cumsum(target) / target.sum()
        mapped = np.interp(cdf, wanted, centers)
        if precision == "source":
            out[i] = mapped[bins[i]]
        else:
            out[i] = np.interp(values[i], centers, mapped)
            below, above = values[i] < centers[0], values[i] > centers[-1]
            out[i][below] = mapped[0] + (values[i] - centers[0])[below]
            out[i][above] = mapped[-1] + (values[i] - centers[-1])[above]
    return out


@pytest.mark.parametrize("precision", ["float32", "source"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("size", [-1, 1, 2, 3, 10, 25])
def test_values_are_those_of_the_specification(dtype, size, precision):
    images = jumping(dtype)
    step = IntensityRescaling(nbins=100, filter_size=size)
    limits = float(images.min()), float(images.max())
    expected = plain(images, 100, limits, size, precision)
    found = correct(step, images, spec_of(images, precision))
    if precision == "source":
        top = np.iinfo(dtype).max
        # an ulp in the interpolation may move a value across an integer
        difference = np.abs(found - np.trunc(expected.clip(0, top)))
        assert difference.max() <= 1
        assert np.mean(difference > 0) < 1e-3
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


def test_precision_source_counts_what_is_outside_a_given_range_in_the_outer_bins():
    images = jumping()
    step = IntensityRescaling(nbins=32, filter_size=3, range_bins=(40.0, 160.0))
    spec = spec_of(images, "source")
    found = fit(step, images, spec)
    np.testing.assert_array_equal(found["histograms"].sum(axis=1), images[0].size)
    assert found["histograms"][0, 0] >= np.sum(images[0] < 40)
    assert found["histograms"][0, -1] >= np.sum(images[0] > 160)
    expected = plain(images, 32, (40.0, 160.0), 3, "source")
    np.testing.assert_allclose(
        correct(step, images, spec), np.trunc(expected.clip(0, 255)), atol=1e-3
    )


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_what_is_outside_a_given_range_is_not_counted_and_goes_on_from_the_outer_bins(dtype):
    images = jumping("uint8").astype(dtype)
    step = IntensityRescaling(nbins=32, filter_size=3, range_bins=(40.0, 160.0))
    found = fit(step, images, spec_of(images))
    inside = (images >= 40) & (images <= 160)
    np.testing.assert_array_equal(found["histograms"].sum(axis=1), inside.sum(axis=(1, 2)))
    moved = correct(step, images) - images
    for image, shift in zip(images, moved, strict=True):
        for beyond in (image < 40, image > 162):
            np.testing.assert_allclose(shift[beyond], shift[beyond][0], atol=1e-3)


@pytest.mark.parametrize("size", [-1, 3])
def test_a_slice_equal_to_its_target_is_unchanged(size):
    images = np.broadcast_to(jumping()[0], SHAPE).copy()
    found = correct(IntensityRescaling(filter_size=size, nbins=64), images)
    np.testing.assert_allclose(found, images, atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "source"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_constant_stack_is_unchanged(dtype, precision):
    images = np.full(SHAPE, 77, dtype)
    found = correct(IntensityRescaling(), images, spec_of(images, precision))
    np.testing.assert_array_equal(found, images)


def test_float_stacks_take_a_second_round_unless_the_range_is_given():
    images = jumping("float32")
    spec = spec_of(images)
    assert IntensityRescaling().fit_rounds(spec) == 2
    assert IntensityRescaling(range_bins=(0.0, 1.0)).fit_rounds(spec) == 1
    assert IntensityRescaling().fit_rounds(spec_of(jumping())) == 1
    limits = float(images.min()), float(images.max())
    np.testing.assert_array_equal(fit(IntensityRescaling(), images, spec)["range"], limits)
    given_range = correct(IntensityRescaling(range_bins=limits), images)
    np.testing.assert_array_equal(correct(IntensityRescaling(), images), given_range)


def test_slices_that_jump_become_alike():
    images = jumping()
    found = correct(IntensityRescaling(filter_size=-1), images)
    before, after = (np.std(stack.mean(axis=(1, 2))) for stack in (images, found))
    assert after < 0.2 * before


@settings(deadline=None)
@given(data=st.data(), nbins=st.integers(2, 12), slices=st.integers(1, 4))
def test_maps_never_fall_and_stay_within_the_centers(data, nbins, slices):
    counts = st.lists(st.integers(0, 50), min_size=nbins, max_size=nbins)
    tables = st.lists(counts, min_size=slices, max_size=slices)
    own, wanted = np.array(data.draw(tables)), np.array(data.draw(tables), float)
    maps = match(own, wanted, (10.0, 90.0))
    centers = bin_centers((10.0, 90.0), nbins)
    assert np.all(np.diff(maps, axis=1) >= 0)
    assert maps.min() >= centers[0]
    assert maps.max() <= centers[-1]


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"nbins": 1}, "nbins"),
        ({"nbins": 10**11}, "nbins"),
        ({"filter_size": 0}, "filter_size"),
        ({"filter_size": 10**11}, "filter_size"),
        ({"range_bins": (5, 5)}, "range"),
        ({"range_bins": (1.0, 1.0000000000000002)}, "range"),
        ({"range_bins": (-1e308, 1.7e308)}, "range"),
    ],
)
def test_wrong_parameters_are_named(parameters, path):
    found = IntensityRescaling(**parameters).check(spec_of(jumping()))
    (problem,) = [each for each in found if each.severity == "error"]
    assert problem.path.startswith(f"intensity_rescaling.{path}")


@pytest.mark.parametrize("filter_size", [-1, 4])
def test_a_blank_slice_stays_and_takes_no_part_in_the_targets_of_others(filter_size):
    histograms = np.random.default_rng(0).integers(1, 50, (7, 16))
    blank = np.zeros((1, 16), np.int64)
    blank[0, 0] = 900
    targets_of_all = targets(np.insert(histograms, 3, blank, axis=0), filter_size, "float32")
    assert not targets_of_all[3].any()
    maps = match(np.insert(histograms, 3, blank, axis=0), targets_of_all, (0.0, 16.0))
    np.testing.assert_array_equal(maps[3], bin_centers((0.0, 16.0), 16))
    if filter_size == -1:
        np.testing.assert_array_equal(
            np.delete(targets_of_all, 3, axis=0), targets(histograms, -1, "float32")
        )


def test_without_any_textured_slice_nothing_is_changed():
    blank = np.zeros((3, 8), np.int64)
    blank[:, [1, 4, 5]] = np.diag([5, 5, 5])
    maps = match(blank, targets(blank, 2, "float32"), (0.0, 8.0))
    np.testing.assert_array_equal(maps, np.tile(bin_centers((0.0, 8.0), 8), (3, 1)))


@pytest.mark.parametrize("nbins", [16, 64])
def test_histograms_after_are_those_of_the_pixels_after(nbins):
    images = jumping("float32", (5, 200, 200)) * 100
    step = IntensityRescaling(nbins=nbins, filter_size=-1)
    spec = spec_of(images)
    found = fit(step, images, spec)
    limits = tuple(found["range"])
    after = correct(step, images, spec=spec)
    expected = [np.histogram(np.clip(each, *limits), nbins, limits)[0] for each in after]
    spread_out = spread(found["histograms"], found["maps"], limits)
    np.testing.assert_allclose(spread_out.sum(axis=1), 200 * 200)
    assert np.abs(spread_out - expected).max() < 0.02 * 200 * 200


def material(slices=12, shape=(72, 84), seed=1):
    """Return slices that show the same, of mean 0 and standard deviation 1."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return np.tile((noise - noise.mean()) / noise.std(), (slices, 1, 1))


def bordered(values, fill):
    """Return slices with a border of varying width at the left."""
    values = values.copy()
    for k, width in enumerate(np.random.default_rng(0).integers(0, 25, len(values))):
        values[k, :, :width] = fill
    return values


KINDS = [
    ("uint8", 20, 128, 0),
    ("uint8", 20, 128, 255),
    ("uint16", 300, 2000, 0),
    ("uint16", 300, 40_000, 65_535),
    ("int16", 300, -2000, 32_767),
    ("float32", 0.001, 1.337, 0),
    ("float32", 1e-8, 0, -1e30),
    ("float32", 1e4, 1e7, 0),
]


@pytest.mark.parametrize(("dtype", "contrast", "offset", "fill"), KINDS)
def test_a_border_of_varying_width_makes_no_jumps(dtype, contrast, offset, fill):
    clean = material() * contrast + offset
    images = bordered(clean, fill)
    images = (np.rint(images) if np.dtype(dtype).kind in "iu" else images).astype(dtype)
    step = IntensityRescaling(filter_size=-1)
    means = correct(step, images)[:, :, 26:].mean(axis=(1, 2), dtype=np.float64)
    assert means.std() < 0.05 * contrast
    (note,) = step.remarks(fit(step, images, spec_of(images)), spec_of(images))
    assert f"{fill:g}" in note
    assert "fill" in note


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_hot_pixel_does_not_change_what_is_done_to_the_others(dtype):
    images = ((material() * 300 + 2000) * np.linspace(0.9, 1.1, 12)[:, None, None]).astype(dtype)
    step = IntensityRescaling(filter_size=-1)
    expected = correct(step, images)
    hot = images.copy()
    hot[3, 5, 5] = 65_535
    found = correct(step, hot)
    found[3, 5, 5] = expected[3, 5, 5]
    assert np.quantile(np.abs(found - expected), 0.99) < 3
    assert found.mean(axis=(1, 2)).std() < 0.1 * images.mean(axis=(1, 2)).std()


@settings(max_examples=20, deadline=None)
@given(st.floats(-8, 4), st.floats(-3, 3))
def test_an_offset_and_a_scale_only_move_what_comes_out(scale, ratio):
    gains = np.linspace(0.9, 1.1, 12)[:, None, None]
    images = bordered(material() * gains, -50).astype(np.float32)
    step = IntensityRescaling(filter_size=-1)
    contrast = 10.0**scale
    offset = contrast * 10.0**ratio
    other = (images * contrast + offset).astype(np.float32)
    found = (correct(step, other) - offset) / contrast
    np.testing.assert_allclose(found, correct(step, images), atol=0.02)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pores_and_noiseless_phases_are_no_fill(dtype):
    soft = np.clip(material() * 60 + 60, 0, 127).astype(dtype)  # many pixels at both ends
    phases = np.where(material() > 0, 100, 0).astype(dtype)
    for images in (soft, phases):
        spec = spec_of(images)
        found = fit(IntensityRescaling(), images, spec)
        np.testing.assert_array_equal(found["range"], [images.min(), images.max()])
        assert not [*IntensityRescaling().remarks(found, spec)]


def test_precision_source_leaves_nothing_out():
    images = bordered(material() * 20 + 128, 0).astype(np.uint8)
    found = fit(IntensityRescaling(), images, spec_of(images, "source"))
    np.testing.assert_array_equal(found["range"], [0, images.max()])
    np.testing.assert_array_equal(found["histograms"].sum(axis=1), images[0].size)
