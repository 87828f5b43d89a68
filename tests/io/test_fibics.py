"""Metadata of Zeiss Atlas: what is taken, from where, and that hostile ones do no harm."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from atlas_files import TAG, setup_xml, slice_xml, write_slices
from real_images import ATLAS, needs
from stacks import write_params
from tiff_files import image, opened, whole

import pystack3d_dask as ps
from pystack3d_dask.io.microscopes.fibics import parse_setup, parse_slice, read_setup, setup_files
from pystack3d_dask.io.microscopes.slice_metadata import LARGEST, MetadataError, Rectangle, joined

SHAPE = (20, 30)
LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    + "]><Fibics><ATLAS3D><Slice><ZPos>&j;</ZPos></Slice></ATLAS3D></Fibics>"
).encode()
EXTERNAL = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///secret.txt">]>'
    b"<Fibics><Image><Detector>&e;</Detector></Image></Fibics>"
)
REMOTE = b'<!DOCTYPE Fibics SYSTEM "http://127.0.0.1:9/x.dtd"><Fibics/>'
HOSTILE = {"billion laughs": LAUGHS, "external entity": EXTERNAL, "remote type": REMOTE}
DAMAGED = {
    "empty": b" ",
    "cut off": slice_xml(SHAPE, z=1)[:200],
    "no xml": b"Pixel Size = 8 nm",
    "another root": b"<Other/>",
    "unknown encoding": b'<?xml version="1.0" encoding="nonsense"?><Fibics/>',
    "undeclared entity": b"<Fibics>&nbsp;</Fibics>",
    "deeply nested": b"<a>" * 100_000,
}


def stack(dtype: str = "uint8", slices: int = 3) -> list[np.ndarray]:
    return [image(dtype, SHAPE, seed) for seed in range(slices)]


@needs(ATLAS)
class TestRealFiles:
    def test_slices_tell_pixel_size_and_positions_of_their_names(self) -> None:
        spec = opened(ATLAS).specs[0]
        assert spec.pixel_size == pytest.approx((0.0079988, 0.0079988), rel=1e-5)
        assert spec.z == (8.5521, 8.5601, 8.5681)
        assert spec.z_metadata == pytest.approx(spec.z, abs=5e-5)
        assert np.diff(spec.z_metadata) == pytest.approx([0.008, 0.0079463], abs=1e-7)

    def test_the_region_is_where_pixels_are(self) -> None:
        found = opened(ATLAS)
        (metadata,) = found.metadata
        assert metadata is not None
        assert (metadata.shape, metadata.detector) == ((9600, 9600), "ESB")
        pixels = tifffile.imread(ATLAS / found.names[0])
        rows, columns = (np.flatnonzero(pixels.any(axis)) for axis in (1, 0))
        assert metadata.region is not None
        top, bottom, left, right = metadata.region
        assert top <= rows[0] <= top + 10
        assert rows[-1] < bottom <= rows[-1] + 10
        assert left <= columns[0] <= left + 10
        assert columns[-1] < right <= columns[-1] + 10
        assert found.notes == ()

    def test_a_set_up_tells_of_its_own_acquisition(self) -> None:
        (path,) = setup_files([ATLAS])
        setup = read_setup(path)
        assert setup.shape == (4224, 4224)
        assert setup.pixel_size == pytest.approx((0.01, 0.01), rel=1e-6)
        assert (setup.thickness, setup.detectors) == (0.01, ("SE2", "ESB"))
        # 25.16 x 23.13 micrometers, more of it above the center than below
        assert setup.regions == (Rectangle(756, 3273, 927, 3241),)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_slices_that_are_not_square_tell_their_own_metadata(
    tmp_path: Path, dtype: str, byteorder: str
) -> None:
    values = [slice_xml(SHAPE, pixel=(0.02, 0.005), z=0.02 * k + 3) for k in range(3)]
    found = opened(write_slices(tmp_path, stack(dtype), values, byteorder=byteorder))
    spec = found.specs[0]
    assert spec.pixel_size == (0.02, 0.005)
    assert spec.z == spec.z_metadata == pytest.approx((3, 3.02, 3.04))
    assert found.selected(1, 3).specs[0].z_metadata == pytest.approx((3.02, 3.04))
    assert found.notes == ()
    np.testing.assert_array_equal(whole(found), stack(dtype))


def test_regions_of_all_slices_are_joined(tmp_path: Path) -> None:
    boxes = [(4, 9, 5, 12), (3, 7, 6, 12), None]
    values = [slice_xml(SHAPE, box=box) for box in boxes]
    (metadata,) = opened(write_slices(tmp_path, stack(), values)).metadata
    assert metadata is not None
    assert metadata.region == Rectangle(3, 10, 5, 13)


@pytest.mark.parametrize("lacking", ["position", "number", "tag"])
def test_positions_count_only_when_every_slice_has_one(tmp_path: Path, lacking: str) -> None:
    others = {"position": slice_xml(SHAPE), "number": slice_xml(SHAPE, z="NAN"), "tag": None}
    values = [slice_xml(SHAPE, z=1), others[lacking], slice_xml(SHAPE, z=3)]
    found = opened(write_slices(tmp_path, stack(), values))
    assert found.specs[0].z is None
    assert found.specs[0].z_metadata is None
    assert found.specs[0].pixel_size == (0.008, 0.008)
    (note,) = found.notes
    assert "slice_00001.tif: no z position in its metadata (1 of 3 slices have none)" in note


def test_later_slices_are_not_searched_when_the_first_has_no_tag(tmp_path: Path) -> None:
    values = [None, slice_xml(SHAPE, z=2), b"damaged"]
    found = opened(write_slices(tmp_path, stack(), values))
    assert (found.specs[0].z_metadata, found.metadata, found.notes) == (None, (None,), ())


def test_pages_of_a_file_tell_their_own_positions(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path) as tif:
        for k, pixels in enumerate(stack()):
            value = slice_xml(SHAPE, z=k / 2)
            tag = (TAG, 2, len(value), value, True)
            tif.write(pixels, contiguous=False, metadata=None, extratags=[tag])
    assert opened(path).specs[0].z == (0, 0.5, 1)


def test_a_header_for_several_slices_tells_no_positions(tmp_path: Path) -> None:
    value = slice_xml(SHAPE, z=5)
    path = tmp_path / "stack.tif"
    tags = [(TAG, 2, len(value), value, True)]
    tifffile.imwrite(path, np.stack(stack()), imagej=True, truncate=True, extratags=tags)
    spec = opened(path).specs[0]
    assert (spec.shape[0], spec.z, spec.pixel_size) == (3, None, (0.008, 0.008))


def test_disagreement_with_names_resolution_and_size_is_noted(tmp_path: Path) -> None:
    values = [slice_xml((40, 30), z=0.01 * k + 0.002 * (k == 2)) for k in range(3)]
    options = {"resolution": (1e6, 1e6), "resolutionunit": "CENTIMETER"}
    found = opened(
        write_slices(tmp_path, stack(), values, name="slice_{0:05d}_z={1:.4f}um.tif", **options)
    )
    assert found.specs[0].pixel_size == (0.008, 0.008)
    assert found.specs[0].z == (0, 0.01, 0.02)
    size, pixel, z = found.notes
    assert "its metadata tell 30 x 40 pixels, the image has 30 x 20" in size
    assert "0.008 x 0.008 µm (x, y) by its metadata, of 0.01 x 0.01 µm" in pixel
    assert "slice_00002_z=0.0200um.tif: z = 0.022 µm by its metadata, 0.02 µm by its name" in z


def test_another_pixel_size_in_a_later_slice_is_noted(tmp_path: Path) -> None:
    values = [slice_xml(SHAPE, pixel=(size, size)) for size in (0.008, 0.00801, 0.009)]
    (note,) = opened(write_slices(tmp_path, stack(), values)).notes
    assert "slice_00002.tif: pixels of 0.009 x 0.009 µm" in note


class TestHarm:
    @pytest.mark.parametrize("kind", [*HOSTILE, *DAMAGED])
    def test_the_stack_is_opened_without_them_and_the_file_is_named(
        self, tmp_path: Path, kind: str
    ) -> None:
        value = (HOSTILE | DAMAGED)[kind]
        found = opened(write_slices(tmp_path, stack(), [value, value, slice_xml(SHAPE, z=1)]))
        np.testing.assert_array_equal(whole(found), stack())
        assert found.metadata == (None,)
        assert found.specs[0].pixel_size is None
        assert found.specs[0].z_metadata is None
        assert str(tmp_path / "slice_00000.tif") in found.notes[0]
        assert "(and 1 more slices); the stack is opened without them" in found.notes[0]

    @pytest.mark.parametrize("kind", HOSTILE)
    def test_a_document_type_is_refused_before_anything_in_it(self, kind: str) -> None:
        with pytest.raises(MetadataError, match=r"a\.tif: its metadata declare a document type"):
            parse_slice(HOSTILE[kind], "a.tif")

    @pytest.mark.parametrize("kind", [*HOSTILE, *DAMAGED])
    def test_a_set_up_is_refused_by_name(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "Atlas3D.a3d-setup"
        path.write_bytes((HOSTILE | DAMAGED)[kind].replace(b"Fibics", b"ATLAS3D-Setup"))
        message = {"unknown encoding": "encoding", "undeclared entity": "entity"}.get(kind, "")
        with pytest.raises(MetadataError, match=rf"Atlas3D\.a3d-setup: .*{message}"):
            read_setup(path)

    def test_large_ones_are_not_read(self, tmp_path: Path) -> None:
        path = tmp_path / "Atlas3D.a3d-setup"
        path.touch()
        os.truncate(path, 2**40)  # sparse: a terabyte, were it read
        with pytest.raises(MetadataError, match=f"more than {LARGEST} bytes"):
            read_setup(path)

    @pytest.mark.parametrize(
        "number", ["1e308", "-1e308", "1e-320", "INF", "NAN", "-5", "0", "x", ""]
    )
    def test_numbers_beyond_reason_count_as_missing(self, number: str) -> None:
        value = slice_xml(SHAPE, box=(1, 2, 3, 4)).replace(b"0.008", number.encode())
        assert parse_slice(value, "").pixel_size in (None, (5, 5))
        text = setup_xml(SHAPE, regions=[(-1, 1, -1, 1)])
        for given in ("0.008", ">20<", ">-1<", ">0.01<"):
            replaced = text.replace(given, number if given[0] == "0" else f">{number}<")
            setup = parse_setup(replaced.encode(), "")
            assert setup.thickness is None or 0 < setup.thickness < 1

    def test_an_offset_beyond_the_file_does_not_keep_the_stack_closed(self, tmp_path: Path) -> None:
        write_slices(tmp_path, stack(), [slice_xml(SHAPE, z=1)] * 3)
        path = tmp_path / "slice_00000.tif"
        with tifffile.TiffFile(path) as tif:
            tag = tif.pages.first.tags[TAG]
        content = bytearray(path.read_bytes())
        content[tag.offset + 8 : tag.offset + 12] = b"\xff\xff\xff\x7f"
        path.write_bytes(content)
        np.testing.assert_array_equal(whole(opened(tmp_path)), stack())

    def test_a_tag_of_another_type_is_noted(self, tmp_path: Path) -> None:
        path = tmp_path / "slice.tif"
        tifffile.imwrite(path, image("uint8"), metadata=None, extratags=[(TAG, 12, 1, 0.5, True)])
        (note,) = opened(tmp_path).notes
        assert "slice.tif: tag 51023 holds 1 values of type 12; text expected" in note


def test_regions_of_a_set_up_count_from_the_center_upwards() -> None:
    text = setup_xml((100, 200), pixel=0.5, regions=[(-20, -10, 5, 10), (30, 60, -15, 0)])
    left, right = Rectangle(30, 40, 60, 80), Rectangle(50, 80, 160, 220)
    assert parse_setup(text.encode(), "").regions == (left, right)
    switched_off = text.replace(
        "<FIBShape>", "<FIBShape><A3DShapeInfo><Enabled>false</Enabled></A3DShapeInfo>", 1
    )
    assert parse_setup(switched_off.encode(), "").regions == (right,)


def test_rectangles_are_grown_and_clipped() -> None:
    box = Rectangle(-5, 90, 150, 260)
    assert box.grown(20).clipped((100, 200)) == Rectangle(0, 100, 130, 200)
    assert box.clipped((100, 140)).is_empty
    assert joined([box, Rectangle(3, 3, -900, 900)]) == box


def test_pixel_size_and_positions_are_coordinates_of_stack_and_result(tmp_path: Path) -> None:
    values = [slice_xml(SHAPE, pixel=(0.02, 0.005), z=z) for z in (1.5, 1.51, 1.53)]
    write_slices(tmp_path, stack("uint16"), values)
    write_params(tmp_path, {"cropping": {"area": [10, 30, 5, 20]}})
    before = ps.open_stack(tmp_path)
    ps.Pipeline.from_toml(tmp_path).run()
    for found, rows, columns in ((before, 0, 0), (ps.open_result(tmp_path), 0, 10)):
        assert {found[axis].attrs["units"] for axis in "zyx"} == {"micrometer"}
        np.testing.assert_allclose(found.z, [1.5, 1.51, 1.53])
        np.testing.assert_allclose(found.y[:3], 0.02 * (rows + np.arange(3)))
        np.testing.assert_allclose(found.x[:3], 0.005 * (columns + np.arange(3)))


def test_what_cannot_be_used_is_said_by_projects_and_by_open_stack(tmp_path: Path) -> None:
    write_slices(tmp_path, stack(), [b"damaged"] * 3)
    write_params(tmp_path, {"cropping": {}})
    (note,) = ps.Pipeline.from_toml(tmp_path).project.notes
    assert "slice_00000.tif: its metadata are damaged" in str(note)
    with pytest.warns(UserWarning, match=r"slice_00000\.tif: its metadata are damaged"):
        ps.open_stack(tmp_path)


def test_set_ups_are_found_beside_the_slices_first(tmp_path: Path) -> None:
    inner = tmp_path / "ESB"
    inner.mkdir()
    for path in (tmp_path / "b.a3d-setup", tmp_path / "a.A3D-Setup", inner / "c.a3d-setup"):
        path.write_text("<ATLAS3D-Setup/>")
    (tmp_path / "folder.a3d-setup").mkdir()
    shutil.copy(tmp_path / "b.a3d-setup", tmp_path / "b.xml")
    found = setup_files([inner, tmp_path, tmp_path / "nowhere"])
    assert [path.name for path in found] == ["c.a3d-setup", "a.A3D-Setup", "b.a3d-setup"]
