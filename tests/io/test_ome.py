"""The result is what xarray, OME-Zarr readers and our own `open_result` expect."""

import tracemalloc
from dataclasses import replace

import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr
from ome_zarr_models.v05 import Image

from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.errors import StackError
from pystack3d_dask.io.ome.image import (
    ResultWriter,
    create_result,
    finish_result,
    is_complete,
    open_result,
)
from pystack3d_dask.io.ome.pyramid import pooled

SLAB = 4
U1 = np.dtype("u1")
SPEC = StackSpec(
    shape=(9, 21, 1030),
    dtype=U1,
    source_dtype=U1,
    z=tuple(0.01 * k for k in range(9)),
    pixel_size=(0.01, 0.01),
)
SMALL = replace(SPEC, shape=(9, 21, 30))


def noise(shape, dtype=U1, seed=0):
    return np.random.default_rng(seed).normal(100, 9, shape).astype(dtype)


def create(path, spec=SPEC, channels=("ESB",), dtype=None, slab=SLAB, **more):
    dtype = dtype or spec.source_dtype
    create_result(path, channels=channels, spec=spec, dtype=dtype, slab=slab, **more)
    return path


def write(path, values, channel=0, slab=SLAB):
    starts = range(0, len(values), slab)
    writer = ResultWriter(path)
    shards = [writer.write(channel, z, values[z : z + slab]) for z in starts]
    return sum(shard.size for written in shards for shard in written)


def multiscale(path):
    return zarr.open_group(path, mode="r").attrs["ome"]["multiscales"][0]


def shards(path):
    return sorted(file for file in path.glob("scale*/image/c/**/*") if file.is_file())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "result.zarr"


def test_xarray_opens_it_with_its_coordinates_and_no_warning(path):
    values = noise(SPEC.shape)
    create(path)
    write(path, values)
    dataset = xr.open_zarr(path, group="scale0")
    assert list(dataset.data_vars) == ["image"]
    assert dataset["image"].dims == ("c", "z", "y", "x")
    assert set(dataset.coords) == {"c", "z", "y", "x"}
    np.testing.assert_array_equal(dataset["image"].sel(c="ESB"), values)
    np.testing.assert_allclose(dataset["z"], SPEC.z)
    assert dataset["x"].attrs["units"] == "micrometer"


def test_xarray_still_opens_every_level_once_it_is_finished(path):
    finish_result(create(path), {"token": "a"})
    for level in range(len(multiscale(path)["datasets"])):
        assert "image" in xr.open_zarr(path, group=f"scale{level}")


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        replace(SPEC, z=None),
        replace(SPEC, pixel_size=None),
        replace(SPEC, z=None, pixel_size=None),
        replace(SPEC, shape=(1, 2100, 30), z=(5.0,)),
        replace(SPEC, z=(0.0, 1.0, 1.5, 2.0, 4.0, 5.0, 6.0, 7.0, 9.0)),
        replace(SPEC, z=SPEC.z[::-1]),
        replace(SPEC, source_dtype=np.dtype("f4")),
    ],
)
def test_it_is_a_valid_ome_zarr_image(path, spec):
    finish_result(create(path, spec, channels=("ESB", "SE2")), {})
    image = Image.from_zarr(zarr.open_group(path, mode="r"))
    assert [axis.name for axis in image.attributes.ome.multiscales[0].axes] == list("czyx")


@pytest.mark.parametrize("shape", [(9, 21, 1030), (1, 1030, 7), (4, 513, 2051), (8, 1, 1)])
def test_every_level_holds_the_means_of_the_full_image(path, shape):
    values = noise(shape)
    create(path, replace(SPEC, shape=shape, z=None))
    write(path, values)
    datasets = multiscale(path)["datasets"]
    scales = [dataset["coordinateTransformations"][0]["scale"][1:] for dataset in datasets]
    units = scales[0]
    factors = [tuple(round(a / b) for a, b in zip(s, units, strict=True)) for s in scales]
    for level, expected in enumerate(pooled(values, factors)):
        image = xr.open_zarr(path, group=f"scale{level}")["image"]
        np.testing.assert_array_equal(image[0], expected)


