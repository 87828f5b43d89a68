"""What `init` finds out about an acquisition of Zeiss Atlas."""

from __future__ import annotations

import shutil
import tomllib
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from atlas_files import setup_xml, slice_xml, write_slices
from click.testing import CliRunner
from conftest import textured
from hypothesis import given
from hypothesis import strategies as st
from real_images import ATLAS, needs
from stacks import write_params
from vendor_files import HELIOS, SMARTSEM, fei_text, smartsem_text, write_tagged

from pystack3d_dask import Pipeline
from pystack3d_dask.cli.main import cli
from pystack3d_dask.io.microscopes.slice_metadata import Rectangle, joined
from pystack3d_dask.io.sources import open_source
from pystack3d_dask.project.acquisition import describe
from pystack3d_dask.project.regions import separate
from pystack3d_dask.project.template import render

SHAPE = (70, 90)  # rows, columns
BOX = (30, 44, 25, 59)  # rows and columns of the region of interest, ends included
AREA = [5, 80, 70 - 65, 70 - 10]


def write(
    folder: Path,
    *,
    box: tuple[int, int, int, int] | None = BOX,
    step: float | None = 0.01,
    name: str = "slice_{0:05d}.tif",
    **told: Any,
) -> Path:
    """Write three slices with metadata; without ``step`` these tell no positions."""
    zs = [None if step is None else 2 + k * step for k in range(3)]
    values = [slice_xml(SHAPE, box=box, z=z, **told) for z in zs]
    return write_slices(folder, textured((3, *SHAPE)), values, name)


def setup(folder: Path, *args: Any, name: str = "Atlas3D.a3d-setup", **told: Any) -> None:
    (folder / name).write_text(setup_xml(*(args or (SHAPE,)), **told))


def params(folder: Path) -> dict[str, Any]:
    return tomllib.loads(render(describe(folder), {}))


@needs(ATLAS)
def test_real_slices_beside_a_set_up_of_another_acquisition() -> None:
    found = describe(ATLAS)
    assert params(ATLAS)["cropping"]["area"] == [0, 9600, 0, 9600]
    left, right = found.regions
    assert left[:2] == pytest.approx((1870, 3820), abs=20)
    assert right[:2] == pytest.approx((7604, 8604), abs=20)
    assert found.dz is not None
    assert found.dz.value == pytest.approx(np.median([0.008, 0.0079463]), abs=1e-6)
    origin = "TIFF metadata of slice_00767_z=8.5521um.tif"
    assert [text.endswith(origin) for text in found.taken] == [True, False, True]
    assert "TIFF metadata" in found.taken[1]
    assert found.taken[2].startswith("Zeiss Atlas, detector ESB, stage at -46434.6")
    note, regions = found.notes
    assert "2 regions of interest" in regions
    assert note.startswith("Atlas3D.a3d-setup is of another acquisition, nothing is taken from it")
    assert "it tells 4224 x 4224 pixels, the images have 9600 x 9600" in note
    assert "it tells pixels of 0.01 x 0.01 µm (x, y), the slices 0.00799881 x" in note
    size = "# Pixels of 0.00799881 x 0.00799881 µm (x, y): TIFF metadata of slice_00767"
    assert size in render(found, {})


def test_a_set_up_names_channels_and_slice_thickness(tmp_path: Path) -> None:
    for channel in ("ESB", "SE2", "keyframes"):
        write(tmp_path / channel, detector=channel if channel != "keyframes" else "ESB")
    for path in (tmp_path / "keyframes").iterdir():
        tifffile.imwrite(path, np.zeros((8, 9), "uint8"))
    setup(tmp_path, thickness=0.0101)
    found = describe(tmp_path)
    assert found.channels == (("SE2", "ESB"), "Atlas3D.a3d-setup")
    assert found.dz == (0.0101, "slice thickness, Atlas3D.a3d-setup")
    (note,) = found.notes
    assert note.startswith("keyframes is left out: 3 slices of 9 x 8 pixels, unlike ESB with 3")
    text = render(found, {})
    assert 'channels = ["SE2", "ESB"]  # Atlas3D.a3d-setup' in text
    assert f"area = {AREA}  # region of interest and 20 pixels around it, TIFF metadata of " in text
    assert found.taken[0] == "channels SE2, ESB: Atlas3D.a3d-setup"
    (tmp_path / "params.toml").write_text(text)
    assert Pipeline.from_toml(tmp_path).project.notes == ()


