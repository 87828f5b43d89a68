"""Where the reference is wrong, what we do is right; it is not run here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity_projects import DARK, Steps, corrected, defective_stack, stored, write_project

from pystack3d_dask.io import pyramid
from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.spec import Array

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
    (note,) = Pipeline.from_toml(directory).notes
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
