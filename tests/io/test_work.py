"""Levels between passes: ordinary Zarr arrays, whole slices, damage found on reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.errors import PixelError
from pystack3d_dask.io import work
from pystack3d_dask.io.work import Level, attributes, create_level, update_attrs

SHAPE = (3, 17, 23)


def written(path: Path, dtype: str = "uint16", channels: int = 2) -> np.ndarray[Any, Any]:
    """Write a level of random values and return them."""
    kind = np.dtype(dtype)
    values = np.random.default_rng(0).integers(0, 100, (channels, *SHAPE)).astype(kind)
    create_level(path, StackSpec(shape=SHAPE, dtype=kind, source_dtype=kind), channels, kind, {})
    level = Level(path)
    for channel, z in np.ndindex(channels, SHAPE[0]):
        level.write(channel, z, values[channel, z])
    return values


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("chunk_bytes", [2**24, 200])
def test_zarr_reads_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, chunk_bytes: int
) -> None:
    monkeypatch.setattr(work, "CHUNK_BYTES", chunk_bytes)
    values = written(tmp_path / "level", dtype)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "level", mode="r")[:], values)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), chunk_bytes=st.sampled_from([2**24, 200, 40]))
def test_a_region_is_what_slicing_gives(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, chunk_bytes: int
) -> None:
    bounds = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in SHAPE]
    z, y, x = bounds
    region = Region((z[0], y[0], x[0]), (z[1], y[1], x[1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "CHUNK_BYTES", chunk_bytes)
        path = tmp_path_factory.mktemp("work") / "level"
        values = written(path)
        found = Level(path).read(1, region, np.dtype("uint8"))
    np.testing.assert_array_equal(found, values[1][region.slices])
    assert found.dtype == np.uint8


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    written(tmp_path / "level")
    victim = tmp_path / "level" / "c.1.2.0.0"
    content = bytearray(victim.read_bytes())
    content[10] ^= 1
    victim.write_bytes(content)
    with pytest.raises(PixelError, match=r"c\.1\.2\.0\.0: the checksum"):
        Level(tmp_path / "level").read(1, Region((0, 0, 0), SHAPE), np.dtype("uint16"))


def test_a_missing_slice_is_not_read_as_zeros(tmp_path: Path) -> None:
    written(tmp_path / "level")
    (tmp_path / "level" / "c.0.1.0.0").unlink()
    with pytest.raises(PixelError, match="it is missing"):
        Level(tmp_path / "level").read(0, Region((0, 0, 0), SHAPE), np.dtype("uint16"))


def test_attributes_are_added_and_none_where_nothing_is(tmp_path: Path) -> None:
    written(tmp_path / "level")
    update_attrs(tmp_path / "level", {"complete": True})
    assert attributes(tmp_path / "level") == {"complete": True}
    assert attributes(tmp_path / "nowhere") == {}
