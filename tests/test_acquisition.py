"""What `init` finds out about an acquisition of Zeiss Atlas."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from atlas_files import setup_xml, slice_xml, write_slices
from conftest import textured
from real_images import ATLAS, needs

from pystack3d_dask import Pipeline
from pystack3d_dask.acquisition import describe
from pystack3d_dask.template import render

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
    return tomllib.loads(render(describe(folder)))


@needs(ATLAS)
def test_real_slices_beside_a_set_up_of_another_acquisition() -> None:
    found = describe(ATLAS)
    assert params(ATLAS)["cropping"]["area"] == [1860, 8604, 9600 - 4319, 9600 - 3773]
    assert found.dz is not None
    assert found.dz.value == pytest.approx(np.median([0.008, 0.0079463]), abs=1e-6)
    origin = "TIFF metadata of slice_00767_z=8.5521um.tif"
    assert [text.endswith(origin) for text in found.taken] == [True, True, False]
    assert "TIFF metadata" in found.taken[2]
    (note,) = found.notes
    assert note.startswith("Atlas3D.a3d-setup is of another acquisition, nothing is taken from it")
    assert "it tells 4224 x 4224 pixels, the images have 9600 x 9600" in note
    assert "it tells pixels of 0.01 x 0.01 µm (x, y), the slices 0.00799881 x" in note
    size = "# Pixels of 0.00799881 x 0.00799881 µm (x, y): TIFF metadata of slice_00767"
    assert size in render(found)


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
    text = render(found)
    assert 'channels = ["SE2", "ESB"]  # Atlas3D.a3d-setup' in text
    assert f"area = {AREA}  # region of interest and 20 pixels around it, TIFF metadata of " in text
    assert found.taken[0] == "channels SE2, ESB: Atlas3D.a3d-setup"
    (tmp_path / "params.toml").write_text(text)
    assert Pipeline.from_toml(tmp_path).notes == ()


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
    setup(tmp_path, regions=[(-0.04, 0.04, 0.08, 0.12)])  # right in x, above the centre
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
    assert found.dz == (0.01, "")
