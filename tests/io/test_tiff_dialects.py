"""TIFF files as other programs arrange them: equal to what tifffile reads, or refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiff_files import SHAPE, image, opened, whole, write

from pystack3d_dask.errors import SourceError
from pystack3d_dask.io.tiff.stack import TiffStack

COUNTS = {"strip": "StripByteCounts", "tile": "TileByteCounts"}


def set_counts(path: Path, how: str) -> None:
    """Have the header tell other byte counts than the right ones."""
    with tifffile.TiffFile(path, mode="r+") as tif:
        tags = tif.pages.first.tags
        tag = tags.get("StripByteCounts") or tags["TileByteCounts"]
        values = np.atleast_1d(tag.value).tolist()
        wrong = {"zero": [0] * len(values), "pixels": [value // 2 for value in values]}[how]
        tag.overwrite(wrong if len(wrong) > 1 else wrong[0])


def by_hand(image: Any, left_out: int = 0, order: str = "<", header_first: bool = False) -> bytes:
    """Return an uncompressed TIFF file of two strips without one of its tags."""
    rows, columns = image.shape
    data = image.astype(image.dtype.newbyteorder(order)).tobytes()
    half = -(-rows // 2)
    tags = {
        256: (columns,), 257: (rows,), 258: (16,), 259: (1,), 262: (1,), 277: (1,), 278: (half,),
    }  # fmt: skip
    count = len(tags) + 2 - (left_out in {*tags, 273, 279})
    size = 2 + 12 * count + 4 + 16
    start = 8 + size if header_first else 8
    offsets = (start, start + half * columns * 2)
    tags |= {273: offsets, 279: (half * columns * 2, (rows - half) * columns * 2)}
    tags.pop(left_out, None)
    at = 8 if header_first else 8 + len(data)
    values = at + 2 + 12 * count + 4
    table, behind = struct.pack(f"{order}H", count), b""
    for code, value in sorted(tags.items()):
        table += struct.pack(f"{order}HHI", code, 4, len(value))
        if len(value) > 1:
            table += struct.pack(f"{order}I", values + len(behind))
            behind += struct.pack(f"{order}{len(value)}I", *value)
        else:
            table += struct.pack(f"{order}I", *value)
    header = (table + bytes(4) + behind).ljust(size, b"\0")
    mark = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", at)
    return mark + (header + data if header_first else data + header)


class TestByteCounts:
    @given(
        how=st.sampled_from(["zero", "pixels"]),
        layout=st.sampled_from([{"rowsperstrip": 61}, {"rowsperstrip": 7}, {"tile": (16, 32)}]),
        compression=st.sampled_from([None, "zlib", "lzw", "zstd", "packbits"]),
        byteorder=st.sampled_from("<>"),
        bigtiff=st.booleans(),
    )
    @settings(max_examples=40, deadline=None)
    def test_wrong_ones_never_give_other_pixels(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        how: str,
        layout: dict[str, Any],
        compression: str | None,
        byteorder: Any,
        bigtiff: bool,
    ) -> None:
        folder, pixels = tmp_path_factory.mktemp("counts"), image("uint16")
        options = {"compression": compression, "byteorder": byteorder, "bigtiff": bigtiff}
        write(folder, [pixels], **layout, **options)
        set_counts(folder / "s000.tif", how)
        try:
            stack = opened(folder)
        except SourceError:
            assert compression is not None
            return
        if not stack.faults and (compression is None or how == "zero"):
            np.testing.assert_array_equal(whole(stack)[0], pixels)
        assert compression is not None or not stack.faults

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("left_out", [0, 279])
    def test_without_any_the_rows_tell_the_sizes(
        self, tmp_path: Path, left_out: int, order: str
    ) -> None:
        pixels = image("uint16")
        (tmp_path / "s.tif").write_bytes(by_hand(pixels, left_out, order))
        stack = opened(tmp_path)
        assert not stack.faults
        np.testing.assert_array_equal(whole(stack)[0], pixels)

    @pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd", "packbits"])
    @pytest.mark.parametrize("rows", [61, 7])
    def test_compressed_strips_longer_than_their_counts_are_a_fault(
        self, tmp_path: Path, compression: str, rows: int
    ) -> None:
        write(tmp_path, [image("uint16")] * 2, compression=compression, rowsperstrip=rows)
        assert not opened(tmp_path).faults
        with tifffile.TiffFile(tmp_path / "s001.tif", mode="r+") as tif:
            counts = tif.pages.first.tags[279]
            counts.overwrite(tuple(count // 2 for count in counts.value))
        (fault,) = opened(tmp_path).faults
        assert "s001.tif" in fault
        assert "perhaps as its byte count" in fault

    def test_a_gap_behind_a_strip_is_no_fault(self, tmp_path: Path) -> None:
        path = write(tmp_path, [image("uint16")], compression="zlib") / "s000.tif"
        with path.open("ab") as file:
            file.write(bytes(1000))
        assert not opened(tmp_path).faults

    def test_without_offsets_it_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "s.tif").write_bytes(by_hand(image("uint16"), 273))
        with pytest.raises(SourceError, match="does not say where all pixels are"):
            opened(tmp_path)

    def test_rows_per_strip_that_do_not_fit_the_strips_are_a_fault(self, tmp_path: Path) -> None:
        (tmp_path / "s.tif").write_bytes(by_hand(image("uint16"), 278))
        assert "lists 2 strips" in opened(tmp_path).faults[0]

    def test_the_header_is_never_read_as_pixels(self, tmp_path: Path) -> None:
        data = bytearray(by_hand(image("uint16")))
        at = data.index(struct.pack("<HHII", 257, 4, 1, 61))
        data[at : at + 12] = struct.pack("<HHII", 257, 4, 1, 62)
        (tmp_path / "s.tif").write_bytes(data)
        assert "too few for their rows" in opened(tmp_path).faults[0]

    def test_a_truncated_file_is_told_of_by_its_header(self, tmp_path: Path) -> None:
        path = tmp_path / "s.tif"
        path.write_bytes(by_hand(image("uint16"), header_first=True)[:-1])
        assert "truncated, 1 of" in opened(tmp_path).faults[0]


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_what_pillow_writes_is_read_as_pillow_reads_it(tmp_path: Path, compression: str) -> None:
    pixels = image("uint16")
    Image.fromarray(pixels).save(tmp_path / "s.tif", compression=compression)
    with Image.open(tmp_path / "s.tif") as expected:
        np.testing.assert_array_equal(whole(opened(tmp_path))[0], np.array(expected))


@pytest.mark.parametrize("options", [{"compression": 32909}, {"compression": 8, "predictor": 9}])
def test_what_cannot_be_decoded_is_refused(tmp_path: Path, options: dict[str, int]) -> None:
    tifffile.imwrite(tmp_path / "s.tif", image("uint16"), compression="zlib", predictor=True)
    with tifffile.TiffFile(tmp_path / "s.tif", mode="r+") as tif:
        tags = tif.pages.first.tags
        for name, value in options.items():
            tags[name.capitalize()].overwrite(value)
    with pytest.raises(SourceError, match=r"s\.tif: its pixels cannot be decoded"):
        opened(tmp_path)


def ome(files: list[tuple[str, int, int]], sizes: tuple[int, int], order: str = "XYZCT") -> str:
    """Return the OME-XML of a set: name of the file, z and c of each plane."""
    planes = "".join(
        f'<TiffData FirstZ="{z}" FirstC="{c}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{k}</UUID></TiffData>'
        for k, (name, z, c) in enumerate(files)
    )
    return (
        f'<OME xmlns="x" UUID="urn:uuid:x"><Image ID="Image:0"><Pixels DimensionOrder="{order}" '
        f'Type="uint8" SizeX="53" SizeY="61" SizeZ="{sizes[0]}" SizeC="{sizes[1]}" SizeT="1">'
        f"{planes}</Pixels></Image></OME>"
    )


class TestOmeTiff:
    pixels = image("uint8", (4, *SHAPE))

    def written(self, folder: Path, files: list[tuple[str, int, int]], text: str) -> Path:
        for k, (name, _, _) in enumerate(files):
            tifffile.imwrite(folder / name, self.pixels[k], description=text, metadata=None)
        return folder

    def test_a_set_is_ordered_by_its_xml(self, tmp_path: Path) -> None:
        files = [(f"{name}.ome.tif", z, 0) for name, z in zip("abcd", (2, 0, 3, 1), strict=True)]
        stack = opened(self.written(tmp_path, files, ome(files, (4, 1))))
        np.testing.assert_array_equal(whole(stack), self.pixels[[1, 3, 0, 2]])

    def test_channels_of_a_set_are_not_mixed(self, tmp_path: Path) -> None:
        files = [("a.tif", 0, 0), ("b.tif", 0, 1), ("c.tif", 1, 0), ("d.tif", 1, 1)]
        with pytest.raises(SourceError, match=r"a\.tif: .*Z = 2, C = 2"):
            opened(self.written(tmp_path, files, ome(files, (2, 2))))

    def test_files_that_are_missing_are_told_and_a_lone_one_is_one_slice(
        self, tmp_path: Path
    ) -> None:
        files = [(f"{k}.tif", k, 0) for k in range(4)]
        self.written(tmp_path, files, ome(files, (4, 1)))
        (tmp_path / "3.tif").unlink()
        stack = opened(tmp_path)
        assert any("1 of the 4 files of its set are missing" in note for note in stack.notes)
        np.testing.assert_array_equal(whole(stack), self.pixels[:3])
        np.testing.assert_array_equal(whole(opened(tmp_path / "2.tif")), self.pixels[2:3])

    def test_pages_are_ordered_by_the_xml(self, tmp_path: Path) -> None:
        blocks = "".join(f'<TiffData FirstZ="{3 - k}" IFD="{k}"/>' for k in range(4))
        text = ome([], (4, 1)).replace("</Pixels>", f"{blocks}</Pixels>")
        with tifffile.TiffWriter(tmp_path / "s.ome.tif") as tif:
            for k, pixels in enumerate(self.pixels):
                description = None if k else text
                tif.write(pixels, description=description, metadata=None, contiguous=False)
        np.testing.assert_array_equal(whole(opened(tmp_path)), self.pixels[::-1])

    def test_a_file_with_fewer_pages_than_its_xml_tells_is_refused(self, tmp_path: Path) -> None:
        text = ome([], (9, 1))
        tifffile.imwrite(tmp_path / "s.ome.tif", self.pixels[0], description=text, metadata=None)
        with pytest.raises(SourceError, match=r"tells of 9 planes .* has 1 pages"):
            opened(tmp_path)


class TestPlanesWithoutHeaders:
    pixels = image("uint16", (5, *SHAPE))

    def stk(self, path: Path, planes: int) -> TiffStack:
        """Write a MetaMorph stack: a header for the first plane, the others behind it."""
        uic2 = np.zeros(5, "uint32").tobytes()
        tags = [(33628, 4, 1, 0, True), (33629, 5, 5, uic2, True)]
        tifffile.imwrite(path, self.pixels[0], extratags=tags, metadata=None, rowsperstrip=7)
        with path.open("ab") as file:
            file.write(self.pixels[1:planes].tobytes())
        return opened(path)

    def test_planes_of_metamorph_are_slices(self, tmp_path: Path) -> None:
        np.testing.assert_array_equal(whole(self.stk(tmp_path / "s.tif", 5)), self.pixels)

    def test_fewer_of_them_than_are_told_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match=r"s\.tif: .*5 images.*truncated"):
            self.stk(tmp_path / "s.tif", 1)

    def test_a_stack_cut_within_its_second_image_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "s.tif"
        tifffile.imwrite(path, self.pixels, imagej=True, truncate=True)
        with tifffile.TiffFile(path) as tif:
            end = tif.pages.first.dataoffsets[0] + self.pixels[0].nbytes
        path.write_bytes(path.read_bytes()[: end + 1000])
        with pytest.raises(SourceError, match=r"5 images.*truncated"):
            opened(path)