@pytest.mark.parametrize("dtype", ["u2", "i2", "f4"])
def test_values_keep_their_type(path, dtype):
    dtype = np.dtype(dtype)
    values = noise(SMALL.shape, dtype)
    create(path, replace(SMALL, source_dtype=dtype))
    write(path, values)
    image = xr.open_zarr(path, group="scale0")["image"]
    assert image.dtype == dtype
    np.testing.assert_array_equal(image[0], values)


def test_channels_do_not_touch_each_other(path):
    first, second = noise(SMALL.shape, seed=1), noise(SMALL.shape, seed=2)
    create(path, SMALL, channels=("ESB", "SE2"))
    write(path, second, channel=1)
    write(path, first, channel=0)
    image = xr.open_zarr(path, group="scale0")["image"]
    np.testing.assert_array_equal(image.sel(c="ESB"), first)
    np.testing.assert_array_equal(image.sel(c="SE2"), second)


def test_the_size_on_disk_is_returned(path):
    create(path)
    written = write(path, noise(SPEC.shape))
    assert written == sum(file.stat().st_size for file in shards(path))


def test_a_blank_slab_is_stored_so_that_it_differs_from_a_missing_one(path):
    create(path)
    ResultWriter(path).write(0, 0, np.zeros((SLAB, *SPEC.shape[1:]), U1))
    levels = len(multiscale(path)["datasets"])
    assert len(shards(path)) == levels > 1


@pytest.mark.parametrize("position", [0.0, 0.3, 0.9, 0.999])
def test_a_damaged_byte_is_detected_on_read(path, position):
    create(path, SMALL)
    ResultWriter(path).write(0, 0, noise((SLAB, 21, 30)))
    damage(shards(path)[0], position)
    with pytest.raises(ValueError, match="checksum"):
        xr.open_zarr(path, group="scale0")["image"][:, :SLAB].load()


@pytest.mark.parametrize("position", [0.3, 0.999])
def test_a_damaged_slab_can_be_written_again(path, position):
    values = noise((SLAB, 21, 30))
    create(path, SMALL)
    ResultWriter(path).write(0, 0, values)
    damage(shards(path)[0], position)
    ResultWriter(path).write(0, 0, values)
    np.testing.assert_array_equal(xr.open_zarr(path, group="scale0")["image"][0, :SLAB], values)


def damage(file, position):
    data = bytearray(file.read_bytes())
    data[int(position * len(data))] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("channel", "z_start", "shape", "dtype"),
    [
        (0, 2, (4, 21, 30), "u1"),
        (0, -4, (4, 21, 30), "u1"),
        (0, 12, (4, 21, 30), "u1"),
        (0, 0, (3, 21, 30), "u1"),
        (0, 0, (8, 21, 30), "u1"),
        (0, 8, (4, 21, 30), "u1"),
        (0, 0, (4, 20, 30), "u1"),
        (0, 0, (4, 21, 30), "f4"),
        (1, 0, (4, 21, 30), "u1"),
        (-1, 0, (4, 21, 30), "u1"),
    ],
)
def test_anything_but_one_whole_slab_is_refused_and_nothing_written(
    path, channel, z_start, shape, dtype
):
    create(path, SMALL)
    with pytest.raises(ValueError, match=r"slab|channel"):
        ResultWriter(path).write(channel, z_start, np.zeros(shape, dtype))
    assert shards(path) == []


def test_coordinates_count_from_the_first_pixel_of_the_acquisition(path):
    create(path, replace(SPEC, origin=(5, 7), pixel_size=(0.01, 0.02)))
    dataset = xr.open_zarr(path, group="scale0")
    np.testing.assert_allclose(dataset["y"][:2], [0.05, 0.06])
    np.testing.assert_allclose(dataset["x"][:2], [0.14, 0.16])
    _, translation = multiscale(path)["datasets"][0]["coordinateTransformations"]
    np.testing.assert_allclose(translation["translation"], [0, 0, 0.05, 0.14])


