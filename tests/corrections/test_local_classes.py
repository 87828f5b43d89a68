"""A local background of classes: what dark and bright parts deviate by in a window."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from stack_tools import correct, fit, spec_of

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.spec import Region
from pystack3d_dask.corrections.bkg_removal import BackgroundRemoval

SHAPE = (16, 200, 220)
SIZE = (50, 50, 5)


def local(**parameters):
    return BackgroundRemoval(
        method="local", reference="classes", **{"size": SIZE, "model": "subtract", **parameters}
    )


def porous():
    """Return the gray levels of a porous specimen."""
    field = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 6)
    return np.where(field < -0.6 * field.std(), 70.0, 150.0)


def halo(size):
    """Return a halo around a place, in some of the slices only."""
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    over_z = np.exp(-(((np.arange(SHAPE[0]) - 5) / 4) ** 2))
    return size * over_z[:, None, None] * np.exp(-np.hypot(y - 90, x - 120) / 40)


def recorded(stack):
    """Return a stack in noise, as a camera would deliver it."""
    noisy = stack + np.random.default_rng(1).normal(0, 2, stack.shape)
    return np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)


def remarks(step, images):
    spec = spec_of(images)
    return "\n".join(step.remarks(fit(step, images, spec), spec))


def error(found, truth):
    return float(np.std(found - truth))


def test_a_halo_that_ends_along_z_is_removed_from_all_materials():
    truth, images = porous(), recorded(porous() + halo(50))
    found = correct(local(), images)
    by_field = correct(BackgroundRemoval(method="classes"), images)
    by_mean = correct(BackgroundRemoval(method="local", size=SIZE), images)
    assert error(found, truth) < 0.7 * error(by_field, truth)
    assert error(found, truth) < 0.4 * error(by_mean, truth)
    for material in (truth < 100, truth > 100):
        assert error(found[material], truth[material]) < 0.7 * error(
            by_field[material], truth[material]
        )
    assert "a local background was removed: dark and bright parts" in remarks(local(), images)


def test_a_halo_may_multiply():
    truth, images = porous(), recorded(porous() * (1 + halo(0.35)))
    step = local(model="divide")
    found = correct(step, images)
    assert error(found, truth) < 0.7 * error(images, truth)
    assert "% of their level (rms)" in remarks(step, images)


def test_a_clean_stack_is_left_alone():
    images = recorded(porous())
    np.testing.assert_array_equal(correct(local(), images), images)
    assert "no local background was removed: dark and bright parts of windows are not" in (
        remarks(local(), images)
    )


def test_layers_are_left_alone():
    """Their steps look like shifts of both classes, but they are flat inside."""
    layer = np.arange(SHAPE[2]) // 20
    levels = np.array([100.0, 150, 112, 163, 105, 170, 90, 140, 84, 136, 96])[layer]
    images = recorded(np.broadcast_to(levels, SHAPE))
    np.testing.assert_array_equal(correct(local(), images), images)


def test_a_grain_without_pores_keeps_its_contrast():
    truth = np.tile(porous(), (1, 2, 2))
    y, x = np.mgrid[: truth.shape[1], : truth.shape[2]]
    to_grain = np.hypot(y - 300, x - 100)
    truth[:, to_grain < 45] = 135.0
    images = recorded(truth + np.tile(halo(50), (1, 2, 2)))
    assert fit(local(), images, spec_of(images))["shared_is_sure"]
    found = correct(local(), images)[13:, to_grain < 15]  # the halo ends before
    assert found.mean() == pytest.approx(135, abs=2)


def test_levels_of_0_or_less_are_not_divided_by():
    images = (recorded(porous() + halo(50)).astype(np.int16) - 80).astype(np.int16)
    step = local(model="divide")
    np.testing.assert_array_equal(correct(step, images), images)
    assert "gray levels above 0 where model = 'divide'" in remarks(step, images)
    assert fit(local(model="auto"), images, spec_of(images))["shared_is_sure"]


def test_what_is_clipped_shifts_nothing_where_a_field_is_removed():
    truth = porous()
    field = 60 * (np.arange(SHAPE[2]) / SHAPE[2] - 0.5)
    images = recorded(truth + halo(50) + field)
    clipped, other = images.copy(), images.copy()
    blob = np.s_[:, 100:140, 160:200]
    clipped[blob], other[blob] = 255, 0  # of the type's ends, whatever the field makes of them
    outside = np.ones(SHAPE, bool)
    outside[:, 80:160, 140:] = False
    found = [correct(local(), each) for each in (clipped, other)]
    np.testing.assert_allclose(found[0][outside], found[1][outside], atol=0.5)


def test_one_material_is_left_alone():
    images = recorded(np.full(SHAPE, 120.0))
    np.testing.assert_array_equal(correct(local(), images), images)
    assert "no local background was looked for: that takes dark and bright" in remarks(
        local(), images
    )


@pytest.mark.parametrize(
    "part", [Region((3, 20, 70), (5, 130, 110)), Region((0, 0, 219), (16, 1, 220))], ids=str
)
def test_parts_of_slices_are_corrected_as_the_whole(part):
    images = recorded(porous() + halo(50) + 0.1 * np.arange(SHAPE[2]))  # a field, too
    spec, step = spec_of(images), local()
    fitted = fit(step, images, spec)
    assert fitted["coefficients"].size > 1
    assert fitted["shared_is_sure"]
    whole = correct(step, images)
    source = step.source(part, spec, fitted)
    assert source.size < images.size
    found, _ = step.apply(Block(images[source.slices], source, part, spec), fitted)
    np.testing.assert_array_equal(found, whole[part.slices])


def test_blocks_do_not_matter():
    images = recorded(porous() + halo(50))
    frame = Region.full(SHAPE)
    blocks = [frame.with_z(k, min(k + 5, 16)) for k in range(0, 16, 5)]
    np.testing.assert_array_equal(correct(local(), images, blocks=blocks), correct(local(), images))


def test_bad_slices_shift_nothing():
    images = recorded(porous() + halo(50))
    spec = spec_of(images, bad=frozenset({6}))
    broken = images.copy()
    broken[6] = 255 - images[6]
    good = np.arange(SHAPE[0]) != 6
    np.testing.assert_array_equal(
        correct(local(), broken, spec)[good], correct(local(), images, spec)[good]
    )


def test_fill_stays_and_shifts_nothing():
    truth, images = porous(), recorded(porous() + halo(50))
    images[:, :30] = 0
    found = correct(local(), images, fill=(0.0,))
    np.testing.assert_array_equal(found[:, :30], 0)
    assert error(found[:, 30:], truth[:, 30:]) < 0.7 * error(images[:, 30:], truth[:, 30:])


def test_a_window_that_sees_no_materials_is_refused():
    images = recorded(porous())
    (problem,) = local(size=(15, 50, 5)).check(spec_of(images))
    assert (problem.path, problem.severity) == ("bkg_removal.size", "error")
    assert "needs a window of at least 16 x 16 pixels" in problem.message


@pytest.mark.parametrize(
    ("step", "name", "message"),
    [
        (local(threshold_min=3), "threshold_min", "reference = 'mean' takes it"),
        (local(orders=(1, 1)), "orders", "method = 'polynomial' takes it"),
        (
            BackgroundRemoval(method="classes", reference="classes"),
            "reference",
            "only method = 'local' takes it",
        ),
        (
            BackgroundRemoval(method="local", size=SIZE, model="divide"),
            "model",
            "only 'classes', as method or reference, takes it",
        ),
    ],
)
def test_what_has_no_effect_is_told(step, name, message):
    (problem,) = step.check(spec_of(recorded(porous())))
    assert (problem.path, problem.severity) == (f"bkg_removal.{name}", "warning")
    assert message in problem.message
