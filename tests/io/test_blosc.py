"""Blosc buffers that are cut short are refused, in both formats of Zarr."""

from __future__ import annotations

from pathlib import Path

import google_crc32c
import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from pystack3d_dask.errors import PixelError
from pystack3d_dask.io.sources import open_source
from pystack3d_dask.io.zarr.blosc import WholeBlosc, check_whole

CUT = r"stack\.zarr, slices 0 to 1: .*Blosc buffer .*cut short"
VALUES = np.random.default_rng(0).integers(0, 100, (2, 8, 8)).astype(np.uint16)
WHOLE = numcodecs.Blosc().encode(VALUES)
OPTIONS = {
    2: {"compressors": numcodecs.Blosc()},
    3: {"compressors": zarr.codecs.BloscCodec()},
    "3, sharded": {"compressors": zarr.codecs.BloscCodec(), "shards": (2, 8, 8)},
}


def test_a_whole_buffer_is_decoded():
    check_whole(WHOLE)
    found = np.frombuffer(WholeBlosc().decode(WHOLE), np.uint16)
    np.testing.assert_array_equal(found, VALUES.ravel())
    assert WholeBlosc.codec_id == numcodecs.Blosc.codec_id


@given(length=st.integers(0, len(WHOLE) - 1))
def test_one_that_is_cut_is_not(length):
    with pytest.raises(ValueError, match=rf"cut short or damaged: {length} are there"):
        WholeBlosc().decode(WHOLE[:length])


@given(at=st.integers(12, 15), value=st.integers(0, 255))
def test_nor_one_that_tells_another_length(at, value):
    damaged = bytearray(WHOLE)
    damaged[at] = value
    if damaged != WHOLE:
        with pytest.raises(ValueError, match="is cut short or damaged"):
            WholeBlosc().decode(bytes(damaged))


def stack(path: Path, kind: int | str) -> Path:
    chunks = {"chunks": (1, 8, 8) if kind == "3, sharded" else (2, 8, 8)}
    version = 2 if kind == 2 else 3
    zarr.create_array(path, data=VALUES, zarr_format=version, **chunks, **OPTIONS[kind])
    return path


@pytest.mark.parametrize("kind", OPTIONS)
def test_stacks_are_read(tmp_path, kind):
    source = open_source(stack(tmp_path / "stack.zarr", kind))
    np.testing.assert_array_equal(source.read(0, source.specs[0].region), VALUES)


@pytest.mark.parametrize("kind", [2, 3])
def test_chunks_that_are_cut_are_named(tmp_path, kind):
    path = stack(tmp_path / "stack.zarr", kind)
    (chunk,) = (each for each in path.rglob("*") if each.is_file() and each.name in ("0.0.0", "0"))
    chunk.write_bytes(chunk.read_bytes()[:20])
    source = open_source(path)
    with pytest.raises(PixelError, match=CUT):
        source.read(0, source.specs[0].region)


def test_so_are_those_inside_a_shard(tmp_path):
    path = stack(tmp_path / "stack.zarr", "3, sharded")
    (shard,) = (each for each in path.rglob("0") if each.is_file())
    content = bytearray(shard.read_bytes())
    index = np.frombuffer(content[-36:-4], "<u8").copy()  # offset and length of both chunks
    index[1] = 20
    crc = google_crc32c.value(index.tobytes()).to_bytes(4, "little")
    shard.write_bytes(bytes(content[:-36]) + index.tobytes() + crc)
    source = open_source(path)
    with pytest.raises(PixelError, match=CUT):
        source.read(0, source.specs[0].region)


@pytest.mark.parametrize("kind", OPTIONS)
def test_other_arrays_of_the_process_keep_their_codecs(tmp_path, kind):
    path = stack(tmp_path / "stack.zarr", kind)
    source = open_source(path)
    source.read(0, source.specs[0].region)
    assert type(numcodecs.get_codec({"id": "blosc"})) is numcodecs.Blosc
    assert "WholeBlosc" not in str(zarr.open_array(path).metadata)