@pytest.mark.parametrize(
    ("box", "area"),
    [
        (BOX, AREA),
        ((-9, 5, 60, 200), [40, 90, 70 - 26, 70]),
        ((0, 69, 0, 89), [0, 90, 0, 70]),
        (None, [0, 90, 0, 70]),
        ((100, 200, 5, 9), [0, 90, 0, 70]),
    ],
)
def test_the_region_is_kept_with_a_margin_clipped_to_the_image(
    tmp_path: Path, box: Any, area: list[int]
) -> None:
    write(tmp_path, box=box)
    assert params(tmp_path)["cropping"]["area"] == area
    outside = box is not None and box[0] >= SHAPE[0]
    assert [("lies outside the images" in note) for note in describe(tmp_path).notes] == (
        [True] if outside else []
    )


def test_regions_of_all_channels_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "a", detector="A")
    write(tmp_path / "b", detector="B", box=(20, 44, 25, 69))
    assert params(tmp_path)["cropping"]["area"] == [5, 90, 5, 70]


def test_a_set_up_tells_the_region_where_slices_do_not(tmp_path: Path) -> None:
    write(tmp_path, box=None)
    setup(tmp_path, regions=[(-0.04, 0.04, 0.08, 0.12)])  # right in x, above the center
    found = describe(tmp_path)
    # columns 40 to 50, 10 to 15 rows above the 35th
    assert list(found.area.value) == [20, 70, 70 - 45, 70]
    assert found.area.origin.endswith("Atlas3D.a3d-setup")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"pixel": 0.01}, "pixels of 0.01 x 0.01 µm (x, y), the slices 0.008 x 0.008"),
        ({"detectors": ("InLens", "SE2")}, "detectors InLens, SE2, the slices ESB"),
        ({"shape": (80, 90)}, "90 x 80 pixels, the images have 90 x 70"),
    ],
)
def test_nothing_is_taken_from_a_set_up_that_contradicts_the_slices(
    tmp_path: Path, told: dict[str, Any], words: str
) -> None:
    for channel in ("ESB", "SE2"):
        write(tmp_path / channel, detector=channel, box=None, step=None)
    for path in (tmp_path / "SE2").iterdir():
        shutil.copy(tmp_path / "ESB" / path.name, path)
    shape = told.pop("shape", SHAPE)
    setup(tmp_path, shape, regions=[(-0.04, 0.04, 0.08, 0.12)], **told)
    found = describe(tmp_path)
    assert (found.channels, found.dz) == ((("ESB", "SE2"), ""), None)
    assert found.area == ((0, 90, 0, 70), "")
    conflict, detector = found.notes
    assert "is of another acquisition, nothing is taken from it" in conflict
    assert words in conflict
    assert detector == "channel 'SE2': detector ESB by the metadata of its first slice"


def test_measured_distances_win_over_a_nominal_thickness(tmp_path: Path) -> None:
    write(tmp_path, step=0.02)
    setup(tmp_path)
    found = describe(tmp_path)
    assert found.dz == (0.02, "median step of z, TIFF metadata")
    (note,) = found.notes
    assert note == (
        "slices are 0.01 µm thick by Atlas3D.a3d-setup, 0.02 µm apart by their TIFF metadata, "
        "which is used"
    )


def test_a_pixel_size_that_only_a_set_up_tells_is_mentioned(tmp_path: Path) -> None:
    write_slices(tmp_path, textured((3, *SHAPE)), [None] * 3)
    setup(tmp_path)
    (note,) = describe(tmp_path).notes
    assert "tells pixels of 0.008 x 0.008 µm (x, y), the slices tell none" in note


def test_set_ups_above_the_slices_and_several_of_them(tmp_path: Path) -> None:
    project = write(tmp_path / "project", box=None)
    setup(tmp_path, thickness=0.0101)
    assert describe(project).dz == (0.0101, "slice thickness, Atlas3D.a3d-setup")
    setup(project, thickness=0.0102, name="old.a3d-setup")
    found = describe(project)
    assert found.dz == (0.0102, "slice thickness, old.a3d-setup")
    (note,) = found.notes
    first, other = project / "old.a3d-setup", tmp_path / "Atlas3D.a3d-setup"
    assert note == f"several set-up files; {first} is looked at, not {other}"


