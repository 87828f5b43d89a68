"""Shards are read by zarr and by us, replaced in one step, and written in little memory."""

import tracemalloc

import numpy as np
import pytest
import zarr

from pystack3d_dask.errors import PixelError
from pystack3d_dask.io.zarr import shard
from pystack3d_dask.io.zarr.chunk import CODECS
from pystack3d_dask.io.zarr.shard import read_slice, write_shard

SLICES = 4


def make_array(path, shape, dtype, tile):
    whole = [-(-n // t) * t for n, t in zip(shape[1:], tile, strict=True)]
    return zarr.create_array(
        path,
        shape=shape,
        dtype=dtype,
        chunks=(1, *tile),
        shards=(SLICES, *whole),
        compressors=CODECS,
        fill_value=0,
    )


def noise(shape, dtype):
    return np.random.default_rng(0).normal(100, 9, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "f4", ">u2"])
def test_zarr_reads_what_was_written(tmp_path, dtype):
    values = noise((SLICES, 33, 20), dtype)
    array = make_array(tmp_path / "a", values.shape, values.dtype.newbyteorder("="), (17, 20))
    written = write_shard(tmp_path / "a/c/0/0/0", values, SLICES, (17, 20))
    np.testing.assert_array_equal(array[:], values)
    assert written.size == written.path.stat().st_size
    assert written.problem() is None


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_no_more_room_is_taken_than_by_zarr(tmp_path, dtype):
    values = noise((SLICES, 64, 64), dtype)
    array = make_array(tmp_path / "a", values.shape, values.dtype, (64, 64))
    array[:] = values
    by_zarr = (tmp_path / "a/c/0/0/0").stat().st_size
    written = write_shard(tmp_path / "a/c/0/0/0", values, SLICES, (64, 64))
    assert written.size <= 1.01 * by_zarr


def test_the_last_shard_may_have_fewer_slices(tmp_path):
    values = noise((SLICES + 1, 8, 8), "u1")
    array = make_array(tmp_path / "a", values.shape, values.dtype, (8, 8))
    for number in range(2):
        part = values[number * SLICES : (number + 1) * SLICES]
        write_shard(tmp_path / f"a/c/{number}/0/0", part, SLICES, (8, 8))
    np.testing.assert_array_equal(array[:], values)


def test_zarr_can_replace_what_was_written(tmp_path):
    values = noise((SLICES, 8, 8), "u1")
    array = make_array(tmp_path / "a", values.shape, values.dtype, (8, 8))
    write_shard(tmp_path / "a/c/0/0/0", values, SLICES, (8, 8))
    array[2] = 7
    assert (array[2] == 7).all()
    np.testing.assert_array_equal(array[1], values[1])


def test_a_failed_write_leaves_the_old_shard_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "shard"
    write_shard(path, noise((SLICES, 8, 8), "u1"), SLICES, (8, 8))
    before = path.read_bytes()

    def fail(chunk):
        raise MemoryError

    monkeypatch.setattr(shard, "encode", fail)
    with pytest.raises(MemoryError):
        write_shard(path, noise((SLICES, 8, 8), "u1"), SLICES, (8, 8))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_writing_holds_chunks_not_shards(tmp_path):
    values = noise((SLICES, 1000, 1000), "u1")
    tracemalloc.start()
    write_shard(tmp_path / "shard", values, SLICES, (250, 250))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 250 * 250


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
def test_a_slice_is_read_alone(tmp_path, dtype):
    values = noise((3, 33, 20), dtype)
    write_shard(tmp_path / "shard", values, SLICES, (17, 20))
    for k in range(3):
        read = read_slice(tmp_path / "shard", k, (33, 20), SLICES, (17, 20), values.dtype)
        np.testing.assert_array_equal(read, values[k])
        assert read.dtype == dtype


def damaged_index(content):
    return content[:-10] + bytes(10)


def damaged_chunk(content):
    return content[:20] + bytes([content[20] ^ 1]) + content[21:]


@pytest.mark.parametrize("damage", [damaged_index, damaged_chunk, lambda content: content[:7]])
def test_a_damaged_shard_is_named(tmp_path, damage):
    path = tmp_path / "shard"
    write_shard(path, noise((3, 33, 20), "u1"), SLICES, (33, 20))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(PixelError, match=r"shard: the checksum .* does not match"):
        read_slice(path, 0, (33, 20), SLICES, (33, 20), np.dtype("u1"))


def test_a_slice_that_was_never_written_is_not_read_as_zeros(tmp_path):
    write_shard(tmp_path / "shard", noise((3, 33, 20), "u1"), SLICES, (33, 20))
    for path, reason in [("shard", "never written"), ("nowhere", "missing")]:
        with pytest.raises(PixelError, match=f"{path}: .*{reason}"):
            read_slice(tmp_path / path, 3, (33, 20), SLICES, (33, 20), np.dtype("u1"))
