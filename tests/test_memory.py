"""What a worker holds: as planned, and no more for a longer stack."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from stacks import make_project, write_params

from pystack3d_dask.cluster import local as cluster
from pystack3d_dask.cluster.local import local_client
from pystack3d_dask.errors import RunError
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


def charged_stack(slices: int) -> np.ndarray[Any, Any]:
    """Return two materials with a halo that ends along z."""
    y, x = np.mgrid[:1000, :1200]
    over_z = np.exp(-(((np.arange(slices) - slices / 3) / 4) ** 2))
    halo = 10_000 * np.exp(-np.hypot(y - 400, x - 500) / 150)
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(size=halo.shape), 15)
    materials = np.where(texture > -0.5 * texture.std(), 30_000, 12_000)
    materials = materials + rng.normal(0, 200, halo.shape)
    return (materials + over_z[:, None, None] * halo).astype(np.uint16)


def peaks(project: Path) -> tuple[int, int]:
    """Return the largest resident size of a worker: planned and measured."""
    compile_for(project)
    pipeline = Pipeline.from_toml(project)
    planned = pipeline.plan().memory
    with local_client(1) as client:
        summary = pipeline.run(client=client)
    return planned, max(item.peak_memory for item in summary.passes)


def compile_for(project: Path) -> None:
    """Have what a run needs compiled, and kept on disk: that takes memory of its own."""
    with TemporaryDirectory() as name, local_client(1) as client:
        some = Path(name)
        for path in sorted(project.glob("*.tif"))[:10]:
            (some / path.name).symlink_to(path.resolve())
        shutil.copy(project / "params.toml", some)
        Pipeline.from_toml(some).run(client=client)


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


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "source"])
def test_histograms_of_windows_are_planned_for(tmp_path: Path, precision: str) -> None:
    local = {"method": "local", "reference": "classes", "size": [150, 150, 9]}
    images = charged_stack(24)
    project = make_project(tmp_path, {"bkg_removal": local}, images, precision=precision)
    planned, measured = peaks(project)
    assert abs(measured - planned) < 0.25 * planned
    assert "a local background was removed" in (project / "process" / "summary.json").read_text()


@pytest.mark.slow
def test_padding_and_where_it_is_are_planned_for(tmp_path: Path) -> None:
    steps = {"bkg_removal": {"method": "local", "size": [150, 150, 9]}}
    images = stack(24).copy()
    images[:, :200] = 0
    planned, measured = peaks(make_project(tmp_path, steps, images, fill=[0]))
    assert abs(measured - planned) < 0.2 * planned


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


def moving_stack(slices: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=(1000, 1200)), 4)
    image = (20000 + 5000 * image / image.std()).clip(0, 65535).astype(np.uint16)
    return np.stack([np.roll(image, k, 1) for k in range(slices)])


@pytest.mark.slow
@pytest.mark.parametrize("steps", LATER.values(), ids=LATER)
def test_later_steps_take_what_is_planned(tmp_path: Path, steps: dict[str, Any]) -> None:
    planned, measured = peaks(make_project(tmp_path, steps, moving_stack(12)))
    assert abs(measured - planned) < 0.25 * planned


FOR_SMALL_WORKERS: dict[str, dict[str, Any]] = {
    **STEPS,
    "registration_calculation": {"transformation": "TRANSLATION", "area": [100, 300, 100, 300]},
    "registration_transformation": {"mode": "edge"},
    **LATER["destriping"],
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*before compression")  # 11 GiB are planned, 9 are written
def test_a_stack_of_ten_times_the_memory_of_a_worker_goes_through_the_whole_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distinct = make_project(tmp_path / "distinct", FOR_SMALL_WORKERS, moving_stack(6))
    slices, count = sorted(distinct.glob("*.tif")), 2000
    project = tmp_path / "project"
    project.mkdir()
    write_params(project, FOR_SMALL_WORKERS)
    for z in range(count):
        name = f"slice_{z:05d}_z={z * 0.01:.4f}um.tif"
        (project / name).symlink_to(slices[z % len(slices)])
    limit = count * moving_stack(1).nbytes // 10
    monkeypatch.setattr(cluster, "MEMORY_LIMIT", limit)
    planned, measured = peaks(project)
    assert measured < min(1.25 * planned, limit)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "message"),
    [
        pytest.param(0.2, "died before they had finished anything", id="while they start"),
        pytest.param(0.75, "died while they computed it", id="by a block"),
    ],
)
def test_workers_that_are_killed_for_their_memory_are_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, message: str
) -> None:
    project = make_project(tmp_path, LATER["wavelets"], np.tile(moving_stack(4), (1, 3, 3)))
    planned = Pipeline.from_toml(project).plan().memory
    monkeypatch.setattr(cluster, "MEMORY_LIMIT", round(share * planned))
    monkeypatch.setattr(
        "pystack3d_dask.engine.run.check_memory", lambda *_: None
    )  # it would refuse
    with (
        local_client(1) as client,
        pytest.raises(RunError, match=rf"{message}, of too little memory"),
    ):
        Pipeline.from_toml(project).run(client=client)