@pytest.mark.parametrize("content", [b"<!DOCTYPE x><ATLAS3D-Setup/>", b"<ATLAS3D-Setup>", b""])
def test_a_set_up_that_cannot_be_used_is_named(tmp_path: Path, content: bytes) -> None:
    write(tmp_path)
    (tmp_path / "Atlas3D.a3d-setup").write_bytes(content)
    found = describe(tmp_path)
    (note,) = found.notes
    assert note.startswith(str(tmp_path / "Atlas3D.a3d-setup"))
    assert note.endswith("nothing is taken from it")
    assert list(found.area.value) == AREA


@pytest.mark.parametrize(
    ("name", "step", "z_source", "policy"),
    [
        ("slice_{0:05d}_z={1:.4f}um.tif", 0.01, "names", "slice_{slice_nb}_z={z_coord}um.tif"),
        ("A7-{0:03d}_z={1:.2f}um_b.tif", None, "names", "A7-{slice_nb}_z={z_coord}um_b.tif"),
        ("slice_{0:05d}.tif", 0.01, "metadata", "slice_{slice_nb}_z={z_coord}um.tif"),
        ("slice_{0:05d}.tif", None, None, "slice_{slice_nb}_z={z_coord}um.tif"),
    ],
)
def test_what_tells_z(
    tmp_path: Path, name: str, step: float | None, z_source: str | None, policy: str
) -> None:
    found = describe(write(tmp_path, name=name, step=step))
    assert (found.z_source, found.policy) == (z_source, policy)
    assert (found.dz is None) == (z_source is None)


def test_stacks_without_metadata_have_nothing_to_tell(make_project: Any) -> None:
    found = describe(make_project(None))
    assert (found.taken, found.notes, found.pixel_size) == ((), (), None)
    assert (found.microscope, found.samples, found.regions) == (None, None, ())
    assert found.dz == (0.01, "")


class TestSeveralRegions:
    """The box around them is mostly empty: what is kept is the image, and each is named."""

    def write(self, folder: Path, *regions: tuple[slice, slice], slices: int = 3) -> Path:
        """Write slices that are zero outside some rows and columns, with the box around them."""
        stack = np.zeros((slices, 200, 300), "uint16")
        for rows, columns in regions:
            stack[:, rows, columns] = textured((slices, 200, 300), "uint16")[:, rows, columns]
        rows, columns = (np.flatnonzero(stack[0].any(axis)) for axis in (1, 0))
        box = (rows[0], rows[-1], columns[0], columns[-1])
        xml = [slice_xml((200, 300), box=box, z=0.01 * k) for k in range(slices)]
        return write_slices(folder, stack, xml)

    def test_each_is_listed_as_a_comment_and_the_image_is_kept(self, tmp_path: Path) -> None:
        self.write(tmp_path, (np.s_[40:80], np.s_[30:94]), (np.s_[48:88], np.s_[190:270]))
        found = describe(tmp_path)
        assert found.area == ((0, 300, 0, 200), "")
        first, second = found.regions
        assert first == pytest.approx((10, 114, 100, 180), abs=8)
        assert second == pytest.approx((170, 290, 92, 172), abs=8)
        (note,) = found.notes
        assert "2 regions of interest" in note
        assert f"[cropping] area = {list(first)} or {list(second)} keeps one" in note
        text = render(found, {})
        assert tomllib.loads(text)["cropping"]["area"] == [0, 300, 0, 200]
        assert f"# area = {list(first)}  # region of interest 1 of 2" in text
        assert f"# area = {list(second)}  # region of interest 2 of 2" in text

    def test_regions_that_fill_their_box_are_one(self, tmp_path: Path) -> None:
        self.write(tmp_path, (np.s_[40:120], np.s_[30:150]), (np.s_[40:120], np.s_[168:270]))
        assert describe(tmp_path).regions == ()

    def test_specks_beside_a_region_are_kept_with_it(self, tmp_path: Path) -> None:
        self.write(tmp_path, (np.s_[40:120], np.s_[30:150]), (np.s_[180:182], np.s_[280:282]))
        found = describe(tmp_path)
        assert (found.area.value, found.regions) == ((10, 300, 0, 180), ())

    def test_those_of_a_set_up_count_where_slices_give_none(self, tmp_path: Path) -> None:
        write_slices(tmp_path, textured((3, *SHAPE)), [slice_xml(SHAPE)] * 3)
        boxes = [(-0.32, -0.16, 0, 0.08), (0.2, 0.3, -0.2, 0), (0.22, 0.32, -0.2, 0)]
        setup(tmp_path, regions=boxes)
        found = describe(tmp_path)
        assert (found.area.value, found.notes[-1]) == (
            (0, 90, 0, 70),
            "Atlas3D.a3d-setup: 2 regions of interest, most of what is around them is empty; the "
            "whole image is kept, [cropping] area = [0, 45, 15, 65] or [50, 90, 0, 55] keeps one",
        )

    def test_slices_that_cannot_be_read_do_not_keep_init_from_writing(self, tmp_path: Path) -> None:
        write(tmp_path)
        for path in tmp_path.iterdir():
            content = bytearray(path.read_bytes())
            with tifffile.TiffFile(path) as tif:
                tag = tif.pages.first.tags["StripOffsets"]
            content[tag.offset + 8 : tag.offset + 12] = (2**31 - 1).to_bytes(4, "little")
            path.write_bytes(content)
        assert list(describe(tmp_path).area.value) == AREA


