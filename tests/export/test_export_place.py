"""Exports are never input of the next run, whatever the source is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from stacks import images, write_params

from pystack3d_dask import open_result
from pystack3d_dask.errors import ExportError
from pystack3d_dask.pipeline import Pipeline

GAMMA = {"gamma": {"gamma": 0.5}}
STACK = images()[:6]


def zarr_source(directory: Path, name: str = "raw.zarr") -> list[str]:
    zarr.create_array(directory / name, data=STACK, chunks=(2, *STACK.shape[1:]))
    return ["."]


def zarr_of_a_channel(directory: Path) -> list[str]:
    (directory / "ESB").mkdir()
    zarr_source(directory / "ESB")
    return ["ESB"]


def ome_zarr_source(directory: Path) -> list[str]:
    axes = [{"name": axis, "type": "space"} for axis in "zyx"]
    image = {"axes": axes, "datasets": [{"path": "0"}]}
    ome = {"version": "0.5", "multiscales": [image]}
    group = zarr.create_group(directory / "raw.zarr", attributes={"ome": ome})
    group.create_array("0", data=STACK)
    return ["."]


def pages(directory: Path) -> list[str]:
    tifffile.imwrite(directory / "stack.tif", STACK, photometric="minisblack")
    return ["."]


def slices(directory: Path) -> list[str]:
    for k, image in enumerate(STACK):
        tifffile.imwrite(directory / f"s{k}.tif", image)
    return ["."]


def slices_of_a_channel(directory: Path) -> list[str]:
    (directory / "ESB").mkdir()
    slices(directory / "ESB")
    return ["ESB"]


SOURCES = [
    zarr_source,
    zarr_of_a_channel,
    ome_zarr_source,
    pages,
    slices,
    slices_of_a_channel,
]


@pytest.fixture(scope="module", params=SOURCES, ids=lambda each: each.__name__)
def finished(request: Any, tmp_path_factory: Any) -> Path:
    directory: Path = tmp_path_factory.mktemp("finished") / "p"
    directory.mkdir()
    write_params(directory, GAMMA, {"channels": request.param(directory)})
    Pipeline.from_toml(directory).run()
    return directory


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "p"))


def everything(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"))


def test_exports_into_directories_of_the_source_are_refused_with_a_way_out(
    finished: Path, call: Any
) -> None:
    before = everything(finished)
    places = [finished, *(each for each in (finished / "ESB",) if each.is_dir())]
    for place in places:
        for arguments in (
            ("--tiff", place),
            ("--tiff", place, "--overwrite"),
            ("--bigtiff", place / "corrected.tif"),
            ("--bigtiff", place / "corrected.tif", "--overwrite"),
            ("--ome-zarr04", place / "corrected.zarr"),
        ):
            refused = call("export", finished, *arguments)
            assert refused.status == 2, arguments
            assert f"choose another directory, such as {finished}_exported" in refused.err
    assert everything(finished) == before


def test_what_the_message_proposes_works_and_changes_nothing(project: Path, call: Any) -> None:
    out = Path(f"{project}_exported")
    assert call("export", project, "--bigtiff", out / "corrected.tif").status == 0
    assert call("export", project, "--tiff", out / "slices").status == 0
    assert call("export", project, "--ome-zarr04", out / "corrected.zarr").status == 0
    assert "nothing to do" in call("run", project, "--workers", 0).out


def test_links_to_directories_of_the_source_are_seen_through(project: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(project)
    pipeline = Pipeline.from_toml(project)
    with pytest.raises(ExportError, match="choose another directory"):
        pipeline.export_bigtiff(tmp_path / "link" / "corrected.tif")


def test_nothing_is_exported_into_a_zarr(project: Path) -> None:
    pipeline, inside = Pipeline.from_toml(project), project / "process" / "result.zarr"
    with pytest.raises(ExportError, match=r"inside the Zarr .*, which would be damaged"):
        pipeline.export_tiff(inside / "slices")
    with pytest.raises(ExportError, match="inside the Zarr"):
        pipeline.export_bigtiff(inside / "scale0" / "corrected.tif")
    with pytest.raises(ExportError, match="inside the Zarr"):
        pipeline.export_ome_zarr04(inside / "old.zarr")


def test_a_project_that_is_a_zarr_itself_stays_its_own_source(tmp_path: Path, call: Any) -> None:
    project = tmp_path / "p"
    zarr.create_array(project, data=STACK, chunks=(2, *STACK.shape[1:]))
    write_params(project, GAMMA)
    assert call("run", project, "--workers", 0).status == 0
    assert call("export", project, "--bigtiff", project / "corrected.tif").status == 2
    assert "nothing to do" in call("run", project, "--workers", 0).out
    expected = np.rint(255 * (STACK / 255.0) ** 0.5)
    np.testing.assert_allclose(open_result(project)[0], expected, atol=1)
