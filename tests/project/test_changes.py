"""Slices that changed between two runs are told by name."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import tifffile
import zarr
from stacks import images, make_project, write_params

from pystack3d_dask import open_result
from pystack3d_dask.errors import ParameterError
from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.project.changes import changed_slices


@pytest.fixture
def directory(tmp_path):
    directory = make_project(tmp_path / "project", ["cropping"])
    Pipeline.from_toml(directory).run()
    return directory


def told(directory):
    return changed_slices(Pipeline.from_toml(directory).project)


def test_nothing_is_told_before_a_run_or_without_changes(tmp_path, directory):
    assert told(directory) is None
    assert told(make_project(tmp_path / "other", ["cropping"])) is None


def test_replaced_added_and_removed_slices_are_named(directory):
    slices = sorted(directory.glob("*.tif"))
    tifffile.imwrite(slices[3], images(seed=1)[0])
    slices[5].unlink()
    tifffile.imwrite(directory / "slice_0900_z=9.0000um.tif", images(seed=1)[0])
    found = told(directory)
    assert f"{slices[3].name} replaced" in found
    assert f"{slices[5].name} removed" in found
    assert "slice_0900_z=9.0000um.tif added" in found
    Pipeline.from_toml(directory).run()
    assert told(directory) is None


def test_slices_that_are_selected_otherwise_count_as_added_or_removed(directory):
    path = directory / "params.toml"
    path.write_text("ind_max = 9\n" + path.read_text())
    assert "slice_0010_z=0.1000um.tif" in told(directory)
    assert "and 5 more removed" in told(directory)


def test_channels_are_named(tmp_path):
    stacks = {"ESB": images(), "SE2": images(seed=1)}
    directory = make_project(tmp_path / "project", ["cropping"], stacks)
    Pipeline.from_toml(directory).run()
    victim = sorted((directory / "SE2").glob("*.tif"))[0]
    tifffile.imwrite(victim, images(seed=2)[0])
    assert f"SE2/{victim.name} replaced" in told(directory)


def test_arrays_are_named(tmp_path):
    write_params(tmp_path, ["cropping"], {"channels": ["stack.zarr"]})
    zarr.create_array(tmp_path / "stack.zarr", data=images(), chunks=(4, 50, 64))
    Pipeline.from_toml(tmp_path).run()
    assert told(tmp_path) is None
    data = np.zeros((20, 50, 64), "uint8")
    zarr.create_array(tmp_path / "stack.zarr", data=data, chunks=(5, 50, 64), overwrite=True)
    assert "stack.zarr replaced" in told(tmp_path)


@pytest.mark.parametrize("layout", [{}, {"shards": (8, 50, 64)}, {"zarr_format": 2}])
def test_a_chunk_that_was_rewritten_in_place_is_computed_again(tmp_path, layout, call):
    write_params(tmp_path, [], {"channels": ["stack.zarr"]})
    array = zarr.create_array(tmp_path / "stack.zarr", data=images(), chunks=(4, 50, 64), **layout)
    Pipeline.from_toml(tmp_path).run()
    array[8] = 255 - images()[8]
    done = call("run", tmp_path, "--workers", 0)
    assert "note: slices changed since the last run: stack.zarr replaced" in done.err
    np.testing.assert_array_equal(open_result(tmp_path)[0, 8], 255 - images()[8])


def test_the_command_line_tells_it_first(directory, call):
    victim = sorted(directory.glob("*.tif"))[3]
    tifffile.imwrite(victim, images(seed=1)[0])
    for command in (["plan"], ["run", "--workers", 0]):
        done = call(command[0], directory, *command[1:])
        assert f"note: slices changed since the last run: {victim.name} replaced" in done.err


def unnoticed(path, change):
    """Change a file so that neither its size nor its time tells."""
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def inverted(path):
    tifffile.imwrite(path, 255 - tifffile.imread(path), metadata=None)


@pytest.fixture
def by_content(tmp_path):
    stacks = {"ESB": images(), "SE2": images(seed=1)}
    settings = {"fingerprint": "content"}
    directory = make_project(tmp_path / "content", ["cropping"], stacks, **settings)
    Pipeline.from_toml(directory).run()
    return directory


def test_content_that_changed_behind_the_same_size_and_time_is_noticed(by_content):
    victim = sorted((by_content / "SE2").glob("*.tif"))[3]
    unnoticed(victim, inverted)
    assert f"SE2/{victim.name} replaced" in told(by_content)
    before = open_result(by_content).values
    Pipeline.from_toml(by_content).run()
    changed = (open_result(by_content).values != before).any((2, 3))
    np.testing.assert_array_equal(np.argwhere(changed), [[1, 3]])


def test_the_same_content_at_another_time_and_place_is_not_computed_again(by_content, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(by_content, moved, copy_function=shutil.copy)  # with new times
    assert told(moved) is None
    assert not Pipeline.from_toml(moved).plan().passes


def test_a_chunk_that_was_replaced_in_place_is_noticed_by_content(tmp_path):
    settings = {"channels": ["stack.zarr"], "fingerprint": "content"}
    write_params(tmp_path, ["cropping"], settings)
    array = zarr.create_array(tmp_path / "stack.zarr", data=images(), chunks=(4, 50, 64))
    Pipeline.from_toml(tmp_path).run()
    assert told(tmp_path) is None
    array[8] = 255 - images()[8]
    assert "stack.zarr replaced" in told(tmp_path)


def test_only_slices_that_are_selected_count(by_content):
    path = by_content / "params.toml"
    path.write_text("ind_max = 9\n" + path.read_text())
    Pipeline.from_toml(by_content).run()
    unnoticed(sorted((by_content / "ESB").glob("*.tif"))[12], inverted)
    assert told(by_content) is None


def test_a_file_that_cannot_be_read_whole_is_named(by_content, monkeypatch):
    path = sorted((by_content / "ESB").glob("*.tif"))[2]

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pystack3d_dask.io.wrappers.content.file_digest", refuse)
    with pytest.raises(ParameterError, match="Permission denied") as caught:
        Pipeline.from_toml(by_content)
    assert str(path.parent) in str(caught.value)
