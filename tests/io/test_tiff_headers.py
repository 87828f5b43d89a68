"""Opening TIFF files: what their headers and names say."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from tiff_files import COMPRESSIONS, SHAPE, image, opened, whole, write

from pystack3d_dask.core.spec import Region
from pystack3d_dask.errors import SourceError
from pystack3d_dask.io.tiff.stack import open_tiff


def claim(path: Path, values: dict[str, int]) -> None:
    """Have the header of the first page tell something else."""
    with tifffile.TiffFile(path, mode="r+") as tif:
        for name, value in values.items():
            tif.pages.first.tags[name].overwrite(value, dtype=4)


class TestMultiPage:
    @pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
    @pytest.mark.parametrize("compression", ["raw", "lzw-predictor"])
    def test_each_page_is_a_slice(
        self, tmp_path: Path, options: dict[str, Any], compression: str
    ) -> None:
        pixels = image("uint16", (5, *SHAPE))
        path = tmp_path / "stack.tif"
        tifffile.imwrite(
            path, pixels, photometric="minisblack", **COMPRESSIONS[compression], **options
        )
        for location in (path, tmp_path):
            stack = opened(location)
            assert stack.specs[0].shape == pixels.shape
            np.testing.assert_array_equal(whole(stack), pixels)
            part = Region((2, 10, 20), (4, 30, 50))
            np.testing.assert_array_equal(stack.read(0, part), pixels[part.slices])
        assert stack.names[:2] == ("stack_0000.tif", "stack_0001.tif")

    @pytest.mark.parametrize("options", [{"imagej": True}, {"metadata": {"axes": "ZYX"}}])
    def test_one_header_may_describe_all_slices(
        self, tmp_path: Path, options: dict[str, Any]
    ) -> None:
        pixels = image("uint16", (4, *SHAPE))
        path = tmp_path / "stack.tif"
        tifffile.imwrite(path, pixels, photometric="minisblack", truncate=True, **options)
        with tifffile.TiffFile(path) as tif:
            assert len(tif.pages) == 1
        np.testing.assert_array_equal(whole(opened(path)), pixels)

    def test_a_description_left_over_from_a_stack_does_not_make_slices(
        self, tmp_path: Path
    ) -> None:
        pixels = image("uint8")
        tifffile.imwrite(
            tmp_path / "one.tif", pixels, description="ImageJ=1.53t\nimages=41\n", metadata=None
        )
        assert opened(tmp_path).specs[0].shape == (1, *SHAPE)

    def test_pages_of_several_sizes_are_refused(self, tmp_path: Path) -> None:
        with tifffile.TiffWriter(tmp_path / "stack.tif") as tif:
            for shape in (SHAPE, SHAPE, (30, 20)):
                tif.write(image("uint8", shape), contiguous=False)
        with pytest.raises(SourceError, match=r"stack\.tif, page 2: 30 rows and 20 columns"):
            opened(tmp_path)

    @pytest.mark.parametrize("size", [0.3, 0.5, 0.9])
    def test_a_chain_of_pages_that_breaks_off_is_refused(self, tmp_path: Path, size: float) -> None:
        path = tmp_path / "stack.tif"
        with tifffile.TiffWriter(path) as tif:
            for k in range(10):
                tif.write(image("uint8", seed=k), contiguous=False)
        os.truncate(path, int(path.stat().st_size * size))
        with pytest.raises(SourceError, match=r"stack\.tif.*(break off|truncated)"):
            opened(path)

    def test_interleaved_channels_are_refused(self, tmp_path: Path) -> None:
        pixels = image("uint8", (5, 2, *SHAPE))
        tifffile.imwrite(tmp_path / "h.tif", pixels, imagej=True, metadata={"axes": "ZCYX"})
        with pytest.raises(SourceError, match=r"h\.tif.*channels = 2, slices = 5"):
            opened(tmp_path)

    def test_ome_channels_are_refused(self, tmp_path: Path) -> None:
        pixels = image("uint8", (2, 5, *SHAPE))
        tifffile.imwrite(tmp_path / "h.ome.tif", pixels, metadata={"axes": "CZYX"})
        with pytest.raises(SourceError, match=r"h\.ome\.tif.*C = 2"):
            opened(tmp_path)

    def test_several_multi_page_files_are_refused(self, tmp_path: Path) -> None:
        for name in "ab":
            tifffile.imwrite(tmp_path / f"{name}.tif", image("uint8", (3, *SHAPE)), photometric=0)
        with pytest.raises(SourceError, match=r"a\.tif, b\.tif: it holds 3 slices"):
            opened(tmp_path)

    def test_a_thumbnail_is_not_a_slice(self, tmp_path: Path) -> None:
        pixels = image("uint8")
        for name in "ab":
            with tifffile.TiffWriter(tmp_path / f"{name}.tif") as tif:
                tif.write(pixels)
                tif.write(pixels[:8, :8], subfiletype=1)
        np.testing.assert_array_equal(whole(opened(tmp_path)), [pixels, pixels])


class TestHeaders:
    def test_files_are_sorted_by_name_and_hidden_or_other_ones_skipped(
        self, tmp_path: Path
    ) -> None:
        for k, name in enumerate(["b.TIF", "a.tiff", "c.Tiff", ".d.tif", "e.png"]):
            tifffile.imwrite(tmp_path / name, np.full((4, 5), k, "uint8"))
        (tmp_path / "folder.tif").mkdir()
        stack = opened(tmp_path)
        assert stack.names == ("a.tiff", "b.TIF", "c.Tiff")
        assert whole(stack)[:, 0, 0].tolist() == [1, 0, 2]

    @pytest.mark.parametrize("dtype", ["bool", "uint32", "int32", "uint64", "complex64", "float16"])
    def test_other_types_are_refused_by_name(self, tmp_path: Path, dtype: str) -> None:
        write(tmp_path, [np.zeros(SHAPE, dtype)])
        with pytest.raises(
            SourceError, match=rf"s000\.tif: its pixels are {dtype}; expected uint8"
        ):
            opened(tmp_path)

    def test_everything_wrong_is_reported_at_once(self, tmp_path: Path) -> None:
        write(tmp_path, [image("uint8")] * 4)
        tifffile.imwrite(tmp_path / "t1.tif", image("uint8", (60, 53)))
        tifffile.imwrite(tmp_path / "t2.tif", image("uint16"))
        (tmp_path / "t3.tif").write_bytes(b"")
        (tmp_path / "t4.tif").write_bytes(b"no image at all")
        (tmp_path / "t5.tif").write_bytes((tmp_path / "s000.tif").read_bytes()[:12])
        (tmp_path / "t6.tif").symlink_to(tmp_path / "t6.tif")
        (tmp_path / "t7.tif").symlink_to(tmp_path / "nowhere.tif")
        with pytest.raises(SourceError) as caught:
            opened(tmp_path)
        message = str(caught.value)
        assert "t1.tif: 60 rows and 53 columns; expected 61 rows and 53 columns" in message
        assert "t2.tif: uint16; expected uint8" in message
        for k in range(1, 8):
            assert f"t{k}.tif: " in message
        assert "s000" not in message
        assert len(message.splitlines()) == 1 + 7

    def test_long_lists_of_problems_are_cut(self, tmp_path: Path) -> None:
        write(tmp_path, [np.zeros((8, 8 + k), "uint8") for k in range(38)])
        with pytest.raises(SourceError, match="and 27 more") as caught:
            opened(tmp_path)
        assert len(str(caught.value).splitlines()) == 12

    def test_truncated_headers_are_refused(self, tmp_path: Path) -> None:
        write(tmp_path, [image("uint8")] * 3, rowsperstrip=1)
        path = tmp_path / "s001.tif"
        content = path.read_bytes()
        with tifffile.TiffFile(path) as tif:
            end = tif.pages.first.tags["StripByteCounts"].valueoffset
        for size in range(0, end, 7):
            path.write_bytes(content[:size])
            with pytest.raises(SourceError, match=r"s001\.tif: \w"):
                opened(tmp_path)

    @pytest.mark.parametrize("compression", ["raw", "deflate", "lzw", "zstd"])
    @pytest.mark.parametrize("sides", [("width",), ("length",), ("width", "length")])
    def test_more_pixels_than_the_file_can_hold_are_refused(
        self, tmp_path: Path, compression: str, sides: tuple[str, ...]
    ) -> None:
        path = tmp_path / "s.tif"
        tifffile.imwrite(path, image("uint8"), rowsperstrip=61, **COMPRESSIONS[compression])
        claim(
            path, {f"Image{side.capitalize()}": 2**31 for side in sides} | {"RowsPerStrip": 2**31}
        )
        with pytest.raises(SourceError, match=r"s\.tif: .*2147483648.* than the file can hold"):
            opened(path)

    def test_tiles_larger_than_the_file_can_hold_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "s.tif"
        tifffile.imwrite(path, image("uint8"), tile=(64, 64), compression="zlib")
        claim(path, {"TileWidth": 2**31})
        with pytest.raises(SourceError, match=r"s\.tif: .*more than the file can hold"):
            opened(path)

    def test_a_blank_slice_is_not_taken_for_a_damaged_one(self, tmp_path: Path) -> None:
        blank = np.zeros((2000, 2000), "uint16")
        for compression in ("deflate", "lzw", "zstd"):
            path = tmp_path / f"{compression}.tif"
            tifffile.imwrite(path, blank, rowsperstrip=2000, **COMPRESSIONS[compression])
            assert not whole(opened(path)).any()

    def test_a_description_of_more_images_than_there_are_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "s.tif"
        text = "ImageJ=1.53t\nimages=2000000000\n"
        tifffile.imwrite(path, image("uint8"), description=text, metadata=None)
        with path.open("ab") as file:
            file.write(bytes(2 * image("uint8").nbytes))
        with pytest.raises(SourceError, match=r"s\.tif: .*2000000000 images.*truncated"):
            opened(path)

    def test_no_slices_at_all_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match=r"no slices; expected \*\.tif"):
            opened(tmp_path)

    def test_channels_must_agree_in_count_and_size_but_not_in_type(self, tmp_path: Path) -> None:
        esb = write(tmp_path / "ESB", [image("uint8")] * 3)
        se2 = write(tmp_path / "SE2", [image("uint16")] * 3)
        stack = open_tiff({"ESB": esb, "SE2": se2})
        assert [spec.dtype.name for spec in stack.specs] == ["uint8", "uint16"]
        (se2 / "s001.tif").unlink()
        with pytest.raises(SourceError, match="'ESB' has 3, 'SE2' has 2"):
            open_tiff({"ESB": esb, "SE2": se2})
        write(se2, [image("uint16", (8, 8))] * 2)
        with pytest.raises(SourceError, match=r"SE2.s000\.tif, s001\.tif: 8 rows"):
            open_tiff({"ESB": esb, "SE2": se2})


class TestPositions:
    def test_are_taken_from_names(self, tmp_path: Path) -> None:
        names = ["s1_z=-0.5000um.tif", "s2_z=0.25um.tif", "s3_z=1um.tif"]
        for name in names:
            tifffile.imwrite(tmp_path / name, image("uint8"))
        stack = opened(tmp_path)
        assert stack.specs[0].z == (-0.5, 0.25, 1.0)
        assert stack.selected(1, 9).specs[0].z == (0.25, 1.0)
        (tmp_path / names[1]).rename(tmp_path / "s2.tif")
        assert opened(tmp_path).specs[0].z is None

    def test_are_unknown_when_one_file_holds_all_slices(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "z=1um.tif", image("uint8", (3, *SHAPE)), photometric=0)
        assert opened(tmp_path).specs[0].z is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"resolution": (1e6, 5e5), "resolutionunit": "CENTIMETER"}, (0.02, 0.01)),
        ({"resolution": (2.54e6, 2.54e6), "resolutionunit": "INCH"}, (0.01, 0.01)),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (1e6, 1e6), "resolutionunit": "NONE"}, None),
        ({"imagej": True, "resolution": (100, 50), "metadata": {"unit": "micron"}}, (0.02, 0.01)),
        ({"imagej": True, "resolution": (0.1, 0.1), "metadata": {"unit": "nm"}}, (0.01, 0.01)),
        ({"imagej": True, "resolution": (0.1, 0.1), "metadata": {"unit": "pixel"}}, None),
    ],
)
def test_pixel_size_is_known_when_the_file_has_a_real_unit(
    tmp_path: Path, options: dict[str, Any], expected: tuple[float, float] | None
) -> None:
    write(tmp_path, [image("uint8")], **options)
    found = opened(tmp_path).specs[0].pixel_size
    assert found == (None if expected is None else pytest.approx(expected))


def test_damaged_resolution_tags_do_not_keep_a_stack_closed(tmp_path: Path) -> None:
    path = write(tmp_path, [image("uint8")], resolution=(1e4, 1e4), resolutionunit=3) / "s000.tif"
    assert opened(path).specs[0].pixel_size == (1.0, 1.0)
    claim(path, {"XResolution": 10_000})
    assert opened(path).specs[0].pixel_size is None


class TestIdentity:
    def test_fingerprint_follows_files_and_selection(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "a", [image("uint8")] * 4)
        stack = opened(folder)
        seen = {
            stack.fingerprint,
            stack.selected(0, 3).fingerprint,
            stack.selected(1, 4).fingerprint,
        }
        assert stack.selected(-1, 9).fingerprint == stack.fingerprint
        os.utime(folder / "s001.tif", ns=(0, 0))
        seen.add(opened(folder).fingerprint)
        (folder / "s003.tif").rename(folder / "s004.tif")
        seen.add(opened(folder).fingerprint)
        (folder / "s004.tif").unlink()
        seen.add(opened(folder).fingerprint)
        assert len(seen) == 6

    def test_fingerprint_does_not_depend_on_the_place(self, tmp_path: Path) -> None:
        before = opened(write(tmp_path / "a", [image("uint8")] * 2)).fingerprint
        shutil.move(tmp_path / "a", tmp_path / "b")
        assert opened(tmp_path / "b").fingerprint == before

    def test_selected_slices_are_the_same_pixels(self, tmp_path: Path) -> None:
        pixels = image("uint8", (5, *SHAPE))
        part = opened(write(tmp_path, pixels)).selected(1, 4)
        assert part.specs[0].shape == (3, *SHAPE)
        assert part.names == ("s001.tif", "s002.tif", "s003.tif")
        np.testing.assert_array_equal(whole(part), pixels[1:4])
        np.testing.assert_array_equal(whole(part.selected(1, 2)), pixels[2:3])

    def test_pickles_small_and_reads_after_it(self, tmp_path: Path) -> None:
        pixels = image("uint8", (200, 8, 8))
        stack = opened(write(tmp_path, pixels, compression="zlib", rowsperstrip=1))
        whole(stack)
        packed = pickle.dumps(stack)
        assert len(packed) < 200 * 100
        np.testing.assert_array_equal(whole(pickle.loads(packed)), pixels)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes among files")
def test_a_pipe_is_named_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(write(tmp_path, [image("uint8")]) / "a.tif")
    with pytest.raises(SourceError, match=r"a\.tif: it is not a regular file"):
        open_tiff({"c": tmp_path})


def test_a_fault_of_many_slices_is_told_once_with_all_of_them(tmp_path: Path) -> None:
    write(tmp_path, [image("uint8")] * 12)
    for k in (1, 2, 3, 7):
        write(tmp_path, [image("uint8", (4, 5))], f"s{k:03d}.tif")
    with pytest.raises(SourceError) as raised:
        open_tiff({"c": tmp_path})
    first, second = str(raised.value).splitlines()
    assert first == "the slices cannot be opened as one stack:"
    names, why = second.split(": ")
    assert names == f"  {tmp_path / 's001.tif'}, s002.tif, s003.tif, s007.tif"
    assert why == "4 rows and 5 columns; expected 61 rows and 53 columns like most slices"


def test_of_very_many_faulty_slices_the_first_are_named(tmp_path: Path) -> None:
    write(tmp_path, [image("uint8")] * 40)
    write(tmp_path, [image("uint8", (4, 5))] * 15)
    with pytest.raises(SourceError, match=r"s008\.tif, s009\.tif and 5 more: 4 rows and 5 columns"):
        open_tiff({"c": tmp_path})
