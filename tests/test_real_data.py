"""Real FIB-SEM stacks, where they are at hand: ``shared/data`` beside the checkout."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from curtains import destriped, edges_kept, stripe_energy
from real_images import ATLAS, CURTAINED, MEDULLA, needs
from scipy import ndimage
from stacks import make_project, write_params

from pystack3d_dask import open_result
from pystack3d_dask.pipeline import Pipeline

SIGNAL = (slice(3800, 4298), slice(1880, 8582))  # rows and columns; the rest is zero
AREA = [1880, 8582, 9600 - 4298, 9600 - 3800]

CHAIN: dict[str, dict[str, Any]] = {
    "bkg_removal": {"orders": [2, 2, 1], "skip_factors": [5, 5, 5], "preserve_avg": True},
    "intensity_rescaling": {"filter_size": -1},
}


@needs(ATLAS)
def test_of_large_atlas_slices_only_the_cropped_region_is_read(tmp_path: Path) -> None:
    for path in ATLAS.glob("*.tif"):
        shutil.copy(path, tmp_path)
    steps = {
        "cropping": {"area": AREA},
        "bkg_removal": {"orders": [1, 0], "threshold_min": 1},
        "intensity_rescaling": {"filter_size": -1},
    }
    write_params(tmp_path, steps)
    summary = Pipeline.from_toml(tmp_path).run()
    region = 3 * 498 * 6702 * 2
    assert [item.bytes_read for item in summary.passes] == [region, region]

    slices = [tifffile.imread(path)[SIGNAL] for path in sorted(tmp_path.glob("*.tif"))]
    uncorrected, corrected = np.stack(slices), open_result(tmp_path)[0].values
    assert corrected.dtype == np.uint16
    # these slices are even in brightness already, and must stay so
    assert np.ptp(brightness(corrected)) < 0.01 * brightness(uncorrected).mean()
    # where nothing was acquired there is still nothing, but for one bin of the histogram
    assert corrected[uncorrected == 0].max() < 65536 / 256


@pytest.mark.slow
@needs(ATLAS)
def test_atlas_slices_go_through_the_whole_chain(tmp_path: Path) -> None:
    for path in ATLAS.glob("*.tif"):
        shutil.copy(path, tmp_path)
    steps: dict[str, dict[str, Any]] = {
        "cropping": {"area": AREA},
        "bkg_removal": {"orders": [1, 0], "threshold_min": 1},
        "intensity_rescaling": {"filter_size": -1},
        "registration_calculation": {"transformation": "TRANSLATION", "area": [0, 1600, 0, 498]},
        "registration_transformation": {"cropping": True},
        "destriping": {
            "filters": [{"name": "Gabor", "noise_level": 20, "sigma": [1, 30], "theta": 0}],
            "maxit": 20,
        },
    }
    write_params(tmp_path, {**steps, "resampling": {"dz": 0.004}})
    Pipeline.from_toml(tmp_path).run()
    named = open_result(tmp_path)[0].load()
    np.testing.assert_allclose(named.z, [8.5521, 8.5561, 8.5601, 8.5641, 8.5681], atol=1e-9)

    write_params(tmp_path, {**steps, "resampling": {"dz": 0.004, "z_source": "metadata"}})
    again = Pipeline.from_toml(tmp_path).run()
    assert len(again.passes) == 1  # all that resampling needs is known
    measured = open_result(tmp_path)[0].load()
    # the last slice lies 54 pm below where its name says, and the fifth position above it
    np.testing.assert_allclose(measured.z, 8.55210944 + 0.004 * np.arange(4), atol=1e-8)

    # positions that are a slice's own give the same slice; those between lie between
    np.testing.assert_array_equal(measured[0], named[0])
    difference = np.abs(measured[2].values.astype(int) - named[2])
    assert np.mean(difference) < 0.02 * np.mean(named[2])
    slices = [tifffile.imread(path)[SIGNAL] for path in sorted(tmp_path.glob("*.tif"))]
    assert lag(slices[0], slices[2]) < -0.9
    assert abs(lag(named[0].values, named[4].values)) < 0.5
    assert np.ptp(brightness(named.values)) < 0.01 * brightness(np.stack(slices)).mean()


def lag(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> float:
    """Return how many pixels the second image lies to the right of the first."""
    smooth = [ndimage.gaussian_filter(each[:, :1600].astype(float), 3) for each in (one, two)]

    def mismatch(shift: float) -> float:
        moved = ndimage.shift(smooth[1], (0, -shift), order=1)
        return float(np.mean(np.square(moved - smooth[0])[50:-50, 50:-50]))

    return float(min(np.arange(-2, 2.01, 0.2), key=mismatch))


@needs(CURTAINED)
def test_severe_curtains_go_and_edges_stay() -> None:
    before = tifffile.imread(CURTAINED)
    after = destriped(before)
    assert stripe_energy(after) < 0.05 * stripe_energy(before)
    alike, contrast = edges_kept(before, after)
    assert alike > 0.99
    assert contrast > 0.98


@pytest.mark.parametrize(("angle", "is_stripe"), [(0, True), (4, True), (10, False), (90, False)])
def test_stripe_energy_is_that_of_stripes_that_stand_upright(angle: int, is_stripe: bool) -> None:
    rows, columns = np.mgrid[:200, :300]
    across = columns * np.cos(np.deg2rad(angle)) + rows * np.sin(np.deg2rad(angle))
    stripes = 20 * np.sin(2 * np.pi * across / 8)
    whole = stripe_energy(20 * np.sin(2 * np.pi * columns / 8))
    assert (stripe_energy(stripes) > 0.9 * whole) == is_stripe
    assert (stripe_energy(stripes) < 0.1 * whole) != is_stripe


def brightness(stack: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the mean gray level of each slice."""
    means: np.ndarray[Any, Any] = stack.mean(axis=(1, 2))
    return means


@needs(MEDULLA)
@pytest.mark.parametrize("precision", ["float32", pytest.param("source", marks=pytest.mark.slow)])
def test_a_damaged_stack_is_corrected_to_what_the_undamaged_one_is(
    tmp_path: Path, precision: str
) -> None:
    undamaged = tifffile.imread(MEDULLA)
    corrected = []
    for name, stack in (("undamaged", undamaged), ("damaged", damaged(undamaged))):
        project = make_project(tmp_path / name, CHAIN, stack, precision=precision)
        Pipeline.from_toml(project).run()
        corrected.append(open_result(project)[0].values.astype(float))
    difference = np.sqrt(np.mean((corrected[1] - corrected[0]) ** 2))
    harm = np.sqrt(np.mean((damaged(undamaged) - undamaged.astype(float)) ** 2))
    assert harm > 10
    assert difference < 2


def damaged(stack: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the stack with a polynomial background and brightness jumps between slices."""
    z, y, x = np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in stack.shape), indexing="ij")
    gains = 1 + 0.05 * np.sign(np.sin(np.arange(stack.shape[0]) * 0.9))
    values = stack * gains[:, None, None] + 25 * x - 20 * y + 15 * x * z - 25 * (y**2 - 1 / 12)
    return np.clip(np.rint(values), 0, 255).astype(stack.dtype)
