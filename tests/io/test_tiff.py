"""Reading pixels from TIFF files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from real_images import ATLAS, needs
from tiff_files import COMPRESSIONS, DTYPES, LAYOUTS, SHAPE, image, opened, segments, whole, write

from pystack3d_dask.core.spec import Region
from pystack3d_dask.errors import PixelError, SourceError
from pystack3d_dask.io.tiff import page as tiff_page
from pystack3d_dask.io.tiff.stack import TiffStack, open_tiff

REGIONS = (
    Region((0, 0, 0), (1, 61, 53)),
    Region((0, 6, 31), (1, 8, 33)),
    Region((0, 60, 52), (1, 61, 53)),
)


def damage(path: Path, kept: Sequence[int]) -> None:
    """Overwrite all strips or tiles but those kept with bytes no codec accepts."""
    with path.open("r+b") as file:
        for index, (offset, size) in enumerate(segments(path)):
            if index not in kept:
                file.seek(offset)
                file.write(b"\xff" * size)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_region_equals_the_written_pixels(
    tmp_path: Path, compression: str, layout: str, dtype: str, byteorder: str
) -> None:
    pixels = image(dtype)
    options = COMPRESSIONS[compression] | LAYOUTS[layout]
    stack = opened(write(tmp_path, [pixels], byteorder=byteorder, **options))
    expected = pixels.astype("float32") if dtype == "float64" else pixels
    for region in REGIONS:
        values = stack.read(0, region)
        assert values.shape == region.shape
        assert values.dtype == expected.dtype == stack.specs[0].dtype
        assert values.dtype.isnative
        assert values.flags.c_contiguous
        np.testing.assert_array_equal(values[0], expected[region.slices[1:]])


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> tuple[TiffStack, Any]:
    """Return a stack whose slices are stored each in its own way, and its pixels."""
    folder = tmp_path_factory.mktemp("varied")
    pixels = image("uint16", (6, *SHAPE))
    ways = itertools.cycle(itertools.product(("raw", "lzw-predictor"), LAYOUTS))
    for k, (compression, layout) in zip(range(len(pixels)), ways, strict=False):
        options = COMPRESSIONS[compression] | LAYOUTS[layout]
        tifffile.imwrite(folder / f"s{k}.tif", pixels[k], **options)
    return opened(folder), pixels


@st.composite
def regions(draw: st.DrawFn, shape: tuple[int, int, int]) -> Region:
    bounds = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    (z0, z1), (y0, y1), (x0, x1) = bounds
    return Region((z0, y0, x0), (z1, y1, x1))


@given(region=regions((6, *SHAPE)))
def test_any_region_equals_slicing_the_whole(varied: tuple[TiffStack, Any], region: Region) -> None:
    stack, pixels = varied
    values = stack.read(0, region)
    assert values.shape == region.shape
    np.testing.assert_array_equal(values, pixels[region.slices])


@pytest.mark.parametrize("compression", ["deflate", "lzw", "zstd"])
def test_strips_outside_the_region_are_not_decoded(tmp_path: Path, compression: str) -> None:
    pixels = image("uint16")
    write(tmp_path, [pixels], rowsperstrip=7, **COMPRESSIONS[compression])
    damage(tmp_path / "s000.tif", kept=[2, 3])
    stack = opened(tmp_path)
    inside = Region((0, 14, 5), (1, 28, 40))
    np.testing.assert_array_equal(stack.read(0, inside)[0], pixels[14:28, 5:40])
    with pytest.raises(PixelError, match=r"s000\.tif"):
        stack.read(0, Region((0, 13, 5), (1, 28, 40)))


def test_tiles_outside_the_region_are_not_decoded(tmp_path: Path) -> None:
    pixels = image("uint8")
    write(tmp_path, [pixels], tile=(16, 32), compression="zlib")
    damage(tmp_path / "s000.tif", kept=[3, 5])  # the second of two columns, rows 16 to 47
    stack = opened(tmp_path)
    np.testing.assert_array_equal(
        stack.read(0, Region((0, 16, 32), (1, 48, 53)))[0], pixels[16:48, 32:]
    )
    with pytest.raises(PixelError):
        stack.read(0, Region((0, 16, 31), (1, 48, 53)))


def test_only_wanted_rows_of_an_uncompressed_strip_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = image("uint16")
    stack = opened(write(tmp_path, [pixels]))
    sizes = counted(monkeypatch)
    np.testing.assert_array_equal(
        stack.read(0, Region((0, 9, 3), (1, 11, 5)))[0], pixels[9:11, 3:5]
    )
    assert sizes == [2 * 53 * 2]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that receives the size of every read of pixels."""
    sizes: list[int] = []
    original = tiff_page._bytes

    def read(page: Any, offset: int, count: int) -> bytes:
        sizes.append(count)
        return original(page, offset, count)

    monkeypatch.setattr(tiff_page, "_bytes", read)
    return sizes


