"""Looking for slices that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_mended import COUNT, everything, written
from tiff_files import opened

from pystack3d_dask.errors import PixelError, SourceError
from pystack3d_dask.io.tiff.stack import open_tiff
from pystack3d_dask.io.wrappers.scan import Scan, scan, without_unreadable


def test_slices_are_left_out_of_all_channels(tmp_path: Path) -> None:
    a = written(tmp_path / "a", bad=(2,))
    b = written(tmp_path / "b", bad=(2, 5))
    stack = open_tiff({"a": tmp_path / "a", "b": tmp_path / "b"})
    found = scan(stack)
    assert [each[:2] for each in found.unreadable] == [(0, 2), (1, 2), (1, 5)]
    assert str(tmp_path / "b" / "s005.tif") in found.unreadable[2].reason
    left = without_unreadable(stack, found)
    kept = [0, 1, 3, 4, 6, 7]
    assert left.names == tuple(f"s{z:03d}.tif" for z in kept)
    np.testing.assert_array_equal(everything(left, 0), a[kept])
    np.testing.assert_array_equal(everything(left, 1), b[kept])


def test_a_stack_without_readable_slices_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "a", bad=(0, 1, 2, 3))
    written(tmp_path / "b", bad=(4, 5, 6, 7))
    stack = open_tiff({"a": tmp_path / "a", "b": tmp_path / "b"})
    with pytest.raises(SourceError, match=r"none of 8 can be read in every channel.*s000\.tif"):
        without_unreadable(stack, scan(stack))


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    written(tmp_path, bad=())
    stack = opened(tmp_path)
    (tmp_path / "s003.tif").unlink()
    with pytest.raises(PixelError, match=r"s003\.tif"):
        scan(stack)


def test_it_is_remembered_for_this_source_only(tmp_path: Path) -> None:
    written(tmp_path, bad=(1, COUNT - 1))
    stack, path = opened(tmp_path), tmp_path / "scan.json"
    found = scan(stack)
    found.save(path)
    assert Scan.load(path, stack.fingerprint) == found
    assert Scan.load(path, stack.selected(0, 2).fingerprint) is None


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"fingerprint": "x", "unreadable": [3]}'])
def test_what_is_damaged_is_forgotten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "scan.json"
    assert Scan.load(path, "x") is None
    path.write_text(content)
    assert Scan.load(path, "x") is None
