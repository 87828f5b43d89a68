"""What a size of voxels that is given changes in plans, runs and results, and what not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from stacks import STEPS, images, write_params

from pystack3d_dask import open_result, open_stack
from pystack3d_dask.core.provenance import GRAY_LEVELS
from pystack3d_dask.errors import ParameterError
from pystack3d_dask.pipeline import Pipeline

SIZE = [0.02, 0.03, 0.05]
COUNT = 12
LOCAL = {"method": "local", "size": [0.2, 0.3, 0.15], "size_unit": "um"}
TWICE = ["cropping", "bkg_removal", "intensity_rescaling"]  # read again behind a fit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write slices that tell nothing of where they lie."""
    for k, image in enumerate(images((COUNT, 40, 50))):
        tifffile.imwrite(tmp_path / f"s{k:02d}.tif", image, metadata=None)
    return tmp_path


def project(folder: Path, steps: Any, **settings: Any) -> Pipeline:
    write_params(folder, steps, settings)
    return Pipeline.from_toml(folder)


def run(folder: Path, steps: Any, **settings: Any) -> Any:
    project(folder, steps, **settings).run()
    return open_result(folder).load()


def test_coordinates_of_the_result_are_in_micrometers(folder: Path) -> None:
    found = run(folder, {"cropping": {"area": [10, 30, 5, 35]}}, voxel_size=SIZE, ind_min=2)
    assert [found[axis].attrs["units"] for axis in "zyx"] == ["micrometer"] * 3
    np.testing.assert_allclose(found.z, 0.05 * np.arange(2, COUNT))
    np.testing.assert_allclose(found.y, 0.03 * np.arange(5, 35))
    np.testing.assert_allclose(found.x, 0.02 * np.arange(10, 30))
    ome: Any = zarr.open_group(folder / "process/result.zarr").attrs["ome"]
    (scale, *_) = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == pytest.approx([1, 0.05, 0.03, 0.02])


def test_without_a_distance_only_pixels_have_a_size(folder: Path) -> None:
    found = run(folder, ["cropping"], voxel_size=SIZE[:2])
    assert [found[axis].attrs["units"] for axis in "zyx"] == ["pixel", "micrometer", "micrometer"]


def test_lazy_stacks_have_it_too(folder: Path) -> None:
    lazy = project(folder, ["cropping"], voxel_size=SIZE).lazy()
    raw = open_stack(folder, voxel_size=SIZE)
    for stack in (lazy, raw):
        assert [stack[axis].attrs["units"] for axis in "zyx"] == ["micrometer"] * 3
        assert float(stack.z[3]) == pytest.approx(0.15)
    with pytest.raises(ValueError, match=r"\[x, y\] or \[x, y, z\]"):
        open_stack(folder, voxel_size=[1])


def test_values_stay_and_only_the_last_pass_is_done_again(folder: Path) -> None:
    before = run(folder, TWICE)
    passes = project(folder, TWICE).plan().passes
    assert not passes
    again = project(folder, TWICE, voxel_size=SIZE)
    (only,) = again.plan().passes
    assert not only.work.gathers  # fits are known
    again.run()
    after = open_result(folder)
    np.testing.assert_array_equal(after.values, before.values)
    assert (before.x.attrs["units"], after.x.attrs["units"]) == ("pixel", "micrometer")
    assert not project(folder, TWICE, voxel_size=SIZE).plan().passes


def test_slices_lie_elsewhere_when_those_before_them_are_gone(folder: Path) -> None:
    run(folder, ["cropping"], voxel_size=SIZE, ind_min=2)
    for name in ("s00.tif", "s01.tif"):
        (folder / name).unlink()
    found = run(folder, ["cropping"], voxel_size=SIZE)
    np.testing.assert_allclose(found.z, 0.05 * np.arange(COUNT - 2))


def test_what_is_measured_in_micrometers_follows_it(folder: Path) -> None:
    with pytest.raises(ParameterError, match=r"size_unit: .*; voxel_size = \[x, y, z\] does"):
        project(folder, {"bkg_removal": LOCAL})
    found = run(folder, {"bkg_removal": LOCAL}, voxel_size=SIZE)
    pixels = run(folder, {"bkg_removal": LOCAL | {"size": [10, 10, 3], "size_unit": "pixels"}})
    np.testing.assert_array_equal(found.values, pixels.values)
    other = run(folder, {"bkg_removal": LOCAL}, voxel_size=[0.04, 0.03, 0.05])
    assert not np.array_equal(other.values, found.values)


def test_slices_are_resampled_by_it(folder: Path) -> None:
    steps = {"resampling": {"dz": 0.025, "z_source": "coordinates"}}
    with pytest.raises(ParameterError, match=r"z_source: .* voxel_size = \[x, y, z\] tells it"):
        project(folder, steps)
    found = run(folder, steps, voxel_size=SIZE)
    np.testing.assert_allclose(found.z, 0.025 * np.arange(2 * COUNT - 1))
    np.testing.assert_array_equal(found[0, ::2], images((COUNT, 40, 50)))


def test_exported_slices_tell_it(folder: Path) -> None:
    pipeline = project(folder, ["cropping"], voxel_size=SIZE)
    pipeline.run()
    pipeline.export_tiff(folder / "out")
    assert open_stack(folder / "out").attrs == GRAY_LEVELS
    with tifffile.TiffFile(folder / "out" / "s00.tif") as tif:
        page = tif.pages[0]
        assert page.get_resolution("centimeter") == pytest.approx((1e4 / 0.02, 1e4 / 0.03), 1e-4)


def test_files_that_tell_otherwise_are_told_of(folder: Path) -> None:
    for k, image in enumerate(images((COUNT, 40, 50))):
        options = {"resolution": (1e6, 1e6), "resolutionunit": 3}
        tifffile.imwrite(folder / f"s{k:02d}.tif", image, metadata=None, **options)
    notes = [str(note) for note in project(folder, ["cropping"], voxel_size=SIZE).project.notes]
    assert any("0.02 x 0.03 µm (x, y) are taken, the images tell 0.01 x 0.01" in n for n in notes)
    found = run(folder, {"cropping": STEPS["cropping"]}, voxel_size=SIZE)
    assert float(found.x[1] - found.x[0]) == pytest.approx(0.02)
