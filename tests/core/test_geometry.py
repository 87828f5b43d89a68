"""The size, origin and direction of voxels, from files of many kinds to results and exports."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import pystack3d_dask as ps
from pystack3d_dask.cli.main import cli
from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.io.sources import open_source
from pystack3d_dask.io.units import micrometers_per

SHAPE = (4, 12, 16)
PIXELS = np.random.default_rng(0).integers(0, 4000, SHAPE).astype("uint16")
SPELLINGS = {
    1e-4: ["angstrom", "Å", "Angstrom"],
    1e-3: ["nm", "nanometer", "nanometre", "NM"],
    1.0: ["um", "µm", "μm", r"\u00B5m", "micron", "microns", "micrometer", "micrometre", "Âµm"],
    1e3: ["mm", "millimeter"],
    1e4: ["cm", "centimetre"],
    25_400.0: ["inch", "in"],
}
UNITS = [(name, scale) for scale, names in SPELLINGS.items() for name in names]
few = settings(max_examples=15, deadline=None)
units = st.sampled_from(UNITS)
extents = st.floats(0.01, 50)
damaged = st.sampled_from(["NaN", "-1.5", "0", "1e400", "1e30", "-inf", "wide", ""])


def opened(path: Path) -> tuple[StackSpec, tuple[str, ...]]:
    source = open_source(path)
    return source.specs[0], source.notes


def run(project: Path, settings: str = "") -> str:
    (project / "params.toml").write_text(f'process_steps = ["cropping"]\n{settings}\n')
    options = ["run", str(project), "--workers", "0", "--no-report"]
    done = CliRunner().invoke(cli, options, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def shown(project: Path) -> tuple[list[str | None], list[float], list[float]]:
    """Return units, scale and translation that viewers take from a result."""
    group = zarr.open_group(project / "process" / "result.zarr", mode="r")
    multiscale: Any = group.attrs["ome"]["multiscales"][0]  # type: ignore[index, call-overload]
    scale, shift = multiscale["datasets"][0]["coordinateTransformations"]
    axes = [axis.get("unit") for axis in multiscale["axes"][1:]]
    return axes, scale["scale"][1:], shift["translation"][1:]


def imagej(path: Path, text: str, resolution: tuple[float, float] | None = None) -> Path:
    """Write a stack whose description ImageJ could have written."""
    head = f"ImageJ=1.53t\nimages={SHAPE[0]}\nslices={SHAPE[0]}\n"
    options: dict[str, Any] = {"metadata": None, "photometric": "minisblack"}
    if resolution is not None:
        options |= {"resolution": resolution, "resolutionunit": "NONE"}
    with tifffile.TiffWriter(path) as writer:
        for k, image in enumerate(PIXELS):
            writer.write(image, description=(head + text).encode() if not k else None, **options)
    return path


def ome_zarr(path: Path, version: str, **image: Any) -> Path:
    order = "tczyx" if version < "0.4" else "zyx"
    multiscale = {"datasets": [{"path": "0"}], **image}
    if version == "0.3":
        multiscale["axes"] = list(order)
    metadata: Any = {"multiscales": [multiscale]}
    multiscale |= {} if version == "0.5" else {"version": version}
    metadata = {"ome": {"version": version, **metadata}} if version == "0.5" else metadata
    group = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2, attributes=metadata)
    group.create_array("0", data=PIXELS.reshape((1,) * (len(order) - 3) + SHAPE))
    return path


def axes(**told: str | None) -> list[dict[str, str]]:
    return [
        {"name": name, "type": "space"} | ({"unit": unit} if unit else {})
        for name, unit in told.items()
    ]


def moved(scale: Any, translation: Any = None) -> list[dict[str, Any]]:
    found = [{"type": "scale", "scale": scale}]
    return found + ([{"type": "translation", "translation": translation}] if translation else [])


class TestUnits:
    @pytest.mark.parametrize(("name", "scale"), UNITS)
    def test_every_spelling_is_known(self, name: str, scale: float) -> None:
        assert micrometers_per(f" {name} ") == scale

    @pytest.mark.parametrize("name", ["pixel", "", "parrots", None, 3, "second"])
    def test_what_is_no_length_is_not(self, name: object) -> None:
        assert micrometers_per(name) is None


class TestImageJ:
    @few
    @given(units, extents, extents, extents)
    def test_its_unit_and_spacing_count_whatever_the_size(
        self, unit: tuple[str, float], x: float, y: float, z: float
    ) -> None:
        name, scale = unit
        with tempfile.TemporaryDirectory() as folder:
            text = f"unit={name}\nspacing={z!r}\nxorigin=3\nzorigin=-2\n"
            path = imagej(Path(folder, "a.tif"), text, (1 / x, 1 / y))
            spec, notes = opened(path)
        assert notes == ()
        assert spec.pixel_size == pytest.approx((y * scale, x * scale), rel=1e-5)
        assert spec.z == pytest.approx([(k + 2) * z * scale for k in range(4)])
        assert spec.offset == pytest.approx((0, 0, -3 * x * scale), rel=1e-5)

    @few
    @given(damaged)
    def test_a_damaged_spacing_is_left_aside_with_a_note(self, spacing: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = imagej(Path(folder, "a.tif"), f"unit=um\nspacing={spacing}\n", (100, 100))
            spec, notes = opened(path)
        assert spec.pixel_size == pytest.approx((0.01, 0.01))
        assert (spec.z is not None) == (spacing == "-1.5")  # ImageJ takes it without its sign
        assert notes
        assert all("spacing" in note or "damaged" in note for note in notes)

    def test_voxels_in_pixels_have_proportions(self, tmp_path: Path) -> None:
        spec, _ = opened(imagej(tmp_path / "a.tif", "unit=pixel\nspacing=4\n"))
        assert (spec.z, spec.pixel_size, spec.proportions) == (None, None, (4, 1, 1))

    def test_an_unknown_unit_is_noted(self, tmp_path: Path) -> None:
        spec, notes = opened(imagej(tmp_path / "a.tif", "unit=parrots\nspacing=4\n", (2, 2)))
        assert spec.proportions == (4, 0.5, 0.5)
        assert "'parrots', is not known" in notes[0]

    def test_the_spacing_comes_back_from_an_export(self, tmp_path: Path) -> None:
        imagej(tmp_path / "a.tif", "unit=mm\nspacing=0.05\nyorigin=-2\n", (50, 25))
        run(tmp_path)
        assert shown(tmp_path) == (
            ["micrometer"] * 3,
            pytest.approx([50, 40, 20]),
            pytest.approx([0, 80, 0]),
        )
        out = tmp_path / "out" / "stack.tif"
        options = ["export", str(tmp_path), "--bigtiff", str(out)]
        assert CliRunner().invoke(cli, options).exit_code == 0
        spec, notes = opened(out)
        assert (spec.pixel_size, notes) == (pytest.approx((40, 20)), ())
        assert spec.z == pytest.approx((0, 50, 100, 150))
        assert spec.offset == pytest.approx((0, 80, 0))


class TestOmeXml:
    @few
    @given(units, extents, extents, extents)
    def test_sizes_and_names_count(
        self, unit: tuple[str, float], x: float, y: float, z: float
    ) -> None:
        name, scale = unit
        told = {f"PhysicalSize{axis}": size for axis, size in zip("XYZ", (x, y, z), strict=True)}
        told |= {f"PhysicalSize{axis}Unit": name for axis in "XYZ"}
        metadata = {"axes": "ZYX", "Channel": {"Name": "ESB"}, **told}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "a.ome.tif")
            tifffile.imwrite(path, PIXELS, metadata=metadata)
            spec, notes = opened(path)
        assert (spec.label, notes) == ("ESB", ())
        assert spec.pixel_size == pytest.approx((y * scale, x * scale))
        assert spec.z == pytest.approx([k * z * scale for k in range(4)])

    @few
    @given(damaged)
    def test_a_damaged_size_is_left_aside_with_a_note(self, size: str) -> None:
        xml = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" SizeZ="1" SizeC="1" SizeT="1" '
            f'PhysicalSizeX="0.5" PhysicalSizeY="0.5" PhysicalSizeZ="{size}"/></Image></OME>'
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "a.ome.tif")
            tifffile.imwrite(path, PIXELS[0], description=xml, metadata=None)
            spec, notes = opened(path)
        assert (spec.pixel_size, spec.z) == ((0.5, 0.5), None)
        assert len(notes) == 1

    def test_positions_of_planes_count(self, tmp_path: Path) -> None:
        planes = {"PositionZ": [3.0, 2.0, 1.0, 0.5], "PositionZUnit": ["nm"] * 4}
        metadata = {"axes": "ZYX", "Plane": planes}
        tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS, metadata=metadata)
        spec, _ = opened(tmp_path / "a.ome.tif")
        assert spec.z == pytest.approx((0.003, 0.002, 0.001, 0.0005))


class TestNgff:
    @few
    @given(st.sampled_from(["0.4", "0.5"]), units, *[extents] * 3, st.floats(-9, 9))
    def test_scales_and_translations_of_all_axes_count(
        self, version: str, unit: tuple[str, float], z: float, y: float, x: float, start: float
    ) -> None:
        name, scale = unit
        image = {
            "axes": axes(z=name, y=name, x=name),
            "datasets": [
                {"path": "0", "coordinateTransformations": moved([-z, y, x], [start, 2, 3])}
            ],
        }
        with tempfile.TemporaryDirectory() as folder:
            spec, notes = opened(ome_zarr(Path(folder, "a.zarr"), version, **image))
        assert notes == ()
        assert spec.pixel_size == pytest.approx((y * scale, x * scale))
        assert spec.z == pytest.approx([(start - k * z) * scale for k in range(4)])
        assert spec.offset == pytest.approx((0, 2 * scale, 3 * scale))

    @pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
    def test_versions_without_scales_are_read(self, tmp_path: Path, version: str) -> None:
        stack = ps.open_stack(ome_zarr(tmp_path / "a.zarr", version))
        np.testing.assert_array_equal(stack[0], PIXELS)
        assert stack.coords["x"].attrs["units"] == "pixel"

    def test_scales_without_a_unit_are_kept(self, tmp_path: Path) -> None:
        image = {
            "axes": axes(z=None, y=None, x=None),
            "datasets": [
                {"path": "0", "coordinateTransformations": moved([4, 0.5, 0.5], [8, 1, 2])}
            ],
        }
        ome_zarr(tmp_path / "a.zarr", "0.4", **image)
        assert "voxel_size" in run(tmp_path)
        assert shown(tmp_path) == ([None] * 3, [4, 0.5, 0.5], [8, 1, 2])
        result = ps.open_result(tmp_path)
        assert result.z.values.tolist() == [8, 12, 16, 20]
        assert result.z.attrs["units"] == "unknown"

    @few
    @given(
        st.lists(st.one_of(st.floats(), st.text(max_size=3), st.none(), st.integers()), max_size=4),
        st.one_of(st.none(), st.text(max_size=4), st.integers()),
    )
    def test_no_scale_keeps_an_image_closed(self, scale: list[Any], unit: Any) -> None:
        image = {
            "axes": axes(z=unit, y="micrometer", x="micrometer"),
            "datasets": [{"path": "0", "coordinateTransformations": moved(scale)}],
        }
        with tempfile.TemporaryDirectory() as folder:
            spec, _ = opened(ome_zarr(Path(folder, "a.zarr"), "0.5", **image))
        assert spec.shape == SHAPE
        assert all(np.isfinite(spec.spacing()))
        assert min(spec.spacing()) > 0


class TestWhatIsUnknown:
    def slices(self, folder: Path, names: list[str], **options: Any) -> Path:
        folder.mkdir()
        for name, image in zip(names, PIXELS, strict=True):
            tifffile.imwrite(folder / name, image, **options)
        return folder

    def test_slices_of_unknown_distance_are_cubes_with_a_warning(self, tmp_path: Path) -> None:
        options = {"resolution": (2e6, 2e6), "resolutionunit": 3}
        project = self.slices(tmp_path / "p", [f"s{k}.tif" for k in range(4)], **options)
        assert "voxel_size" in run(project)
        assert shown(project)[:2] == (["micrometer"] * 3, pytest.approx([0.005] * 3))
        result = open_source(project / "process" / "result.zarr").specs[0]
        assert result.z is None  # what was assumed is not known later on
        assert result.pixel_size == pytest.approx((0.005, 0.005))

    def test_the_distance_that_names_tell_is_kept_beside_unknown_pixels(
        self, tmp_path: Path
    ) -> None:
        project = self.slices(tmp_path / "p", [f"s{k}_z={k / 4}um.tif" for k in range(4)])
        assert "pixel size is unknown" in run(project)
        assert shown(project)[:2] == (["micrometer"] * 3, [0.25] * 3)
        assert open_source(project / "process" / "result.zarr").specs[0].pixel_size is None

    def test_slices_that_go_down_are_placed_from_the_lowest_with_a_note(
        self, tmp_path: Path
    ) -> None:
        names = [f"s{k}_z={1 - k / 4}um.tif" for k in range(4)]
        options = {"resolution": (4e4, 4e4), "resolutionunit": 3}
        project = self.slices(tmp_path / "p", names, **options)
        assert "slices go down in z, from 1 to 0.25 µm" in run(project)
        _, scale, start = shown(project)
        assert (scale[0], start[0]) == (0.25, 0.25)
        assert ps.open_result(project).z.values.tolist() == [1, 0.75, 0.5, 0.25]
        summary = (project / "process" / "summary.json").read_text()
        assert "slices go down" in summary

    def test_a_given_voxel_size_leaves_nothing_to_say(self, tmp_path: Path) -> None:
        project = self.slices(tmp_path / "p", [f"s{k}_z={k}um.tif" for k in range(4)])
        assert ps.open_stack(project).x.attrs["units"] == "pixel"  # nothing is assumed there
        assert "pixel size is unknown" in run(project)
        assert "unknown" not in run(project, "voxel_size = [0.5, 0.5]")

    def test_resolutions_of_printers_are_none_and_odd_ones_are_noted(self, tmp_path: Path) -> None:
        names = [f"s{k}.tif" for k in range(4)]
        plain = self.slices(tmp_path / "a", names, resolution=(300, 300), resolutionunit=2)
        odd = self.slices(tmp_path / "b", names, resolution=(333, 333), resolutionunit=3)
        assert open_source(plain).notes == ()
        (note,) = open_source(odd).notes
        assert "pixels of 30.03 x 30.03 µm" in note
        assert open_source(odd).specs[0].pixel_size is None

    def test_init_tells_the_size_that_run_uses(self, tmp_path: Path) -> None:
        options = {"resolution": (2e6, 2e6), "resolutionunit": 3}
        project = self.slices(tmp_path / "p", [f"s{k}.tif" for k in range(4)], **options)
        assert CliRunner().invoke(cli, ["init", str(project)]).exit_code == 0
        assert "Pixels of 0.005 x 0.005 µm" in (project / "params.toml").read_text()

    def test_the_only_channel_is_not_called_like_its_directory(self, tmp_path: Path) -> None:
        project = self.slices(tmp_path / "p", [f"s{k}.tif" for k in range(4)])
        run(project)
        group = zarr.open_group(project / "process" / "result.zarr", mode="r")
        channels: Any = group.attrs["ome"]["omero"]["channels"]  # type: ignore[index, call-overload]
        assert [channel["label"] for channel in channels] == ["image"]
        assert open_source(project / "process" / "result.zarr").channels == (".",)
