"""Stacks, results and corrections as users of xarray expect them."""

from __future__ import annotations

import json
import subprocess
import sys

import dask
import numpy as np
import pytest
import xarray as xr
import zarr
from conftest import textured
from stacks import images, make_project, write_slices

import pystack3d_dask as ps

VALUES = images((12, 600, 50))
STEPS = {"cropping": {"area": [2, 48, 0, 560]}, "gamma": {"gamma": 0.7}}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a project with a result; z is in the names, the size of pixels is not known."""
    directory = tmp_path_factory.mktemp("project")
    project = make_project(directory / "my_stack", STEPS, VALUES)
    ps.Pipeline.from_toml(project).run()
    return project


@pytest.fixture(params=["engine", "open_result"])
def result(project, request):
    if request.param == "open_result":
        return ps.open_result(project)
    path = project / "process" / "result.zarr"
    return xr.open_dataset(path, engine="pystack3d", chunks={})["image"]


def test_a_result_has_its_name_units_and_provenance(result):
    assert result.name == "image"
    assert (result.long_name, result.units) == ("gray level", "1")
    assert {axis: result[axis].units for axis in "zyx"} == {
        "z": "micrometer",
        "y": "pixel",
        "x": "pixel",
    }
    assert result.z.long_name == "z"
    cropping, gamma = json.loads(result.corrections)
    assert (cropping["name"], cropping["area"]) == ("cropping", [2, 48, 0, 560])
    assert (gamma["name"], gamma["gamma"]) == ("gamma", 0.7)
    assert result.software == f"pystack3d-dask {ps.__version__}"


def test_lazy_results_say_the_same(project, result):
    lazy = ps.Pipeline.from_toml(project).lazy()
    xr.testing.assert_identical(lazy.compute(), result.compute())
    stack = ps.open_stack(project)
    assert (stack.name, stack.long_name, stack.units) == ("image", "gray level", "1")
    assert "corrections" not in stack.attrs
    cropped = ps.correct(stack, ps.Cropping(area=(2, 48, 0, 560)))
    by_hand = ps.correct(cropped, ps.Gamma(gamma=0.7))
    assert by_hand.attrs["corrections"] == result.corrections


def test_plain_xarray_finds_names_and_units_too(project):
    path = project / "process" / "result.zarr"
    image = xr.open_zarr(path, group="scale0")["image"]
    assert (image.long_name, image.units) == ("gray level", "1")
    assert (image.z.long_name, image.z.units) == ("z", "micrometer")
    own = zarr.open_group(path, mode="r").attrs["pystack3d_dask"]
    assert [each["name"] for each in json.loads(own["provenance"]["corrections"])] == list(STEPS)


@pytest.mark.parametrize("chunks", [None, {"z": 5, "y": 100}, {"z": -1}])
def test_a_result_can_be_written_again(result, chunks, tmp_path):
    array = result if chunks is None else result.chunk(chunks)
    array.to_dataset().to_zarr(tmp_path / "new.zarr", consolidated=False)
    array.to_netcdf(tmp_path / "new.nc")
    for written in (
        xr.open_zarr(tmp_path / "new.zarr", consolidated=False),
        xr.open_dataset(tmp_path / "new.nc", engine="h5netcdf"),
    ):
        with written:
            xr.testing.assert_identical(written["image"].compute(), result.compute())


def test_the_engine_gives_a_chunk_of_dask_for_each_that_is_stored(project):
    shard = zarr.open_group(project / "process" / "result.zarr")["scale0/image"].shards
    path = project / "process" / "result.zarr"
    whole = xr.open_dataset(path, engine="pystack3d", chunks={})["image"]
    assert tuple(max(sizes) for sizes in whole.chunks) == tuple(
        min(part, extent) for part, extent in zip(shard, whole.shape, strict=True)
    )
    source = xr.open_dataset(project, engine="pystack3d", chunks={})["image"]
    assert source.chunks == ((1,), (1,) * 12, (600,), (50,))


def test_the_engine_opens_the_slices_of_a_project(project):
    dataset = xr.open_dataset(project, engine="pystack3d")
    xr.testing.assert_identical(dataset["image"], ps.open_stack(project).compute())
    assert not isinstance(dataset["image"].variable._data, np.ndarray)  # nothing is loaded yet
    selected = dataset["image"][0, 3:9:2, ::-1, [4, 1]]
    np.testing.assert_array_equal(selected, VALUES[3:9:2, ::-1][..., [4, 1]])


def test_the_engine_takes_what_open_stack_takes(tmp_path):
    write_slices(tmp_path / "ESB", VALUES)
    write_slices(tmp_path / "SE2", VALUES[:, ::-1])
    dataset = xr.open_dataset(
        tmp_path, engine="pystack3d", channels=("SE2", "ESB"), voxel_size=(0.004, 0.005, 0.01)
    )
    assert list(dataset.c.values) == ["SE2", "ESB"]
    assert dataset.x.units == "micrometer"
    assert float(dataset.y[1] - dataset.y[0]) == pytest.approx(0.005)
    np.testing.assert_array_equal(dataset["image"].sel(c="ESB"), VALUES)


def test_the_engine_opens_coarser_levels(project):
    path = project / "process" / "result.zarr"
    found = xr.open_dataset(path, engine="pystack3d", scale=1)["image"]
    xr.testing.assert_identical(found, ps.open_result(project, 1).compute())


def test_the_engine_can_leave_variables_out(project):
    assert "image" not in xr.open_dataset(project, engine="pystack3d", drop_variables="image")


def test_the_engine_says_what_is_not_there(tmp_path, project):
    with pytest.raises(ps.SourceError, match="no slices"):
        xr.open_dataset(tmp_path, engine="pystack3d")
    with pytest.raises(ps.StackError, match=r"a level from 0 to \d expected, found 9"):
        xr.open_dataset(project / "process" / "result.zarr", engine="pystack3d", scale=9)


def test_opening_with_the_engine_reads_no_pixel(project, monkeypatch):
    def refuse(*_, **__):
        message = "pixels were read"
        raise AssertionError(message)

    monkeypatch.setattr("pystack3d_dask.lazy.arrays._Pixels.__getitem__", refuse)
    with dask.config.set(scheduler=refuse):
        dataset = xr.open_dataset(project, engine="pystack3d", chunks={})
        assert dataset["image"].isel(z=3).shape == (1, 600, 50)


def test_the_accessor_corrects_as_the_functions_do():
    stack = xr.DataArray(textured((6, 24, 30)), dims=("z", "y", "x"))
    correction = ps.BackgroundRemoval(orders=(1, 1, 1), skip_factors=(3, 3, 2))
    fit = stack.stack3d.fit(correction)
    found = stack.stack3d.correct(correction, fit=fit).stack3d.to_source_type()
    expected = ps.to_source_type(ps.correct(stack, correction, fit=ps.fit(stack, correction)))
    xr.testing.assert_identical(found.compute(), expected.compute())


@pytest.mark.parametrize(
    "lines",
    [
        ["import xarray as xr", "import pystack3d_dask"],
        ["import pystack3d_dask as ps", "import xarray as xr", "ps.Gamma"],
        ["import pystack3d_dask as ps", "ps.open_stack", "import xarray as xr"],
    ],
)
def test_the_accessor_is_there_in_any_order_of_imports(lines):
    code = "\n".join([*lines, "assert hasattr(xr.DataArray, 'stack3d')"])
    subprocess.run([sys.executable, "-c", code], check=True)
