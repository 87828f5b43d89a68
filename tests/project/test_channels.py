"""The channels that `init` finds in a directory, and what it says of other images."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from click.testing import CliRunner, Result
from conftest import textured
from stacks import write_slices

from pystack3d_dask import Pipeline
from pystack3d_dask.cli.main import cli

SHAPE = (20, 30)


def init(folder: Path) -> Result:
    return CliRunner().invoke(cli, ["init", str(folder)])


def channels(folder: Path) -> list[str]:
    """Return the channels that `init` writes; they can be opened as one stack."""
    found: list[str] = tomllib.loads((folder / "params.toml").read_text("utf-8"))["channels"]
    assert Pipeline.from_toml(folder).project.source.channels == tuple(found)
    return found


def slices(folder: Path, count: int, shape: tuple[int, int] = SHAPE) -> None:
    write_slices(folder, textured((count, *shape)))


def multipage(path: Path, count: int) -> None:
    tifffile.imwrite(path, textured((count, *SHAPE)), photometric="minisblack", metadata=None)


def overview(path: Path) -> None:
    tifffile.imwrite(path, textured((1, 60, 80))[0])


def test_one_overview_beside_the_channels_is_named(tmp_path: Path) -> None:
    for name in ("SE2", "ESB"):
        slices(tmp_path / name, 8)
    overview(tmp_path / "overview.tif")
    result = init(tmp_path)
    assert channels(tmp_path) == ["ESB", "SE2"]
    assert "note: overview.tif beside the sub-directories is not taken for slices" in result.stderr
    assert "8 slices of 30 x 20 pixels" in (tmp_path / "params.toml").read_text("utf-8")


def test_several_overviews_are_named(tmp_path: Path) -> None:
    slices(tmp_path / "ESB", 8)
    overview(tmp_path / "after.tif")
    overview(tmp_path / "before.tif")
    assert "after.tif, before.tif beside the sub-directories are not taken" in init(tmp_path).stderr
    assert channels(tmp_path) == ["ESB"]


@pytest.mark.parametrize("count", [1, 3, 5, 9])
def test_slices_in_the_directory_itself_stay_the_stack(tmp_path: Path, count: int) -> None:
    slices(tmp_path, 5)
    slices(tmp_path / "export", count)
    result = init(tmp_path)
    assert channels(tmp_path) == ["."]
    assert 'export inside hold slices, too, which are not taken: channels = ["export"]' in (
        result.stderr
    )


def test_pages_of_a_file_count_as_slices(tmp_path: Path) -> None:
    multipage(tmp_path / "stack.tif", 8)
    slices(tmp_path / "previews", 8)
    init(tmp_path)
    assert channels(tmp_path) == ["."]


def test_directories_with_a_file_each(tmp_path: Path) -> None:
    for name in ("ESB", "SE2"):
        (tmp_path / name).mkdir()
        multipage(tmp_path / name / "stack.tif", 4)
    overview(tmp_path / "overview.tif")
    init(tmp_path)
    assert channels(tmp_path) == ["ESB", "SE2"]


def test_key_frames_of_fewer_slices_are_left_out(tmp_path: Path) -> None:
    for name, count in (("ESB", 8), ("SE2", 8), ("keyframes", 2)):
        slices(tmp_path / name, count)
    note = "note: keyframes is left out: 2 slices of 30 x 20 pixels, unlike ESB with 8 slices"
    assert note in init(tmp_path).stderr
    assert channels(tmp_path) == ["ESB", "SE2"]


def test_a_channel_that_lacks_a_slice_is_not_left_out_silently(tmp_path: Path) -> None:
    slices(tmp_path / "ESB", 8)
    slices(tmp_path / "SE2", 7)
    result = init(tmp_path)
    assert "'ESB' has 8, 'SE2' has 7" in str(result.exception)
    assert not (tmp_path / "params.toml").exists()


def test_files_that_are_stacks_are_channels(tmp_path: Path) -> None:
    for name in ("ESB.tif", "SE2.tif"):
        multipage(tmp_path / name, 4)
    init(tmp_path)
    assert channels(tmp_path) == ["ESB.tif", "SE2.tif"]


def test_an_overview_beside_files_that_are_stacks(tmp_path: Path) -> None:
    multipage(tmp_path / "ESB.tif", 4)
    overview(tmp_path / "A.tif")
    assert "note: A.tif is left out: 1 slice of 80 x 60 pixels" in init(tmp_path).stderr
    assert channels(tmp_path) == ["ESB.tif"]


def test_opening_files_that_are_stacks_points_at_channels(tmp_path: Path) -> None:
    for name in ("ESB.tif", "SE2.tif"):
        multipage(tmp_path / name, 4)
    (tmp_path / "params.toml").write_text("process_steps = []\n")
    result = CliRunner().invoke(cli, ["plan", str(tmp_path)])
    message = "it holds 4 slices; expected one, as there are several files: name those that are"
    assert message in str(result.exception)


def test_zarrs_count_too(tmp_path: Path) -> None:
    zarr.save_array(tmp_path / "stack.zarr", np.zeros((4, *SHAPE), "uint8"))
    init(tmp_path)
    assert channels(tmp_path) == ["."]
    (tmp_path / "params.toml").unlink()
    overview(tmp_path / "overview.tif")
    init(tmp_path)
    assert channels(tmp_path) == ["stack.zarr"]


def test_results_and_hidden_directories_are_no_channels(tmp_path: Path) -> None:
    for name in ("process", ".cache"):
        slices(tmp_path / name, 8)
    slices(tmp_path / "ESB", 3)
    assert init(tmp_path).stderr == ""
    assert channels(tmp_path) == ["ESB"]