@given(st.lists(st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 20)] * 2), max_size=8))
def test_separate_regions_do_not_overlap_and_hold_all_that_is_large(sides: list[Any]) -> None:
    boxes = [Rectangle(top, top + high, left, left + wide) for top, left, high, wide in sides]
    found = separate(boxes)
    assert not any(one.overlaps(other) for one, other in combinations(found, 2))
    large = max((each.size for each in found), default=0)
    for box in boxes:
        assert any(joined([box, each]) == each for each in found) or 100 * box.size < large


class TestOtherMicroscopes:
    """Slices of SmartSEM and Thermo Fisher (FEI) microscopes."""

    def test_the_data_bar_is_cropped_away(self, tmp_path: Path) -> None:
        write_tagged(tmp_path, textured((2, 20, 30)), {HELIOS: fei_text((15, 30), bar=5)})
        found = describe(tmp_path)
        origin = "TIFF metadata of s000.tif"
        assert found.area == ((0, 30, 5, 20), f"without the data bar of 5 rows, {origin}")
        assert found.notes == ()
        assert found.microscope is not None
        assert found.microscope.value == (
            "Thermo Fisher/FEI, detector TLD, stage at 11381.3, -10448.4, 3983.38 µm (x, y, z), "
            "tilt 52°"
        )
        text = render(found, {})
        assert f"# Pixels of 0.0025 x 0.004 µm (x, y): {origin}\n# Thermo Fisher/FEI, dete" in text
        assert f"area = [0, 30, 5, 20]  # without the data bar of 5 rows, {origin}" in text
        (tmp_path / "params.toml").write_text(text, "utf-8")
        kept = Pipeline.from_toml(tmp_path, steps=["cropping"]).lazy()
        np.testing.assert_array_equal(kept[0], textured((2, 20, 30))[:, :15])

    def test_a_bar_of_another_height_is_reported(self, tmp_path: Path) -> None:
        write_tagged(tmp_path, textured((2, 20, 30)), {HELIOS: fei_text((14, 30), bar=5)})
        found = describe(tmp_path)
        assert found.area.value == (0, 30, 6, 20)
        assert "a data bar of 5 rows, but 6 rows are below the scanned image" in found.notes[0]

    def test_smartsem(self, tmp_path: Path) -> None:
        write_tagged(tmp_path / "SE2", textured((2, 20, 30)), {SMARTSEM: smartsem_text()})
        found = describe(tmp_path)
        assert found.notes == ("channel 'SE2': detector InLens by the metadata of its first slice",)
        assert found.taken == (
            "pixels of 0.005 x 0.005 µm (x, y): TIFF metadata of s000.tif",
            "Zeiss SmartSEM, detector InLens, stage at 65000, -3500, 500 µm (x, y, z), tilt 54°: "
            "TIFF metadata of s000.tif",
        )

    def test_damage_is_named(self, tmp_path: Path) -> None:
        write_tagged(tmp_path, textured((2, 20, 30)), {SMARTSEM: b"damaged"})
        found = describe(tmp_path)
        assert "s000.tif: its metadata in tag 34118 are damaged" in found.notes[0]
        assert (found.taken, found.microscope) == ((), None)


