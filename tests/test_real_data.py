"""Real FIB-SEM stacks, where they are at hand: ``shared/data`` beside the checkout."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from stacks import make_project, write_params

from pystack3d_dask import open_result
from pystack3d_dask.pipeline import Pipeline

DATA = Path(__file__).parents[2] / "shared" / "data"
ATLAS = DATA / "atlas_fibsem"
MEDULLA = DATA / "flyem_medulla_250" / "flyem_medulla_250.tif"

SIGNAL = (slice(3800, 4298), slice(1880, 8582))  # rows and columns; the rest is zero
AREA = [1880, 8582, 9600 - 4298, 9600 - 3800]

CHAIN: dict[str, dict[str, Any]] = {
    "bkg_removal": {"orders": [2, 2, 1], "skip_factors": [5, 5, 5], "preserve_avg": True},
    "intensity_rescaling": {"filter_size": -1},
}


@pytest.mark.skipif(not ATLAS.exists(), reason="the Atlas slices are not at hand")
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


def brightness(stack: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the mean grey level of each slice."""
    means: np.ndarray[Any, Any] = stack.mean(axis=(1, 2))
    return means


@pytest.mark.skipif(not MEDULLA.exists(), reason="the medulla stack is not at hand")
@pytest.mark.parametrize("precision", ["float32", "source"])
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