def test_coarser_coordinates_are_the_means_of_what_is_pooled(path):
    create(path, replace(SPEC, origin=(5, 0)))
    dataset = xr.open_zarr(path, group="scale1")
    np.testing.assert_allclose(dataset["x"][:2], [0.005, 0.025])
    np.testing.assert_allclose(dataset["y"][[0, -1]], [0.055, 0.25])
    scale, translation = multiscale(path)["datasets"][1]["coordinateTransformations"]
    np.testing.assert_allclose(scale["scale"], [1, 0.02, 0.02, 0.02])
    np.testing.assert_allclose(translation["translation"], [0, 0.005, 0.055, 0.005])


def test_irregular_z_is_true_in_the_coordinate_and_a_mean_step_in_the_metadata(path):
    z = (1.0, 2.0, 2.5, 3.0, 5.0, 6.0, 7.0, 8.0, 10.0)
    create(path, replace(SPEC, z=z))
    assert xr.open_zarr(path, group="scale0")["z"].values.tolist() == list(z)
    scale, translation = multiscale(path)["datasets"][0]["coordinateTransformations"]
    assert scale["scale"][1] == 9 / 8
    assert translation["translation"][1] == 1.0


def test_unknown_sizes_are_indices_without_a_unit(path):
    create(path, replace(SPEC, z=None, pixel_size=None, origin=(5, 7)))
    dataset = xr.open_zarr(path, group="scale0")
    assert dataset["y"].values[:2].tolist() == [5, 6]
    assert dataset["z"].attrs["units"] == "pixel"
    assert not any("unit" in axis for axis in multiscale(path)["axes"])


def test_viewers_show_the_type_s_range_until_they_are_told_better(path):
    create(path, SMALL, channels=("ESB", "SE2"))
    finish_result(path, {}, windows=[(10, 99), (0, 5)])
    first, second = zarr.open_group(path, mode="r").attrs["ome"]["omero"]["channels"]
    assert (first["label"], second["label"]) == ("ESB", "SE2")
    assert first["window"] == {"min": 0, "max": 255, "start": 10, "end": 99}
    assert second["window"] == {"min": 0, "max": 255, "start": 0, "end": 5}


def test_what_exists_is_not_overwritten(path):
    create(path, SMALL)
    with pytest.raises(FileExistsError, match="remove it"):
        create(path, SMALL)


def test_leftovers_of_an_interrupted_creation_do_not_matter(path):
    create(path.with_name("result.zarr.partial"), SMALL)
    create(path, SMALL)
    assert [entry.name for entry in path.parent.iterdir()] == ["result.zarr"]


def test_it_is_complete_for_the_token_it_was_finished_with(path):
    assert not is_complete(path, "a")
    create(path, SMALL, attrs={"token": "a"})
    assert not is_complete(path, "a")
    finish_result(path, {"token": "a", "version": "1"})
    assert is_complete(path, "a")
    assert not is_complete(path, "b")
    state = zarr.open_group(path, mode="r").attrs["pystack3d_dask"]
    assert state.pop("frame")
    own = {"assumed": [], "channel_names": ["ESB"]}
    assert state == {"complete": True, "token": "a", "version": "1"} | own


def test_a_complete_result_opens_lazily_one_chunk_per_shard(path):
    values = noise(SPEC.shape)
    create(path)
    write(path, values)
    finish_result(path, {})
    result = open_result(path)
    assert isinstance(result.data, dask.array.Array)
    assert result.chunks == ((1,), (4, 4, 1), (21,), (1030,))
    assert result["c"].values.tolist() == ["ESB"]
    np.testing.assert_array_equal(result.sel(c="ESB"), values)


def test_a_missing_result_says_so(path):
    with pytest.raises(StackError, match="no result here"):
        open_result(path)


def test_a_foreign_group_is_no_result(path):
    zarr.create_group(path)
    with pytest.raises(StackError, match="no result here"):
        open_result(path)


def test_an_incomplete_result_says_so(path):
    create(path, SMALL)
    with pytest.raises(StackError, match="not complete"):
        open_result(path)


def test_writing_takes_little_memory_beside_the_slab(path):
    values = noise((16, 1200, 1200))
    create(path, replace(SPEC, shape=values.shape, z=None), slab=16)
    tracemalloc.start()
    ResultWriter(path).write(0, 0, values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * values.nbytes