class TestPixelSize:
    """It is the one that plans and runs use, with where it is from."""

    @pytest.mark.parametrize(
        ("options", "origin"),
        [
            ({"resolution": (2e6, 1e6), "resolutionunit": "CENTIMETER"}, "resolution tags"),
            (
                {"imagej": True, "resolution": (200, 100), "metadata": {"unit": "um"}},
                "resolution tags and ImageJ description",
            ),
        ],
    )
    def test_of_tiff_headers(self, tmp_path: Path, options: Any, origin: str) -> None:
        for k, pixels in enumerate(textured((2, 20, 30))):
            tifffile.imwrite(tmp_path / f"s{k}.tif", pixels, **options)
        found = describe(tmp_path)
        assert found.pixel_size is not None
        assert found.pixel_size.value == pytest.approx(open_source(tmp_path).specs[0].pixel_size)
        assert found.pixel_size == (pytest.approx((0.01, 0.005)), f"{origin} of s0.tif")
        assert f"# Pixels of 0.005 x 0.01 µm (x, y): {origin} of s0.tif" in render(found, {})

    def test_of_a_zarr_with_positions(self, tmp_path: Path) -> None:
        project, folder = tmp_path / "project", tmp_path / "again"
        write_slices(project, textured((3, 20, 30)), [None] * 3)
        write_params(project, ["cropping"], {"voxel_size": [0.005, 0.01, 0.02]})
        Pipeline.from_toml(project).run()
        folder.mkdir()
        (project / "process" / "result.zarr").rename(folder / "stack.zarr")
        found = describe(folder)
        assert found.pixel_size == (pytest.approx((0.01, 0.005)), "metadata of the Zarr")
        assert (found.z_source, found.dz) == ("names", (0.02, ""))
        (folder / "params.toml").write_text(render(found, {}), "utf-8")
        assert Pipeline.from_toml(folder).project.notes == ()


class TestColor:
    def write(self, folder: Path) -> None:
        for k in range(2):
            pixels = np.stack(textured((3, 20, 30), seed=k), -1)
            tifffile.imwrite(folder / f"s{k}.tif", pixels, photometric="rgb")

    @pytest.mark.parametrize(
        ("samples", "channels"), [("luminance", (".",)), ("channels", ("R", "G", "B"))]
    )
    def test_an_option_of_init_is_written(
        self, tmp_path: Path, samples: str, channels: tuple[str, ...]
    ) -> None:
        self.write(tmp_path)
        result = CliRunner().invoke(cli, ["init", str(tmp_path), "--samples", samples])
        assert (result.exit_code, result.stderr) == (0, "")
        text = (tmp_path / "params.toml").read_text("utf-8")
        assert tomllib.loads(text)["samples"] == samples
        assert Pipeline.from_toml(tmp_path).project.source.channels == channels

    def test_without_it_the_message_names_it(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        result = CliRunner().invoke(cli, ["init", str(tmp_path)])
        assert "it is RGB (3 samples per pixel); convert it, or set samples" in str(
            result.exception
        )
        assert "`init --samples luminance`" in str(result.exception)
        assert not (tmp_path / "params.toml").exists()


def test_a_single_slice_is_not_compared_with_others(tmp_path: Path) -> None:
    write_slices(tmp_path, textured((1, *SHAPE)), [None], "slice_{0}_z={1:.2f}um.tif")
    text = render(describe(tmp_path), {})
    params = tomllib.loads(text)
    assert params["process_steps"] == []
    assert params["bkg_removal"] == {"method": "classes"}
    assert "# orders = [2, 2] " in text
    (tmp_path / "params.toml").write_text(text, "utf-8")
    Pipeline.from_toml(tmp_path).run()