class TestColor:
    colors = image("uint8", (*SHAPE, 3))

    @pytest.fixture(params=["contig", "separate"])
    def folder(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        separate = request.param == "separate"
        pixels = np.moveaxis(self.colors, -1, 0) if separate else self.colors
        return write(
            tmp_path / "ESB",
            [pixels, pixels],
            photometric="rgb",
            planarconfig=request.param,
            rowsperstrip=7,
            compression="zlib",
        )

    def test_is_refused_by_default_with_what_to_do(self, folder: Path) -> None:
        with pytest.raises(
            SourceError,
            match=r's000\.tif, s001\.tif: it is RGB.*samples = "luminance"',
        ):
            opened(folder)

    def test_luminance_is_rec_601_rounded_in_the_type_of_the_source(self, folder: Path) -> None:
        stack = opened(folder, samples="luminance")
        expected = self.colors @ np.array([0.299, 0.587, 0.114])
        assert stack.channels == (".",)
        assert stack.specs[0].dtype == np.uint8
        np.testing.assert_allclose(whole(stack)[1], expected, rtol=0, atol=0.5001)

    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
    def test_luminance_of_gray_is_itself(self, tmp_path: Path, dtype: str) -> None:
        gray = image(dtype)
        write(tmp_path, [np.stack([gray] * 3, axis=-1)], photometric="rgb")
        np.testing.assert_array_equal(whole(opened(tmp_path, samples="luminance"))[0], gray)

    def test_samples_become_channels(self, folder: Path) -> None:
        stack = opened(folder, samples="channels")
        assert stack.channels == ("R", "G", "B")
        part = Region((0, 3, 4), (2, 30, 50))
        for k in range(3):
            expected = self.colors[3:30, 4:50, k]
            np.testing.assert_array_equal(stack.read(k, part), [expected, expected])

    def test_samples_of_several_channels_keep_the_channel_in_their_names(
        self, folder: Path
    ) -> None:
        gray = write(folder.parent / "SE2", [image("uint16")] * 2)
        stack = open_tiff({"ESB": folder, "SE2": gray}, samples="channels")
        assert stack.channels == ("ESB:R", "ESB:G", "ESB:B", "SE2")
        assert [spec.dtype.name for spec in stack.specs] == ["uint8"] * 3 + ["uint16"]

    def test_luminance_of_what_is_not_rgb_is_refused(self, tmp_path: Path) -> None:
        write(
            tmp_path, [image("uint8", (*SHAPE, 2))], photometric="minisblack", planarconfig="contig"
        )
        with pytest.raises(SourceError, match=r'2 samples.*samples = "channels"'):
            opened(tmp_path, samples="luminance")
        assert opened(tmp_path, samples="channels").channels == ("0", "1")


def test_white_is_zero_is_left_as_stored(tmp_path: Path) -> None:
    pixels = image("uint8")
    stack = opened(write(tmp_path, [pixels], photometric="miniswhite"))
    np.testing.assert_array_equal(whole(stack)[0], pixels)


def test_tiles_without_bytes_are_zero(tmp_path: Path) -> None:
    tile = image("uint8", (16, 16))

    def tiles() -> Iterator[Any]:
        yield from (tile, None, None, tile)

    tifffile.imwrite(tmp_path / "sparse.tif", tiles(), shape=(32, 32), dtype="uint8", tile=(16, 16))
    expected = np.zeros((32, 32), "uint8")
    expected[:16, :16] = expected[16:, 16:] = tile
    np.testing.assert_array_equal(whole(opened(tmp_path))[0], expected)


def test_float64_beyond_float32_becomes_infinite(tmp_path: Path) -> None:
    write(tmp_path, [np.array([[1e300, 1.0]])])
    np.testing.assert_array_equal(whole(opened(tmp_path))[0], [[np.inf, 1.0]])


class TestDamage:
    @pytest.mark.parametrize("layout", ["one-strip", "strips-of-7", "tiles"])
    @pytest.mark.parametrize("compression", COMPRESSIONS)
    def test_truncation_never_gives_wrong_pixels(
        self, tmp_path: Path, compression: str, layout: str
    ) -> None:
        pixels = image("uint16")
        write(tmp_path, [pixels], **(COMPRESSIONS[compression] | LAYOUTS[layout]))
        path = tmp_path / "s000.tif"
        stack, content = opened(tmp_path), path.read_bytes()
        end = max(offset + size for offset, size in segments(path))
        for cut in (end - 1, end - 2, end * 3 // 4, end // 2):
            path.write_bytes(content[:cut])
            with pytest.raises(PixelError, match=r"s000\.tif, page 0: .*\w"):
                whole(stack)

    @pytest.mark.parametrize("compression", ["deflate", "lzw", "zstd"])
    def test_compressed_data_that_end_early_are_refused(
        self, tmp_path: Path, compression: str
    ) -> None:
        write(tmp_path, [image("uint16")], rowsperstrip=61, **COMPRESSIONS[compression])
        path = tmp_path / "s000.tif"
        with tifffile.TiffFile(path, mode="r+") as tif:
            tag = tif.pages.first.tags["StripByteCounts"]
            tag.overwrite(tag.value[0] // 2)
        with pytest.raises(PixelError, match=r"s000\.tif"):
            whole(opened(tmp_path))

    def test_the_size_of_an_uncompressed_strip_follows_from_its_rows(self, tmp_path: Path) -> None:
        pixels = image("uint16")
        write(tmp_path, [pixels], rowsperstrip=61)
        with tifffile.TiffFile(tmp_path / "s000.tif", mode="r+") as tif:
            tif.pages.first.tags["StripByteCounts"].overwrite(100)
        np.testing.assert_array_equal(whole(opened(tmp_path))[0], pixels)

    def test_a_vanished_file_is_named(self, tmp_path: Path) -> None:
        stack = opened(write(tmp_path, [image("uint8")] * 2))
        (tmp_path / "s001.tif").unlink()
        with pytest.raises(PixelError, match=r"s001\.tif"):
            whole(stack)

    def test_a_file_replaced_by_another_kind_is_refused(self, tmp_path: Path) -> None:
        stack = opened(write(tmp_path, [image("uint8")] * 2))
        tifffile.imwrite(tmp_path / "s001.tif", image("uint16"))
        with pytest.raises(PixelError, match=r"s001\.tif.*61 x 53 uint8.*61 x 53 uint16 now"):
            whole(stack)

    def test_the_page_of_a_multi_page_file_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "stack.tif"
        with tifffile.TiffWriter(path) as tif:
            for k in range(3):
                tif.write(image("uint8", seed=k), contiguous=False)
        stack = opened(path)
        os.truncate(path, path.stat().st_size - 10)
        stack.read(0, stack.specs[0].region.with_z(0, 2))
        with pytest.raises(PixelError, match=r"stack\.tif, page 2: .*truncated"):
            whole(stack)

    @pytest.mark.parametrize("tag", ["StripByteCounts", "StripOffsets"])
    def test_sizes_beyond_the_end_of_the_file_take_no_memory(
        self, tmp_path: Path, tag: str
    ) -> None:
        path = tmp_path / "s.tif"
        tifffile.imwrite(path, image("uint8"), compression="zlib", bigtiff=True)
        with tifffile.TiffFile(path, mode="r+b") as tif:
            tif.pages.first.tags[tag].overwrite(2**61)
        with pytest.raises(PixelError, match=r"s\.tif, page 0: .*truncated, \d+ of \d+ bytes"):
            whole(opened(path))

    def test_a_region_outside_the_stack_is_refused(self, tmp_path: Path) -> None:
        stack = opened(write(tmp_path, [image("uint8")]))
        with pytest.raises(ValueError, match="not inside"):
            stack.read(0, Region((0, 0, 0), (1, 62, 53)))


@needs(ATLAS)
class TestRealAcquisition:
    signal = Region((0, 3800, 1880), (1, 4298, 8582))

    def test_header(self) -> None:
        stack = opened(ATLAS)
        assert stack.specs[0].shape == (3, 9600, 9600)
        assert stack.specs[0].dtype == np.uint16
        assert stack.specs[0].z == (8.5521, 8.5601, 8.5681)

    def test_a_region_is_read_alone_and_equals_the_whole(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stack = opened(ATLAS)
        sizes = counted(monkeypatch)
        part = stack.read(0, self.signal)
        assert len(sizes) == 498  # of 9600 strips of one row
        full = tifffile.imread(ATLAS / stack.names[0], maxworkers=1)
        np.testing.assert_array_equal(part[0], full[self.signal.slices[1:]])
        assert part.any()
