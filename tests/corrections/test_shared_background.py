"""A background that dark and bright parts share, found and taken off, or left alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from stack_tools import correct, fit, spec_of

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.spec import Region
from pystack3d_dask.corrections.bkg_removal import BackgroundRemoval
from pystack3d_dask.kernels.intensity.gray_range import fill_levels
from pystack3d_dask.kernels.intensity.histograms import count_levels

STEP = BackgroundRemoval(method="classes")
SHAPE = (14, 160, 180)


def porous(seed=0, shape=SHAPE):
    """Return gray levels of a porous specimen, in noise."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), (3, 5, 5))
    levels = np.where(field < -0.6 * field.std(), 70.0, 150.0)
    return ndimage.gaussian_filter(levels, (0, 1, 1)) + rng.normal(0, 3, shape)


def shading(size, shape=SHAPE):
    """Return a bowl over the slices, of some rms."""
    y, x = (np.linspace(-1, 1, count) for count in shape[1:])
    field = x**2 + y[:, None] ** 2 + 0.5 * x
    field -= field.mean()
    return size * field / field.std()


def as_uint8(stack):
    """Return a stack as a camera would deliver it."""
    return np.rint(np.clip(stack, 0, 255)).astype(np.uint8)


def error(found, truth):
    """Return the rms error after the best linear gray scale."""
    line = np.polyfit(found.ravel(), truth.ravel(), 1)
    return float(np.sqrt(np.mean((np.polyval(line, found) - truth) ** 2)))


@pytest.mark.parametrize("seed", range(2))
def test_all_materials_lose_a_background_that_is_added(seed):
    truth = porous(seed)
    given = as_uint8(truth + shading(15))
    found = correct(STEP, given)
    assert error(given, truth) > 10
    assert error(found, truth) < 0.8
    for material in (truth < 90, truth > 130):
        assert np.std((found - truth)[material]) < 1


def test_all_materials_lose_a_vignetting():
    truth = porous()
    given = as_uint8(truth * (1 + shading(0.12)))
    assert error(correct(STEP, given), truth) < 1
    assert bool(fit(STEP, given, spec_of(given))["multiplies"])


@pytest.mark.parametrize("precision", ["float32", "source"])
def test_a_stack_without_background_is_left_alone(precision):
    given = as_uint8(porous())
    np.testing.assert_array_equal(correct(STEP, given, spec_of(given, precision)), given)
    (remark,) = STEP.remarks(fit(STEP, given, spec_of(given)), spec_of(given))
    assert remark.startswith("bkg_removal: no background was removed: ")


def test_what_was_found_is_told_and_drawn():
    given = as_uint8(porous() + shading(15))
    spec = spec_of(given)
    fitted = fit(STEP, given, spec)
    (remark,) = STEP.remarks(fitted, spec)
    assert "was subtracted; it explains 9" in remark or "explains 100%" in remark
    (chart,) = STEP.charts({}, spec, fitted)
    drawn = chart.maps["slice 7"]
    assert drawn.std() == pytest.approx(15, rel=0.05)


def test_one_slice_with_another_border_does_not_make_borders_material():
    rng = np.random.default_rng(0)
    slices = rng.integers(60, 200, (60, 40, 50)).astype(np.uint8)
    slices[:, :8] = 0
    slices[7, :8] = 1
    counts = [count_levels(image, slices.dtype) for image in slices]
    assert fill_levels(counts, slices.dtype) == (0.0,)


def test_fill_stays_and_is_no_part_of_the_fit():
    truth = porous()
    given = as_uint8(truth + shading(15))
    given[:, :40], given[:, :, -30:] = 0, 0
    found = correct(STEP, given)
    is_fill = given == 0
    np.testing.assert_array_equal(found[is_fill], 0)
    assert error(found[~is_fill], truth[~is_fill]) < 1


@pytest.mark.parametrize("model", ["subtract", "divide"])
def test_a_model_can_be_asked_for(model):
    given = as_uint8(porous() + shading(15))
    step = BackgroundRemoval(method="classes", model=model)
    assert bool(fit(step, given, spec_of(given))["multiplies"]) == (model == "divide")


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_every_type_is_corrected_alike(dtype):
    truth = porous()
    factor = 100 if dtype != "float32" else 0.01
    given = (as_uint8(truth + shading(15)) * np.float64(factor)).astype(dtype)
    assert error(correct(STEP, given) / factor, truth) < 0.8


def test_blocks_do_not_matter():
    given = as_uint8(porous() + shading(15))
    frame = Region.full(SHAPE)
    blocks = [frame.with_z(k, min(k + 4, 14)) for k in range(0, 14, 4)]
    whole = correct(STEP, given)
    np.testing.assert_array_equal(correct(STEP, given, blocks=blocks), whole)


@pytest.mark.parametrize("model", ["subtract", "divide"])
def test_blocks_that_are_part_of_slices_do_not_matter(model):
    step = BackgroundRemoval(method="classes", model=model)
    given = as_uint8(porous() + shading(15))
    spec = spec_of(given)
    fitted = fit(step, given, spec)
    whole = correct(step, given)
    assert np.std(whole - given) > 10
    for part in (Region((3, 20, 70), (5, 130, 110)), Region((0, 0, 179), (14, 1, 180))):
        found, _ = step.apply(Block(given[part.slices], part, part, spec), fitted)
        np.testing.assert_array_equal(found, whole[part.slices])


def test_parameters_of_other_methods_are_told_to_be_ignored():
    step = BackgroundRemoval(method="classes", orders=(2, 2, 0), threshold_min=3)
    problems = [*step.check(spec_of(as_uint8(porous())))]
    assert [problem.path for problem in problems] == [
        "bkg_removal.orders",
        "bkg_removal.threshold_min",
    ]
    assert {problem.severity for problem in problems} == {"warning"}
    assert not [*STEP.check(spec_of(as_uint8(porous())))]


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 70), (2, 70, 70), (20, 64, 64)])
def test_small_stacks_are_left_alone(shape):
    given = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    np.testing.assert_array_equal(correct(STEP, given), given)
