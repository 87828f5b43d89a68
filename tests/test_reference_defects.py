"""Where the reference is wrong, what we do is right; it is not run here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity_projects import DARK, Steps, corrected, defective_stack, stored, write_project
from stack_tools import largest_error, posed, turned
from stacks import doubts

from pystack3d_dask import open_result
from pystack3d_dask.core import pyramid
from pystack3d_dask.core.typing import Array
from pystack3d_dask.pipeline import Pipeline

STACK = defective_stack("uint8")
BACKGROUND: Mapping[str, Any] = {
    "orders": [1, 2, 1],
    "skip_factors": [3, 4, 2],
    "threshold_min": DARK,
}
AREA: Mapping[str, Any] = {"area": [5, 55, 5, 45], "threshold_min": DARK}
EVERY_STEP: Steps = {
    "cropping": {"area": [4, 76, 3, 61]},
    "intensity_rescaling_area": AREA,
    "bkg_removal": BACKGROUND,
    "intensity_rescaling": {"filter_size": 3},
}
PRECISIONS = pytest.mark.parametrize("precision", ["source", "float32"])


def project(directory: Path, stack: Array, steps: Steps, **settings: Any) -> Path:
    return write_project(directory, {".": stack}, steps, **settings)


def correct(directory: Path, stack: Array, steps: Steps, **settings: Any) -> Array:
    """Run a project of one channel; return its result (z, y, x)."""
    return np.asarray(corrected(project(directory, stack, steps, **settings))[0])


def plane(height: int, width: int) -> Array:
    """Return a background over one slice with slopes of 40 along x and 20 along y."""
    y, x = np.linspace(0, 1, height)[:, np.newaxis], np.linspace(0, 1, width)
    return np.asarray(100 + 40 * x + 20 * y)


@pytest.mark.parametrize(
    ("area", "rows", "columns"),
    [
        ([10, 50, 20, 70], slice(0, 44), slice(10, 50)),
        ([10, 50, 0, 65], slice(0, 64), slice(10, 50)),
        ([-5, 30, 10, 40], slice(24, 54), slice(0, 30)),
        ([70, 90, -3, 9], slice(55, 64), slice(70, 80)),
    ],
    ids=["ymax above", "ymax one above", "xmin negative", "xmax and ymin outside"],
)
@pytest.mark.parametrize("step", ["cropping", "cropping_final"])
def test_areas_are_clipped_to_the_image_with_a_warning(tmp_path, step, area, rows, columns):
    directory = project(tmp_path, STACK, {step: {"area": area}})
    (note,) = doubts(Pipeline.from_toml(directory))
    assert (note.path, note.severity) == (f"{step}.area", "warning")
    np.testing.assert_array_equal(corrected(directory)[0], STACK[:, rows, columns])


@pytest.mark.parametrize("skip_factors", [[5, 1], [1, 4]])
def test_skip_factors_of_a_background_per_slice_are_those_of_x_and_y(tmp_path, skip_factors):
    sx, sy = skip_factors
    image = np.full((41, 51), 250.0)
    image[::sy, ::sx] = plane(41, 51)[::sy, ::sx]
    steps = {"bkg_removal": {"orders": [1, 1], "skip_factors": skip_factors, "weight_func": "None"}}
    correct(tmp_path, np.rint(image)[np.newaxis].astype(np.uint8), steps, precision="source")
    found = stored(tmp_path, "figures", "bkg_removal")["coefficients"][0, 0]
    np.testing.assert_allclose(found, [100, 20, 40, 0], atol=1)


@PRECISIONS
def test_slice_without_pixels_in_range_leaves_the_rescaling_by_an_area_right(tmp_path, precision):
    dark = 4
    stack = STACK.copy()
    stack[dark] = 3
    others = np.delete(stack, dark, axis=0)
    step = "intensity_rescaling_area"
    result = correct(tmp_path / "all", stack, {step: AREA}, precision=precision)
    expected = correct(tmp_path / "others", others, {step: AREA}, precision=precision)
    factors = stored(tmp_path / "all", "fits", step, "0")["factors"][...]
    assert factors[dark] == 1
    np.testing.assert_array_equal(result[dark], 3)
    np.testing.assert_array_equal(np.delete(result, dark, axis=0), expected)


@PRECISIONS
def test_rescaling_by_an_area_without_any_pixel_in_range_changes_nothing(tmp_path, precision):
    steps = {"intensity_rescaling_area": {"threshold_min": 300}}
    np.testing.assert_array_equal(correct(tmp_path, STACK, steps, precision=precision), STACK)


@PRECISIONS
def test_single_slice_goes_through_every_step(tmp_path, precision):
    result = correct(tmp_path, STACK[:1], EVERY_STEP, precision=precision)
    background = {name: EVERY_STEP[name] for name in ("cropping", "bkg_removal")}
    expected = correct(tmp_path / "background", STACK[:1], background, precision=precision)
    assert result.shape == (1, 58, 72)
    difference = result.astype(int) - expected
    if precision == "float32":
        assert not difference.any()
    else:  # bins that are empty in the slice, not in its target, move single levels
        assert abs(difference.mean()) < 1


@PRECISIONS
@pytest.mark.parametrize("first", ["bkg_removal", "intensity_rescaling"])
def test_chosen_slices_give_what_a_stack_of_them_gives(tmp_path, precision, first):
    steps = {first: EVERY_STEP[first]} | dict(EVERY_STEP)
    chosen = correct(tmp_path / "a", STACK, steps, ind_min=3, ind_max=11, precision=precision)
    alone = correct(tmp_path / "b", STACK[3:12], steps, precision=precision)
    assert len(chosen) == 9
    np.testing.assert_array_equal(chosen, alone)


@PRECISIONS
@pytest.mark.parametrize("level", [0, 77, 255])
def test_constant_stack_is_unchanged_by_rescaling(tmp_path, precision, level):
    stack = np.full((5, 20, 24), level, np.uint8)
    steps = {"intensity_rescaling": {"filter_size": 3}}
    np.testing.assert_array_equal(correct(tmp_path, stack, steps, precision=precision), stack)


@PRECISIONS
def test_slices_without_anything_to_fit_keep_their_values(tmp_path, precision):
    stack = STACK[:5].copy()
    stack[1] = 0
    stack[2] = DARK - 1
    stack[3] = 120
    steps = {"bkg_removal": {"orders": [2, 1], "skip_factors": [2, 2], "threshold_min": DARK}}
    result = correct(tmp_path, stack, steps, precision=precision)
    coefficients = stored(tmp_path, "figures", "bkg_removal")["coefficients"][0]
    np.testing.assert_array_equal(result[1:4], stack[1:4])
    np.testing.assert_array_equal(coefficients[1:4], 0)
    assert np.all(coefficients[[0, 4]] != 0)


@pytest.mark.parametrize("dim", [2, 3])
def test_a_power_of_two_digits_is_read_as_one(tmp_path, dim):
    x = np.linspace(0, 1, 60)
    stack = np.broadcast_to(np.rint(30 + 150 * x**12), (4, 30, 60)).astype(np.uint8)
    steps = {"bkg_removal": {"poly_basis": "1 + x**12", "dim": dim, "skip_factors": [1, 1, 1]}}
    result = correct(tmp_path, stack, steps)
    assert np.abs(result.astype(int) - 30).max() <= 1


def test_a_step_run_again_keeps_its_results(tmp_path):
    directory = project(tmp_path, STACK, EVERY_STEP)
    Pipeline.from_toml(directory).run()
    process = directory / "process"
    before = {path: path.stat().st_mtime_ns for path in process.rglob("*") if path.is_file()}
    assert Pipeline.from_toml(directory).run().passes == ()
    after = {path: path.stat().st_mtime_ns for path in process.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_any_number_of_slices_gives_the_same_however_it_is_cut(tmp_path, monkeypatch, count):
    whole = correct(tmp_path / "whole", STACK[:count], EVERY_STEP)
    monkeypatch.setattr(pyramid, "SLAB_SLICES", 4)
    cut = correct(tmp_path / "cut", STACK[:count], EVERY_STEP)
    np.testing.assert_array_equal(cut, whole)


SIZE = (80, 96)
TURNS = [turned(a, (15, 65), (x, y)) for a, x, y in [(2.0, 1, 0), (1.8, 0, -1), (1.6, 3, -2)]]
TURNS += [turned(a, (80, 10), (x, y)) for a, x, y in [(-0.2, 5, -3), (0.3, 4, -4)]]
TRANSFORMATION = "registration_transformation"
CALCULATION = "registration_calculation"


def poses(pairwise: list[Array]) -> list[Array]:
    """Return where slices lie that follow each other like this."""
    found = [np.eye(3)]
    for matrix in pairwise:
        found.append(np.asarray(matrix @ found[-1]))
    return found


def jumping(count: int = 6) -> tuple[Array, list[Array]]:
    """Return slices that jump by some pixels, and where they are."""
    rng = np.random.default_rng(2)
    where = poses([turned(0, (0, 0), tuple(rng.uniform(-3, 3, 2))) for _ in range(count - 1)])
    return posed(where, SIZE), where


def register(
    directory: Path, stack: Array, parameters: Mapping[str, Any], **transformation: Any
) -> Array:
    """Register a stack; return the matrix of each slice and block."""
    steps = {
        CALCULATION: {"transformation": "TRANSLATION", **parameters},
        TRANSFORMATION: transformation,
    }
    correct(directory, stack, steps)
    return np.asarray(stored(directory, "figures", TRANSFORMATION)["matrix"][0])


@pytest.mark.parametrize(
    ("parameters", "limit"),
    [({}, 0.1), ({"area": [25, 96, 0, 60]}, 0.5), ({"nb_blocks": [1, 2]}, 0.9)],
    ids=["image", "area", "blocks"],
)
def test_turns_are_recovered_in_coordinates_of_the_whole_image(tmp_path, parameters, limit):
    where = poses(TURNS)
    parameters = {"transformation": "RIGID_BODY", **parameters}
    found = register(tmp_path, posed(where, SIZE), parameters)
    for blocks, expected in zip(found, where, strict=True):
        for matrix in blocks:
            assert largest_error(matrix, expected, SIZE) < limit


def test_products_of_turns_are_taken_in_the_order_of_the_slices(tmp_path):
    where = poses(TURNS)
    found = register(tmp_path, posed(where, SIZE), {"transformation": "RIGID_BODY"})
    other = np.eye(3)
    for matrix in TURNS:
        other = other @ matrix
    assert largest_error(other, where[-1], SIZE) > 0.9
    assert largest_error(found[-1, 0], where[-1], SIZE) < 0.1


def test_a_threshold_that_selects_nothing_is_reported(tmp_path):
    stack, _ = jumping()
    register(tmp_path, stack, {"threshold": -1})
    fit = {k: v[...] for k, v in stored(tmp_path, "fits", CALCULATION, "0").arrays()}
    project = Pipeline.from_toml(tmp_path).project
    found = [*project.steps[0].remarks(fit, project.chains()[0].source)]
    assert f"{CALCULATION}.threshold = -1 selects no pixel of slice_0000" in found[0]


@pytest.mark.parametrize("kind", ["blank", "noise"])
def test_a_bad_slice_does_not_displace_later_ones(tmp_path, kind):
    stack, where = jumping()
    noise = np.random.default_rng(0).integers(0, 255, SIZE).astype(np.uint8)
    stack[3] = noise if kind == "noise" else 7
    found = register(tmp_path, stack, {})[:, 0]
    for k in (0, 1, 2, 4, 5):
        assert largest_error(found[k], where[k], SIZE) < 0.2


MOVING: Steps = {
    CALCULATION: {"transformation": "TRANSLATION"},
    TRANSFORMATION: {"cropping": True},
    "destriping": {"filters": [{"name": "Gabor", "noise_level": 20, "sigma": [1, 30]}]},
    "resampling": {"dz": 0.01},
}


@PRECISIONS
def test_single_slice_is_registered_and_resampled_as_it_is(tmp_path, precision):
    steps = {name: MOVING[name] for name in (CALCULATION, TRANSFORMATION, "resampling")}
    result = correct(tmp_path / "as it is", STACK[:1], steps, precision=precision)
    np.testing.assert_array_equal(result, STACK[:1])
    destriped = correct(tmp_path / "destriped", STACK[:1], MOVING, precision=precision)
    assert destriped.shape == (1, *STACK.shape[1:])


@PRECISIONS
def test_chosen_slices_are_registered_like_a_stack_of_them(tmp_path, precision):
    stack, _ = jumping(8)
    steps = {name: MOVING[name] for name in (CALCULATION, TRANSFORMATION)}
    chosen = correct(tmp_path / "a", stack, steps, ind_min=2, ind_max=6, precision=precision)
    alone = correct(tmp_path / "b", stack[2:7], steps, precision=precision)
    assert len(chosen) == 5
    np.testing.assert_array_equal(chosen, alone)


def test_blocks_without_any_motion_leave_no_border(tmp_path):
    steps = {
        CALCULATION: {"transformation": "TRANSLATION", "nb_blocks": [2, 3]},
        TRANSFORMATION: {"subpixel": False, "mode": "constant"},
    }
    stack = np.repeat(STACK[:1], 4, axis=0)
    np.testing.assert_array_equal(correct(tmp_path, stack, steps, precision="source"), stack)


@PRECISIONS
@pytest.mark.parametrize("wavelet", ["haar", "db3"])
def test_wavelets_keep_odd_sizes(tmp_path, precision, wavelet):
    stack = STACK[:2, :61, :79]
    how = {"wavelet_decomposition": {"wavelet": wavelet, "sigma": 1.5}}
    result = correct(tmp_path, stack, {"destriping": how}, precision=precision)
    assert result.shape == stack.shape
    assert np.abs(result.astype(int) - stack).mean() < 20


def resampled(directory: Path, z: list[float], dz: float, precision: str) -> tuple[Array, Array]:
    """Resample the first slices of the stack from these positions; return pixels and z."""
    steps = {"resampling": {"dz": dz, "z_source": z}}
    result = correct(directory, STACK[: len(z)], steps, precision=precision)
    return result, np.asarray(open_result(directory).z.values)


@PRECISIONS
def test_resampling_keeps_the_last_slice_and_copies_a_uniform_stack(tmp_path, precision):
    for count in (1, 2, 12):
        z = [round(0.1 + 0.007 * k, 4) for k in range(count)]
        result, found = resampled(tmp_path / str(count), z, 0.007, precision)
        np.testing.assert_array_equal(result, STACK[:count])
        np.testing.assert_allclose(found, z, atol=1e-9)


@PRECISIONS
def test_slices_that_go_backwards_are_left_out_of_resampling(tmp_path, precision):
    z = [0.0, 0.01, 0.02, 0.015, 0.03, 0.03, 0.04]
    result, _ = resampled(tmp_path, z, 0.01, precision)
    np.testing.assert_array_equal(result, STACK[[0, 1, 2, 4, 6]])
    (note,) = doubts(Pipeline.from_toml(tmp_path))
    assert (note.path, note.severity) == ("resampling.z_source", "warning")
    assert "slice_0003" in note.message
    assert "slice_0005" in note.message
