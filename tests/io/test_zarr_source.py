"""Slices in Zarr arrays and OME-Zarr images."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, ShardingCodec

from pystack3d_dask.core.spec import Region
from pystack3d_dask.errors import PixelError, SourceError
from pystack3d_dask.io.zarr.source import ZarrStack, open_zarr

SHAPE = (7, 20, 30)
PART = Region((2, 3, 4), (5, 19, 29))
Version = Literal[2, 3]


def voxels(dtype: str = "uint16", shape: tuple[int, ...] = SHAPE) -> Any:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def plain(path: Path, values: Any, version: Version = 3, **options: Any) -> Path:
    chunks = tuple(min(n, 8) for n in values.shape)
    array = zarr.create_array(
        path, shape=values.shape, dtype=values.dtype, chunks=chunks, zarr_format=version, **options
    )
    array[...] = values
    return path


def multiscale(
    path: Path,
    values: Any,
    order: str = "zyx",
    *,
    version: str = "0.5",
    units: dict[str, str] | None = None,
    dataset: str = "0",
    labels: tuple[str, ...] = (),
    **overrides: Any,
) -> Path:
    """Write an OME-Zarr image with a second level that must not be read."""
    described = [
        {"name": axis, "type": "space"} | ({"unit": units[axis]} if axis in (units or {}) else {})
        for axis in order
    ]
    scale = [{"type": "scale", "scale": [2.0, 0.5, 0.25][-len(order) :]}] if len(order) < 4 else []
    image = {
        "axes": described,
        "datasets": [
            {"path": dataset, "coordinateTransformations": scale},
            {"path": "smaller"},
        ],
    } | overrides
    metadata: dict[str, Any] = {"multiscales": [image]}
    if labels:
        metadata["omero"] = {"channels": [{"label": label} for label in labels]}
    if version == "0.5":
        metadata = {"ome": {"version": version} | metadata}
    else:
        image["version"] = version
    zarr.create_group(path, zarr_format=3 if version == "0.5" else 2, attributes=metadata)
    for name, level in ((dataset, values), ("smaller", values[..., ::2, ::2])):
        plain(path / name, level, 3 if version == "0.5" else 2)
    return path


def opened(path: Path) -> ZarrStack:
    return open_zarr({".": path})


def whole(stack: ZarrStack, channel: int = 0) -> Any:
    return stack.read(channel, stack.specs[channel].region)


class TestPlainArrays:
    @pytest.mark.parametrize("version", [2, 3])
    @pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "float32", "float64"])
    def test_regions_equal_slicing(self, tmp_path: Path, version: Version, dtype: str) -> None:
        values = voxels(dtype)
        stack = opened(plain(tmp_path / "a.zarr", values, version))
        part = stack.read(0, PART)
        assert part.dtype == stack.specs[0].dtype == ("float32" if dtype == "float64" else dtype)
        assert part.flags.c_contiguous
        np.testing.assert_array_equal(part, values[PART.slices])

    @pytest.mark.parametrize("options", [{"order": "F"}, {}])
    def test_values_are_native_and_contiguous(
        self, tmp_path: Path, options: dict[str, Any]
    ) -> None:
        values = voxels(">u2")
        part = opened(plain(tmp_path / "a.zarr", values, 2, **options)).read(0, PART)
        assert part.dtype.isnative
        assert part.flags.c_contiguous
        np.testing.assert_array_equal(part, values[PART.slices])

    def test_two_axes_are_one_slice(self, tmp_path: Path) -> None:
        values = voxels(shape=(20, 30))
        stack = opened(plain(tmp_path / "a.zarr", values))
        assert stack.specs[0].shape == (1, 20, 30)
        np.testing.assert_array_equal(whole(stack), values[None])

    def test_four_axes_begin_with_channels(self, tmp_path: Path) -> None:
        values = voxels(shape=(2, *SHAPE))
        stack = opened(plain(tmp_path / "a.zarr", values))
        assert stack.channels == ("0", "1")
        np.testing.assert_array_equal(stack.read(1, PART), values[1][PART.slices])

    @pytest.mark.parametrize("shape", [(5,), (1, 1, 2, 3, 4)])
    def test_other_numbers_of_axes_are_refused(
        self, tmp_path: Path, shape: tuple[int, ...]
    ) -> None:
        plain(tmp_path / "a.zarr", voxels(shape=shape))
        with pytest.raises(SourceError, match=rf"a\.zarr: the array has {len(shape)} axes"):
            opened(tmp_path / "a.zarr")

    @pytest.mark.parametrize("dtype", ["bool", "uint32", "int64", "complex64"])
    def test_other_types_are_refused_by_name(self, tmp_path: Path, dtype: str) -> None:
        plain(tmp_path / "a.zarr", voxels(dtype))
        with pytest.raises(SourceError, match=rf"a\.zarr: its values are {dtype}; expected uint8"):
            opened(tmp_path / "a.zarr")

    def test_an_empty_array_is_refused(self, tmp_path: Path) -> None:
        zarr.create_array(tmp_path / "a.zarr", shape=(0, 4, 5), dtype="uint8")
        with pytest.raises(SourceError, match=r"a\.zarr: the array is empty"):
            opened(tmp_path / "a.zarr")


class TestOmeZarr:
    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    def test_the_highest_resolution_is_read_with_its_scale(
        self, tmp_path: Path, version: str
    ) -> None:
        values = voxels()
        units = {"z": "nanometer", "y": "micrometer", "x": "micrometer"}
        stack = opened(multiscale(tmp_path / "a.zarr", values, version=version, units=units))
        np.testing.assert_array_equal(whole(stack), values)
        assert stack.specs[0].pixel_size == (0.5, 0.25)
        assert stack.specs[0].z == pytest.approx([0.002 * k for k in range(7)])
        assert stack.names[3] == "slice_0003_z=0.0060um.tif"

    def test_translations_and_scales_of_the_whole_image_are_applied(self, tmp_path: Path) -> None:
        path = multiscale(
            tmp_path / "a.zarr",
            voxels(),
            units=dict.fromkeys("zyx", "micrometer"),
            datasets=[
                {
                    "path": "0",
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [2, 1, 1]},
                        {"type": "translation", "translation": [5, 0, 0]},
                    ],
                }
            ],
            coordinateTransformations=[{"type": "scale", "scale": [10, 3, 4]}],
        )
        spec = opened(path).specs[0]
        assert spec.z is not None
        assert spec.z[:2] == (50.0, 70.0)
        assert spec.pixel_size == (3.0, 4.0)

    def test_only_proportions_are_made_of_scales_without_units(self, tmp_path: Path) -> None:
        stack = opened(multiscale(tmp_path / "a.zarr", voxels()))
        assert stack.specs[0].proportions == (2.0, 0.5, 0.25)
        assert stack.specs[0].z is None
        assert stack.specs[0].pixel_size is None
        assert stack.names[3] == "slice_0003.tif"

    def test_a_single_time_is_dropped(self, tmp_path: Path) -> None:
        values = voxels(shape=(1, 2, *SHAPE))
        stack = opened(multiscale(tmp_path / "a.zarr", values, "tczyx", labels=("ESB", "SE2")))
        assert stack.channels == ("ESB", "SE2")
        np.testing.assert_array_equal(stack.read(1, PART), values[0, 1][PART.slices])

    def test_several_times_are_refused_by_name(self, tmp_path: Path) -> None:
        path = multiscale(tmp_path / "a.zarr", voxels(shape=(3, 2, *SHAPE)), "tczyx")
        with pytest.raises(SourceError, match=r"a\.zarr: its axis t has 3 times; expected one"):
            opened(path)

    @pytest.mark.parametrize(
        "axes", [["z", "y"], [], ["u", "v", "w"], [{"name": a} for a in "zxx"]]
    )
    def test_axes_that_are_missing_or_unknown_are_refused(self, tmp_path: Path, axes: Any) -> None:
        path = multiscale(tmp_path / "a.zarr", voxels(), version="0.4", axes=axes)
        with pytest.raises(SourceError, match=r"a\.zarr: its axes are .*; expected "):
            opened(path)

    def test_damaged_metadata_are_refused(self, tmp_path: Path) -> None:
        path = multiscale(tmp_path / "a.zarr", voxels())
        shutil.rmtree(path / "0")
        with pytest.raises(SourceError, match=r"a\.zarr: its metadata are damaged.*: KeyError"):
            opened(path)
        (path / "zarr.json").write_text("{")
        with pytest.raises(SourceError, match=r"a\.zarr: its metadata are damaged"):
            opened(path)

    def test_a_group_that_is_no_image_is_refused_with_what_it_holds(self, tmp_path: Path) -> None:
        zarr.create_group(tmp_path / "a.zarr")
        plain(tmp_path / "a.zarr" / "raw", voxels())
        with pytest.raises(SourceError, match=r"a\.zarr: .*without OME-Zarr.*'raw'"):
            opened(tmp_path / "a.zarr")

    @pytest.mark.parametrize(
        ("axis", "size"), [(0, "NaN"), (0, "1e400"), (0, "0.0"), (1, "0.0"), (2, "1e-320")]
    )
    def test_lengths_that_are_none_are_left_aside_with_a_note(
        self, tmp_path: Path, axis: int, size: str
    ) -> None:
        scale: list[Any] = [1.0, 1.0, 1.0]
        scale[axis] = float(size)
        units = dict.fromkeys("zyx", "micrometer")
        path = multiscale(
            tmp_path / "a.zarr",
            voxels(),
            units=units,
            coordinateTransformations=[{"type": "scale", "scale": scale}],
        )
        stack = opened(path)
        assert re.search(r"a\.zarr.*tell a length of .* micrometers.*damaged", stack.notes[0])
        assert (stack.specs[0].z is None) == (axis == 0)
        assert stack.specs[0].pixel_size == {0: (0.5, 0.25), 1: (0.25, 0.25), 2: (0.5, 0.5)}[axis]

    def test_an_axis_that_runs_backward_is_noted(self, tmp_path: Path) -> None:
        path = multiscale(
            tmp_path / "a.zarr",
            voxels(),
            units=dict.fromkeys("zyx", "micrometer"),
            coordinateTransformations=[{"type": "scale", "scale": [-1.0, 1.0, -1.0]}],
        )
        stack = opened(path)
        assert stack.specs[0].pixel_size == (0.5, 0.25)
        assert stack.specs[0].z == tuple(-2.0 * k for k in range(7))
        assert stack.specs[0].offset == (0.0, 0.0, -0.25 * 29)
        (note,) = stack.notes
        assert "axis x runs backward" in note

    def test_positions_that_are_none_are_left_aside_with_a_note(self, tmp_path: Path) -> None:
        path = multiscale(tmp_path / "a.zarr", voxels())
        z = np.arange(7.0)
        z[3] = np.nan
        zarr.open_group(path).create_array("z", data=z)
        assert "a position of nan micrometers" in opened(path).notes[0]
        assert opened(path).specs[0].z is None

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_absurd_shapes_are_refused(self, tmp_path: Path, axis: int) -> None:
        shape = [5, 6, 7]
        shape[axis] = 2**40
        zarr.create_array(tmp_path / "a.zarr", shape=shape, dtype="uint8", chunks=(1, 6, 7))
        with pytest.raises(SourceError, match=r"a\.zarr: its shape is .*1099511627776.* damaged"):
            opened(tmp_path / "a.zarr")


class TestOwnResult:
    positions = np.array([0.0, 0.008, 0.0159, 0.024, 0.032, 0.0405, 0.048])

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """Return an image in the layout of this package's results."""
        path = multiscale(
            tmp_path / "result.zarr",
            voxels(shape=(1, *SHAPE)),
            "czyx",
            dataset="scale0/image",
            labels=("ESB",),
            units=dict.fromkeys("zyx", "micrometer"),
        )
        plain(path / "scale0" / "z", self.positions, attributes={"units": "micrometer"})
        return path

    def test_true_positions_are_those_of_the_coordinate(self, path: Path) -> None:
        stack = opened(path)
        assert stack.channels == ("ESB",)
        assert stack.specs[0].z == pytest.approx(self.positions)
        assert stack.selected(2, 4).specs[0].z == pytest.approx(self.positions[2:4])

    def test_indices_are_no_positions(self, path: Path) -> None:
        zarr.open_array(path / "scale0" / "z", mode="r+").attrs["units"] = "pixel"
        assert opened(path).specs[0].z == pytest.approx(np.arange(7.0))

    def test_an_incomplete_result_is_refused(self, path: Path) -> None:
        zarr.open_group(path, mode="r+").attrs["pystack3d_dask"] = {"complete": False}
        with pytest.raises(SourceError, match=r"result\.zarr: the result is not complete"):
            opened(path)


