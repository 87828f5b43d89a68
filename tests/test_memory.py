"""What a worker holds: as planned, and no more for a longer stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from stacks import make_project

from pystack3d_dask.cluster import local_client
from pystack3d_dask.pipeline import Pipeline

STEPS: dict[str, dict[str, Any]] = {
    "cropping": {"area": [10, 1190, 10, 990]},
    "bkg_removal": {"orders": [1, 2, 1]},
    "intensity_rescaling": {"filter_size": -1},
}


def stack(slices: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    image = rng.integers(1000, 50000, (1000, 1200)).astype(np.uint16)
    return np.broadcast_to(image, (slices, 1000, 1200))


def peaks(project: Path) -> tuple[int, int]:
    """Return the largest resident size of a worker: planned and measured."""
    pipeline = Pipeline.from_toml(project)
    planned = pipeline.plan().memory
    with local_client(1) as client:
        summary = pipeline.run(client)
    return planned, max(item.peak_memory for item in summary.passes)


@pytest.mark.slow
def test_a_worker_holds_as_much_for_500_slices_as_for_50_and_as_planned(tmp_path: Path) -> None:
    few_planned, few = peaks(make_project(tmp_path / "few", STEPS, stack(50)))
    many_planned, many = peaks(make_project(tmp_path / "many", STEPS, stack(500)))
    assert abs(many_planned - few_planned) < 0.1 * few_planned
    assert abs(many - few) < 0.1 * few
    assert abs(few - few_planned) < 0.25 * few_planned
    assert abs(many - many_planned) < 0.25 * many_planned


@pytest.mark.slow
def test_large_slices_and_a_halo_are_planned_for(tmp_path: Path) -> None:
    steps = {"bkg_removal": {"method": "local", "size": [150, 150, 9], "threshold_min": 1}}
    planned, measured = peaks(make_project(tmp_path, steps, stack(24)))
    assert abs(measured - planned) < 0.25 * planned


LATER: dict[str, dict[str, Any]] = {
    "registration": {
        "registration_calculation": {"transformation": "TRANSLATION"},
        "registration_transformation": {"cropping": True},
    },
    "destriping": {
        "destriping": {
            "filters": [{"name": "Gabor", "noise_level": 20, "sigma": [1, 30], "theta": 0}],
            "maxit": 4,
        },
        "resampling": {"dz": 0.013},
    },
    "wavelets": {"destriping": {"wavelet_decomposition": {"wavelet": "db5", "sigma": 3.0}}},
}


@pytest.mark.slow
@pytest.mark.parametrize("steps", LATER.values(), ids=LATER)
def test_later_steps_take_what_is_planned(tmp_path: Path, steps: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=(1000, 1200)), 4)
    image = (20000 + 5000 * image / image.std()).clip(0, 65535).astype(np.uint16)
    moving = np.stack([np.roll(image, k, 1) for k in range(12)])
    planned, measured = peaks(make_project(tmp_path, steps, moving))
    assert abs(measured - planned) < 0.25 * planned
