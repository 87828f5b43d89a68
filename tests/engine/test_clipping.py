"""Pixels that end at the limits of the type are reported: how many, where, and since which step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity_projects import corrected, write_project
from scipy import ndimage

from pystack3d_dask.core.typing import Array
from pystack3d_dask.engine.clipping import clipping
from pystack3d_dask.kernels.casting import cast_measured

PRECISIONS = pytest.mark.parametrize("precision", ["float32", "source"])
GAINS: dict[str, dict[str, Any]] = {"intensity_rescaling_area": {"factors_range": [0.5, 2.0]}}
BACKGROUND: dict[str, dict[str, Any]] = {
    "bkg_removal": {"orders": [1, 2, 1], "skip_factors": [4, 4, 4]}
}


def remarks(folder: Path) -> list[str]:
    """Return what a run has to say, but for the size of pixels and gaps between gray levels."""
    found: list[str] = json.loads((folder / "process" / "summary.json").read_text())["remarks"]
    others = ("voxel_size: ", "gray levels in use are empty")
    return [each for each in found if not any(other in each for other in others)]


def texture(slices: int = 6) -> Array:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(slices, 48, 60)), 2)
    return np.asarray(noise / noise.std())


def on_slope() -> Array:
    """Return 8-bit slices on a background that is larger than their contrast."""
    y, x = np.mgrid[0:1:48j, 0:1:60j]
    return np.asarray((15 + 15 * texture() + 100 * x + 80 * y).clip(0, 255).astype(np.uint8))


@PRECISIONS
def test_what_a_background_without_its_constant_clips_is_reported(tmp_path, precision):
    stack = on_slope()
    folder = write_project(tmp_path, {".": stack}, BACKGROUND, precision=precision)
    result = corrected(folder)
    (text,) = remarks(folder)
    assert text.startswith("bkg_removal: values below the range of uint8")
    assert "all slices" in text
    told = float(text.split("step: " if precision == "source" else "cast: ")[1].split(" %")[0])
    assert told == pytest.approx(100 * np.mean((result[0] == 0) & (stack > 0)), abs=2)


@PRECISIONS
def test_pixels_that_were_at_the_limit_in_the_source_are_not_reported(tmp_path, precision):
    stack = (100 + 20 * texture(8)).astype(np.uint8)
    stack[:, 10:20, 10:20] = 255  # saturated
    stack[:, 30:40, 10:20] = 0
    stack[5] = np.where(stack[5] < 255, stack[5] * 0.9, 255)  # becomes brighter
    folder = write_project(tmp_path, {".": stack}, GAINS, precision=precision)
    assert corrected(folder)[0, 5].max() == 255
    assert not remarks(folder)


def test_the_slice_and_the_limit_are_named(tmp_path):
    stack = (140 + 30 * texture(8)).clip(0, 250).astype(np.uint8)
    stack[3, 24:] = 2  # so that the upper half gets too bright
    folder = write_project(tmp_path, {".": stack}, GAINS)
    corrected(folder)
    (text,) = remarks(folder)
    assert "intensity_rescaling_area: values above" in text
    assert "at 255" in text
    assert "slice_0003" in text
    assert "slice_0004" not in text


def test_a_float_stack_and_one_whose_values_all_fit_have_nothing_to_report(tmp_path):
    for name, stack in (("f", on_slope().astype(np.float32)), ("i", 90 + 5 * texture())):
        values = stack if name == "f" else stack.astype(np.uint8)
        steps = BACKGROUND if name == "f" else GAINS
        folder = write_project(tmp_path / name, {".": values}, steps)
        corrected(folder)
        assert not remarks(folder)


def test_the_remark_is_there_again_when_nothing_is_left_to_do(tmp_path):
    folder = write_project(tmp_path, {".": on_slope()}, BACKGROUND)
    corrected(folder)
    first = remarks(folder)
    (folder / "process" / "summary.json").unlink()
    corrected(folder)
    assert remarks(folder) == first


@PRECISIONS
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_shares_are_those_of_plain_numpy(dtype, precision):
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    span = float(limits.max) - float(limits.min)
    raw = rng.uniform(limits.min - span / 4, limits.max + span / 4, (150, 40)).astype(np.float32)
    raw[:3] = np.array([limits.min - 0.3, limits.max + 0.3, limits.min], np.float32)[:, None]
    image, before, _ = cast_measured(raw, np.dtype(dtype), precision)
    found = clipping(raw, image, before, precision)
    slack = 1 if precision == "source" else 0.5
    beyond = [raw <= limits.min - slack, raw >= limits.max + slack]
    at = [image == limits.min, image == limits.max]
    np.testing.assert_allclose(found["clipped"], np.mean(beyond, axis=(1, 2)))
    np.testing.assert_allclose(found["at_limits"], np.mean(at, axis=(1, 2)))