class TestChannels:
    def test_each_may_be_a_zarr_of_its_own(self, tmp_path: Path) -> None:
        first = plain(tmp_path / "ESB", voxels("uint8"))
        second = plain(tmp_path / "SE2", voxels("uint16", (2, *SHAPE)))
        stack = open_zarr({"ESB": first, "SE2": second})
        assert stack.channels == ("ESB", "SE2:0", "SE2:1")
        assert [spec.dtype.name for spec in stack.specs] == ["uint8", "uint16", "uint16"]

    def test_must_have_the_same_shape(self, tmp_path: Path) -> None:
        first = plain(tmp_path / "ESB", voxels())
        second = plain(tmp_path / "SE2", voxels(shape=(6, 20, 30)))
        with pytest.raises(SourceError, match=r"'SE2': \(6, 20, 30\)"):
            open_zarr({"ESB": first, "SE2": second})

    def test_everything_wrong_is_reported_at_once(self, tmp_path: Path) -> None:
        first = plain(tmp_path / "ESB", voxels("uint32"))
        second = plain(tmp_path / "SE2", voxels(shape=(3,)))
        with pytest.raises(SourceError, match=r"ESB: its values(.|\n)*SE2: the array has 1 axes"):
            open_zarr({"ESB": first, "SE2": second})

    def test_can_be_chosen_by_name(self, tmp_path: Path) -> None:
        values = voxels(shape=(3, *SHAPE))
        stack = opened(multiscale(tmp_path / "a.zarr", values, "czyx", labels=("a", "b", "c")))
        chosen = stack.only(["c", "a"])
        assert chosen.channels == ("c", "a")
        np.testing.assert_array_equal(whole(chosen, 0), values[2])
        assert chosen.fingerprint != stack.fingerprint
        with pytest.raises(SourceError, match="no channel 'd'; expected some of 'a', 'b', 'c'"):
            stack.only(["a", "d"])


