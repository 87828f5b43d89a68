"""Slices as TIFF files: as the source has them, whole or not at all."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from tiff_files import COMPRESSIONS, DTYPES, LAYOUTS, image, opened, whole

from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.errors import PixelError
from pystack3d_dask.io.tiff.page import Plane
from pystack3d_dask.io.tiff.writer import (
    Style,
    imagej_resolution,
    read_style,
    stack_description,
    stack_writer,
    write_slice,
)

LARGE = bytes(np.random.default_rng(0).integers(0, 256, 100_000, np.uint8))
TAGS = [
    (51023, 2, 0, "<Fibics>é</Fibics>".encode(), False),
    (34118, 7, len(LARGE), LARGE, False),
    (65100, 3, 3, (1, 2, 60000), False),
    (65101, 3, 1, 513, False),
    (65102, 5, 2, (1, 3, 2, 7), False),
    (65103, 10, 1, (-1, 3), False),
    (65104, 12, 2, (0.1, -2.5), False),
    (65105, 9, 1, -70000, False),
    (65106, 2, 0, b"ab", False),
]


def written(path: Path, pixels: Any, **options: Any) -> Style:
    """Write a slice as microscopes do; return how it is stored."""
    tifffile.imwrite(path, pixels, metadata=None, **{"photometric": "minisblack", **options})
    return style_of(path)


def style_of(path: Path) -> Style:
    return read_style(str(path.parent), Plane(path.name, 0, 0))


def append(path: Path, *styles: Style) -> None:
    with stack_writer(path) as writer:
        for style in styles:
            writer.append(image("uint8"), style)


def raw_tags(path: Path, page: int = 0) -> dict[int, tuple[int, int, bytes]]:
    """Return type, count and bytes of each private tag, as they stand in the file."""
    with tifffile.TiffFile(path) as tif:
        found = {}
        for tag in tif.pages[page].tags:
            if tag.code >= 32768:
                tif.filehandle.seek(tag.valueoffset)
                size = tag.count * struct.calcsize(f"={tifffile.TIFF.DATA_FORMATS[tag.dtype]}")
                found[tag.code] = (int(tag.dtype), tag.count, tif.filehandle.read(size))
        return found


@pytest.mark.parametrize("dtype", DTYPES[:-1])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_slice_is_stored_like_that_of_the_source(
    tmp_path: Path, compression: str, layout: str, dtype: str
) -> None:
    options = COMPRESSIONS[compression] | LAYOUTS[layout]
    pixels = image(dtype)
    style = written(tmp_path / "source.tif", pixels, **options)
    (tmp_path / "out").mkdir()
    write_slice(tmp_path / "out" / "copy.tif", pixels, style)
    np.testing.assert_array_equal(whole(opened(tmp_path / "out"))[0], pixels)
    keys = ("compression", "predictor", "tile", "rowsperstrip", "is_tiled", "dtype")
    with (
        tifffile.TiffFile(tmp_path / "source.tif") as source,
        tifffile.TiffFile(tmp_path / "out" / "copy.tif") as copy,
    ):
        for key in keys:
            assert getattr(copy.pages[0], key) == getattr(source.pages[0], key), key
        assert not copy.is_bigtiff


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_private_tags_keep_type_count_and_every_byte(tmp_path: Path, byteorder: str) -> None:
    source, copy = tmp_path / "source.tif", tmp_path / "copy.tif"
    style = written(source, image("uint16"), extratags=TAGS, byteorder=byteorder)
    write_slice(copy, image("uint16")[:20, :20], style)
    assert len(raw_tags(source)) == len(TAGS)
    assert raw_tags(copy) == raw_tags(source)


def test_tags_of_another_byte_order_keep_their_values_in_a_stack(tmp_path: Path) -> None:
    styles = [
        written(tmp_path / f"{k}.tif", image("uint8"), extratags=TAGS, byteorder=order)
        for k, order in enumerate("<>")
    ]
    append(tmp_path / "stack.tif", *styles)
    assert raw_tags(tmp_path / "stack.tif", 1) == raw_tags(tmp_path / "stack.tif", 0)
    assert raw_tags(tmp_path / "stack.tif", 1) == raw_tags(tmp_path / "0.tif")


def test_tags_that_only_bigtiff_knows_are_kept_in_one(tmp_path: Path) -> None:
    tags = [(65100, 16, 1, 2**40, False)]
    style = written(tmp_path / "source.tif", image("uint8"), extratags=tags, bigtiff=True)
    write_slice(tmp_path / "copy.tif", image("uint8"), style)
    with tifffile.TiffFile(tmp_path / "copy.tif") as tif:
        assert tif.pages[0].tags[65100].value == 2**40


def test_tags_about_the_arrangement_of_another_file_are_left_behind(tmp_path: Path) -> None:
    tags = [(33445, 4, 1, 7, False), (50838, 4, 2, (4, 8), False), (51023, 2, 0, "kept", False)]
    tifffile.imwrite(tmp_path / "source.tif", image("uint8"), metadata=None, extratags=tags)
    write_slice(tmp_path / "copy.tif", image("uint8"), style_of(tmp_path / "source.tif"))
    assert set(raw_tags(tmp_path / "copy.tif")) == {51023}


def test_what_loses_something_becomes_deflate(tmp_path: Path) -> None:
    style = written(tmp_path / "source.tif", image("uint8"), compression="jpeg")
    write_slice(tmp_path / "copy.tif", image("uint8"), style)
    with tifffile.TiffFile(tmp_path / "copy.tif") as tif:
        assert tif.pages[0].compression == 8
        np.testing.assert_array_equal(tif.asarray(), image("uint8"))


def test_white_stays_white(tmp_path: Path) -> None:
    style = written(tmp_path / "source.tif", image("uint8"), photometric="miniswhite")
    write_slice(tmp_path / "copy.tif", image("uint8"), style)
    with tifffile.TiffFile(tmp_path / "copy.tif") as tif:
        assert tif.pages[0].photometric == 0
        np.testing.assert_array_equal(tif.asarray(), image("uint8"))


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, False),
        ({"resolution": (72, 72), "resolutionunit": 2}, False),
        ({"resolution": (1e6, 5e5), "resolutionunit": 3}, True),
        ({"resolution": (2.54e6, 1.27e6), "resolutionunit": 2}, True),
        ({"resolution": (5e5, 1e6), "resolutionunit": 3}, False),
    ],
)
def test_the_resolution_is_that_of_the_source_if_it_tells_the_size_of_pixels(
    tmp_path: Path, options: dict[str, Any], kept: bool
) -> None:
    style = written(tmp_path / "source.tif", image("uint8"), **options)
    size = (0.02, 0.01)
    resolution = style.resolution_of(size)
    assert (resolution == style.resolution) == kept
    assert style.resolution_of(None) == style.resolution
    (tmp_path / "out").mkdir()
    write_slice(tmp_path / "out" / "a.tif", image("uint8"), replace(style, resolution=resolution))
    assert opened(tmp_path / "out").specs[0].pixel_size == pytest.approx(size)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_slice(path, image("uint8"), Style())
    before = path.read_bytes()
    impossible = Style(codec="nonsense")
    with pytest.raises(ValueError, match="NONSENSE"):
        write_slice(path, image("uint8"), impossible)
    with pytest.raises(ValueError, match="NONSENSE"):
        append(path, Style(), impossible)
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]
    assert path.read_bytes() == before


def test_a_damaged_header_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.tif").write_bytes(b"no image")
    with pytest.raises(PixelError, match=r"bad\.tif, page 0: its tags cannot be read"):
        style_of(tmp_path / "bad.tif")


@pytest.mark.parametrize("dtype", DTYPES[:-1])
def test_a_stack_is_a_bigtiff_that_others_read_with_its_distances(
    tmp_path: Path, dtype: str
) -> None:
    stack = image(dtype, (5, 40, 30))
    spec = StackSpec(
        shape=stack.shape,
        dtype=stack.dtype,
        source_dtype=stack.dtype,
        z=tuple(1 + 0.03 * k for k in range(5)),
        pixel_size=(0.02, 0.01),
        origin=(4, 6),
    )
    style = Style(resolution=imagej_resolution(spec))
    with stack_writer(tmp_path / "stack.tif", threads=2) as writer:
        for z, pixels in enumerate(stack):
            writer.append(pixels, style, None if z else stack_description(spec))
    assert (tmp_path / "stack.tif").read_bytes()[:4] == b"II+\0"
    with tifffile.TiffFile(tmp_path / "stack.tif") as tif:
        assert tif.imagej_metadata["spacing"] == 0.03
        assert tif.imagej_metadata["unit"] == "micron"
        assert tif.series[0].axes == "ZYX"
        np.testing.assert_array_equal(tif.asarray(), stack)
    found = opened(tmp_path / "stack.tif")
    assert found.specs[0].pixel_size == pytest.approx((0.02, 0.01))
    assert found.specs[0].z == pytest.approx(spec.z)
    assert found.specs[0].offset == pytest.approx((0, 0.08, 0.06))
    np.testing.assert_array_equal(whole(found), stack)
