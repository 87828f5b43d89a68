"""Known motions found again, in coordinates of the whole image, whatever lies in between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from stack_tools import correct, fit, largest_error, posed, spec_of, turned

from pystack3d_dask.core.spec import Region
from pystack3d_dask.corrections.registration_calculation import RegistrationCalculation

SHAPE = (80, 96)
RNG = np.random.default_rng(5)
PAIRWISE = [
    np.eye(3),
    *(turned(a, (20, 60), (dx, dy)) for a, dx, dy in RNG.uniform(-1.8, 1.8, (5, 3))),
]
SHIFTS = [np.eye(3), *(turned(0, (0, 0), (dx, dy)) for dx, dy in RNG.uniform(-3, 3, (5, 2)))]


def poses(pairwise):
    found = [np.eye(3)]
    for matrix in pairwise[1:]:
        found.append(matrix @ found[-1])
    return found


TURNING, SHIFTING = (posed(poses(each), SHAPE) for each in (PAIRWISE, SHIFTS))


def found(images, transformation="TRANSLATION", **parameters):
    step = RegistrationCalculation(transformation=transformation, **parameters)
    return fit(step, images, spec_of(images))


METHODS = pytest.mark.parametrize("method", ["stackreg", "phase"])


def remarks(images, transformation="TRANSLATION", **parameters):
    step = RegistrationCalculation(transformation=transformation, **parameters)
    spec = spec_of(images)
    return [*step.remarks(fit(step, images, spec), spec)]


@pytest.mark.parametrize("transformation", ["RIGID_BODY", "SCALED_ROTATION", "AFFINE"])
def test_turns_are_found(transformation):
    pairwise = found(TURNING, transformation)["pairwise"]
    assert pairwise.shape == (6, 1, 3, 3)
    for k in range(6):
        assert largest_error(pairwise[k, 0], PAIRWISE[k], SHAPE) < 0.15


@pytest.mark.parametrize("area", [(20, 90, 5, 60), (0, 60, 20, 80)])
def test_turns_found_in_an_area_are_those_of_the_whole_image(area):
    result = found(TURNING, "RIGID_BODY", area=area)
    for k in range(6):
        assert largest_error(result["pairwise"][k, 0], PAIRWISE[k], SHAPE) < 0.25
    np.testing.assert_array_equal(result["first"], [SHAPE[0] - area[3], area[0]])
    np.testing.assert_array_equal(result["size"], [area[3] - area[2], area[1] - area[0]])


def test_turns_found_in_blocks_are_those_of_the_whole_image():
    result = found(TURNING, "RIGID_BODY", nb_blocks=(1, 2))
    assert result["pairwise"].shape == (6, 2, 3, 3)
    for k in range(6):
        for block in range(2):
            assert largest_error(result["pairwise"][k, block], PAIRWISE[k], SHAPE) < 0.5


@METHODS
def test_blocks_go_in_rows_from_the_top_left(method):
    left = posed([np.eye(3), turned(0, (0, 0), (2, 0))], (80, 48), seed=1)
    right = posed([np.eye(3), turned(0, (0, 0), (0, -3))], (80, 48), seed=2)
    images = np.concatenate([left, right], axis=2)
    shifts = found(images, nb_blocks=(2, 2), method=method)["pairwise"][1, :, :2, 2]
    np.testing.assert_allclose(shifts, [[2, 0], [0, -3]] * 2, atol=0.1)


@METHODS
def test_a_threshold_compares_masks(method):
    images = SHIFTING.copy()
    images[2] = np.where(images[2] <= 125, images[2] // 4, images[2])  # another contrast
    result = found(images, threshold=125, method=method)
    for k in range(6):
        assert largest_error(result["pairwise"][k, 0], SHIFTS[k], SHAPE) < 0.15
    np.testing.assert_allclose(result["foreground"][:, 0], (images <= 125).mean(axis=(1, 2)))
    assert remarks(images, threshold=125) == []


@pytest.mark.parametrize("seed", [1, 2])
def test_a_threshold_that_chooses_something_else_from_a_slice_on_invents_no_motion(seed):
    """It lies near a level of the background, which it takes for foreground in some slices."""
    rng = np.random.default_rng(seed)
    one, other = (ndimage.gaussian_filter(rng.normal(size=(200, 220)), 6) for _ in range(2))
    other += 0.2 * np.roll(one, -5, axis=1)
    dark = [one < np.quantile(one, 0.28)] * 3 + [other < np.quantile(other, 0.05)] * 3
    images = np.where(dark, 0, 200).astype(np.uint8)
    pairwise = found(images, threshold=100)["pairwise"][:, 0]
    np.testing.assert_allclose(pairwise, [np.eye(3)] * 6, atol=1e-6)
    (remark,) = remarks(images, threshold=100)
    assert "like none of the slices before" in remark
    assert "slice 3" in remark


@pytest.mark.parametrize(("threshold", "what"), [(2, "no pixel"), (254, "every pixel")])
def test_a_threshold_that_parts_nothing_is_reported(threshold, what):
    images = np.clip(SHIFTING, 5, 250)
    first, *others = remarks(images, threshold=threshold)
    assert f"registration_calculation.threshold = {threshold} selects {what} of slice 0" in first
    assert "and 1 more" in first
    assert "like none of the slices before" in others[0]
    np.testing.assert_array_equal(
        found(images, threshold=threshold)["pairwise"][:, 0], [np.eye(3)] * 6
    )


def bad(kind, seed=0):
    if kind == "blank":
        return np.full(SHAPE, 90, np.uint8)
    return np.random.default_rng(seed).integers(0, 255, SHAPE).astype(np.uint8)


@METHODS
@pytest.mark.parametrize("kinds", [["blank"], ["noise"], ["noise", "blank"], ["noise", "noise"]])
def test_bad_slices_keep_their_place_and_displace_nobody(kinds, method):
    images = SHIFTING.copy()
    for k, kind in enumerate(kinds, start=2):
        images[k] = bad(kind, seed=k)
    result = found(images, method=method)
    bad_ones = [*range(2, 2 + len(kinds))]
    expected, pose = poses(SHIFTS), np.eye(3)
    for k in range(6):
        pose = result["pairwise"][k, 0] @ pose
        seen = 1 if k in bad_ones else k
        assert largest_error(pose, expected[seen], SHAPE) < 0.2
    assert (result["correlation"][bad_ones] < 0.05).all()
    assert (np.delete(result["correlation"], bad_ones) > 0.5).all()
    (remark,) = remarks(images, method=method)
    assert all(f"slice {k}" in remark for k in bad_ones)
    assert remarks(SHIFTING, method=method) == []


def test_a_slice_that_is_a_little_like_the_others_displaces_nobody():
    # a shadow that all share makes even noise look like its neighbors, a little
    shadow = np.linspace(0, 60, SHAPE[1])
    images = np.clip(SHIFTING * 0.7 + shadow, 0, 255)
    noise = np.random.default_rng(5).normal(60, 40, SHAPE)
    images[3] = np.clip(noise + shadow, 0, 255)
    result = found(images.astype(np.uint8))
    assert 0.05 < result["correlation"][3, 0] < 0.5
    pose = np.eye(3)
    for k, expected in enumerate(poses(SHIFTS)):
        pose = result["pairwise"][k, 0] @ pose
        if k != 3:
            assert largest_error(pose, expected, SHAPE) < 0.3


def test_a_bad_first_slice_leaves_the_others_on_the_second():
    images = SHIFTING.copy()
    images[0] = bad("blank")
    pairwise = found(images)["pairwise"][:, 0]
    np.testing.assert_array_equal(pairwise[:2], [np.eye(3)] * 2)
    for k in range(2, 6):
        assert largest_error(pairwise[k], SHIFTS[k], SHAPE) < 0.15


def test_a_single_slice_is_where_it_is():
    result = found(SHIFTING[:1])
    np.testing.assert_array_equal(result["pairwise"], np.eye(3)[None, None])
    assert remarks(SHIFTING[:1]) == []


def test_pixels_stay_as_they_are():
    step = RegistrationCalculation(transformation="TRANSLATION")
    result = correct(step, SHIFTING)
    assert result.dtype == SHIFTING.dtype
    np.testing.assert_array_equal(result, SHIFTING)


def test_earlier_slices_are_read_as_far_as_a_slice_may_be_compared():
    step = RegistrationCalculation(transformation="TRANSLATION", area=(10, 50, 20, 60))
    spec = spec_of(SHIFTING)
    for z, first in [(0, 0), (2, 0), (5, 2)]:
        wanted = step.summary_source(spec.region.with_z(z, z + 1), spec)
        assert wanted == Region((first, 20, 10), (z + 1, 60, 50))


@pytest.mark.parametrize(
    ("parameters", "wrong"),
    [
        ({}, []),
        ({"nb_blocks": (0, 1)}, ["nb_blocks"]),
        ({"nb_blocks": (7, 1)}, ["area"]),
        ({"nb_blocks": (6, 8)}, []),
        ({"nb_blocks": (1, 100)}, ["area"]),
        ({"area": (0, 11, 0, 80)}, ["area"]),
        ({"method": "phase"}, []),
        ({"area": (200, 300, 0, 80)}, ["area"]),
    ],
)
def test_what_is_wrong_is_named(parameters, wrong):
    step = RegistrationCalculation(transformation="TRANSLATION", **parameters)
    errors = [p for p in step.check(spec_of(SHIFTING)) if p.severity == "error"]
    assert [p.path for p in errors] == [f"registration_calculation.{path}" for path in wrong]


def test_a_clipped_area_is_registered_with_a_warning():
    step = RegistrationCalculation(transformation="TRANSLATION", area=(0, 40, 40, 90))
    assert [p.severity for p in step.check(spec_of(SHIFTING))] == ["warning"]


def test_a_slice_after_noise_is_found_however_far_it_moved():
    images = posed([turned(0, (0, 0), (4 * k, 0)) for k in range(6)], (64, 64), seed=3)
    noise = np.random.default_rng(103).standard_normal((64, 64))
    images[3] = np.clip(128 + 40 * noise, 0, 255)
    pose = np.eye(3)
    for k, matrix in enumerate(found(images, "RIGID_BODY")["pairwise"][:, 0]):
        pose = matrix @ pose
        if k > 3:
            assert largest_error(pose, turned(0, (0, 0), (4 * k, 0)), (64, 64)) < 0.5


def test_phases_know_shifts_alone():
    step = RegistrationCalculation(transformation="AFFINE", method="phase")
    (problem,) = step.check(spec_of(SHIFTING))
    assert problem.path == "registration_calculation.method"
    assert "translations" in problem.message


SCALES_AND_OFFSETS = [
    ("uint8", 25, 128),
    ("uint16", 25, 30_000),
    ("int16", 25, -20_000),
    ("float32", 0.001, 1.337),
    ("float32", 1e-8, 0),
    ("float32", 1e-8, 1e-4),
    ("float32", 1e4, -1e8),
]


def of_contrast(dtype, contrast, offset):
    """Return shifted slices of a standard deviation, about an offset."""
    values = (SHIFTING - SHIFTING.mean()) / SHIFTING.std() * contrast + offset
    return (np.rint(values) if np.dtype(dtype).kind in "iu" else values).astype(dtype)


@METHODS
@pytest.mark.parametrize(("dtype", "contrast", "offset"), SCALES_AND_OFFSETS)
def test_an_offset_and_a_scale_do_not_change_what_is_found(dtype, contrast, offset, method):
    fitted = found(of_contrast(dtype, contrast, offset), method=method)
    expected = found(SHIFTING.astype(np.float32), method=method)
    np.testing.assert_allclose(fitted["pairwise"], expected["pairwise"], atol=0.02)
    np.testing.assert_allclose(fitted["correlation"], expected["correlation"], atol=0.01)


@settings(max_examples=20, deadline=None)
@given(st.floats(-8, 4), st.floats(-4, 4), st.booleans())
def test_phases_find_a_shift_whatever_the_scale_and_the_offset(scale, ratio, is_negative):
    contrast = 10.0**scale
    offset = contrast * 10.0**ratio * (-1 if is_negative else 1)
    fitted = found(of_contrast("float32", contrast, offset), method="phase")
    expected = found(SHIFTING.astype(np.float32), method="phase")
    np.testing.assert_allclose(fitted["pairwise"], expected["pairwise"], atol=2e-3)


@METHODS
def test_a_contrast_that_single_precision_hardly_holds_is_reported(method):
    faint = of_contrast("float32", 3e-6, 1)
    (text,) = remarks(faint, method=method)
    assert "subtract an offset" in text
    for fine in (of_contrast("float32", 3e-4, 1), of_contrast("uint16", 2, 60_000)):
        assert not remarks(fine, method=method)