class TestReading:
    def test_selected_slices_are_the_same_pixels(self, tmp_path: Path) -> None:
        values = voxels()
        stack = opened(plain(tmp_path / "a.zarr", values))
        part = stack.selected(2, 99).selected(1, 3)
        assert part.specs[0].shape == (2, 20, 30)
        assert part.names == stack.names[3:5]
        np.testing.assert_array_equal(whole(part), values[3:5])

    def test_a_chunk_that_cannot_be_decoded_is_named(self, tmp_path: Path) -> None:
        stack = opened(plain(tmp_path / "a.zarr", voxels()))
        chunk = next(path for path in (tmp_path / "a.zarr" / "c").rglob("*") if path.is_file())
        chunk.write_bytes(b"\x00" * 5)
        with pytest.raises(PixelError, match=r"a\.zarr, slices 0 to 6: the pixels cannot be read"):
            whole(stack)

    @pytest.mark.parametrize("nbytes", [2**20, 2**50, 2**64 - 10])
    @pytest.mark.filterwarnings("ignore:overflow encountered")
    def test_a_damaged_index_of_a_shard_asks_for_no_memory(
        self, tmp_path: Path, nbytes: int
    ) -> None:
        inner = ShardingCodec(chunk_shape=(1, 8, 8), index_codecs=[BytesCodec()])
        path = plain(tmp_path / "a.zarr", voxels(), serializer=inner, compressors=None)
        shard = path / "c/0/0/0"
        content = shard.read_bytes()
        index = np.frombuffer(
            content[-16 * SHAPE[0] :], "<u8"
        ).copy()  # offset, bytes of each slice
        index[3] = nbytes
        shard.write_bytes(content[: -index.nbytes] + index.tobytes())
        stack = opened(path)
        part = Region((1, 0, 0), (3, 8, 8))
        # zarr since 3.4 cuts ends that are too large for its integers, and finds too few bytes
        reason = r"0/0/0 is cut short or its index|cannot reshape array"
        with pytest.raises(PixelError, match=rf"slices 1 to 2: .*({reason})"):
            stack.read(0, part)
        assert stack.read(0, part.with_z(2, 3)).any()

    def test_a_vanished_array_is_named(self, tmp_path: Path) -> None:
        stack = opened(plain(tmp_path / "a.zarr", voxels()))
        shutil.rmtree(tmp_path / "a.zarr")
        with pytest.raises(PixelError, match=r"a\.zarr"):
            whole(stack)

    def test_a_region_outside_the_stack_is_refused(self, tmp_path: Path) -> None:
        stack = opened(plain(tmp_path / "a.zarr", voxels()))
        with pytest.raises(ValueError, match="not inside"):
            stack.read(0, Region((0, 0, 0), (8, 20, 30)))

    def test_reads_after_pickling(self, tmp_path: Path) -> None:
        values = voxels()
        stack = opened(plain(tmp_path / "a.zarr", values))
        whole(stack)
        np.testing.assert_array_equal(whole(pickle.loads(pickle.dumps(stack))), values)


