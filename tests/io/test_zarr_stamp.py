"""Files of an array as a directory listing shows them."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from pystack3d_dask.io.zarr.source import open_zarr
from pystack3d_dask.io.zarr.stamp import chunk_files, stamp

SHAPE = (5, 12, 14)
LAYOUTS: dict[str, dict[str, Any]] = {
    "version 2, dots": {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "."}},
    "version 2, slashes": {
        "zarr_format": 2,
        "chunk_key_encoding": {"name": "v2", "separator": "/"},
    },
    "version 3": {},
    "version 3, dots": {"chunk_key_encoding": {"name": "default", "separator": "."}},
    "version 3, names of version 2": {"chunk_key_encoding": {"name": "v2", "separator": "."}},
    "shards": {"shards": (4, 8, 8)},
}


def made(path: Path, layout: str = "version 3", **options: Any) -> zarr.Array[Any]:
    options = {"chunks": (2, 4, 4), "compressors": None} | LAYOUTS[layout] | options
    array = zarr.create_array(path, shape=SHAPE, dtype="uint8", **options)
    array[...] = np.random.default_rng(0).integers(1, 100, SHAPE)
    return array


def later(path: Path, before: dict[str, int]) -> None:
    """Date files that were written since a listing a second later, whatever the clock shows."""
    for name, time in before.items():
        if (path / name).stat().st_mtime_ns != time:
            os.utime(path / name, ns=(time + 10**9, time + 10**9))


@given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    voxel=st.tuples(*(st.integers(0, extent - 1) for extent in SHAPE)),
    touched=st.sampled_from(["rewritten", "resized", "removed"]),
)
def test_every_chunk_of_every_layout_counts(
    layout: str, voxel: tuple[int, int, int], touched: Literal["rewritten", "resized", "removed"]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.zarr"
        array = made(path, layout)
        times = {chunk.path: 0 for chunk in chunk_files(path)}
        for name in times:
            os.utime(path / name, ns=(0, 0))
        before = stamp(path).digest
        assert stamp(path).digest == before
        array[voxel] = 200
        (changed,) = (name for name in times if (path / name).stat().st_mtime_ns)
        if touched == "removed":
            (path / changed).unlink()
        elif touched == "resized":
            os.truncate(path / changed, 3)
            os.utime(path / changed, ns=(0, 0))
        else:
            later(path, times)
        assert stamp(path).digest != before


def test_reading_moving_and_hidden_files_change_nothing(tmp_path: Path) -> None:
    made(tmp_path / "a.zarr")[...]
    before = stamp(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / ".DS_Store").touch()
    (tmp_path / "a.zarr" / "c" / ".nfs0001").touch()
    shutil.move(tmp_path / "a.zarr", tmp_path / "b.zarr")
    assert stamp(tmp_path / "b.zarr") == before


def test_metadata_count_by_content(tmp_path: Path) -> None:
    array = made(tmp_path / "a.zarr")
    before = stamp(tmp_path / "a.zarr")
    os.utime(tmp_path / "a.zarr" / "zarr.json", ns=(0, 0))
    assert stamp(tmp_path / "a.zarr") == before
    array.attrs["note"] = "new"
    assert stamp(tmp_path / "a.zarr") != before


def test_chunks_behind_links_count_and_links_in_a_circle_end(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    made(path)
    shutil.move(path / "c", tmp_path / "elsewhere")
    (path / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "0" / "back").symlink_to(tmp_path / "elsewhere")
    before = stamp(path)
    os.utime(tmp_path / "elsewhere" / "1" / "2" / "1", ns=(0, 0))
    assert stamp(path) != before


def test_files_without_times_are_told_of(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    made(path)
    assert not open_zarr({".": path}).notes
    for chunk in chunk_files(path):
        os.utime(path / chunk.path, ns=(0, 0))
    (note,) = open_zarr({".": path}).notes
    assert note.startswith(f"{path}: its files carry no times")
    assert 'fingerprint = "content"' in note


def test_an_array_without_chunks_has_no_times_to_miss(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=SHAPE, dtype="uint8")
    assert not open_zarr({".": tmp_path / "a.zarr"}).notes


@pytest.mark.parametrize("layout", LAYOUTS)
def test_channels_of_one_array_share_its_digest(tmp_path: Path, layout: str) -> None:
    options = LAYOUTS[layout] | ({"shards": (2, 4, 8, 8)} if layout == "shards" else {})
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(2, *SHAPE), dtype="uint8", chunks=(1, 2, 4, 4), **options
    )
    array[...] = 7
    first, second = open_zarr({".": tmp_path / "a.zarr"}).stamps
    assert first == second == stamp(tmp_path / "a.zarr").digest