class TestFingerprint:
    def test_changes_with_content_metadata_and_selection(self, tmp_path: Path) -> None:
        path = plain(tmp_path / "a.zarr", voxels())
        seen = {opened(path).fingerprint, opened(path).selected(1, 7).fingerprint}
        zarr.open_array(path, mode="r+").attrs["note"] = "new"
        seen.add(opened(path).fingerprint)
        os.utime(path / "c" / "0" / "1" / "2", ns=(0, 0))
        seen.add(opened(path).fingerprint)
        assert len(seen) == 4

    def test_changes_with_the_size_of_pixels(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zarr"
        multiscale(path, voxels(), units={"y": "micrometer", "x": "micrometer"})
        before = opened(path)
        group = zarr.open_group(path, mode="r+")
        ome: Any = group.attrs["ome"]
        scale = {"type": "scale", "scale": [2.0, 0.7, 0.25]}
        ome["multiscales"][0]["datasets"][0]["coordinateTransformations"] = [scale]
        group.attrs["ome"] = ome
        assert opened(path).specs[0].pixel_size == (0.7, 0.25)
        assert opened(path).fingerprint != before.fingerprint

    def test_does_not_depend_on_the_place_or_on_reading(self, tmp_path: Path) -> None:
        path = plain(tmp_path / "a.zarr", voxels())
        stack = opened(path)
        whole(stack)
        assert opened(path).fingerprint == stack.fingerprint == stack.selected(0, 9).fingerprint
        shutil.move(path, tmp_path / "b.zarr")
        assert opened(tmp_path / "b.zarr").fingerprint == stack.fingerprint

    def test_an_array_that_was_replaced_is_read_anew(self, tmp_path: Path) -> None:
        path = plain(tmp_path / "a.zarr", voxels())
        whole(opened(path))
        shutil.rmtree(path)
        other = voxels("float32", (3, 9, 9))
        np.testing.assert_array_equal(whole(opened(plain(path, other))), other)
