"""Axes of Zarr arrays that their metadata name, in any order."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from pystack3d_dask.core.spec import Region
from pystack3d_dask.errors import SourceError
from pystack3d_dask.io.zarr.source import ZarrStack, open_zarr

EXTENTS = {"t": 1, "c": 2, "z": 3, "y": 5, "x": 6}
PART = Region((1, 1, 2), (3, 4, 5))
Holder = Literal[
    "dimension_names", "_ARRAY_DIMENSIONS 2", "_ARRAY_DIMENSIONS 3", "0.3", "0.4", "0.5"
]
HOLDERS: tuple[Holder, ...] = (
    "dimension_names",
    "_ARRAY_DIMENSIONS 2",
    "_ARRAY_DIMENSIONS 3",
    "0.3",
    "0.4",
    "0.5",
)
orders = st.sampled_from(["yx", "zyx", "cyx", "czyx", "tzyx", "tczyx"]).flatmap(
    lambda axes: st.permutations(axes).map("".join)
)


def written(path: Path, values: Any, names: list[Any], holder: Holder) -> Path:
    """Write an array with names of its axes."""
    if holder == "dimension_names":
        zarr.create_array(path, data=values, dimension_names=names)
    elif holder.startswith("_ARRAY"):
        attributes = {"_ARRAY_DIMENSIONS": names}
        zarr.create_array(path, data=values, zarr_format=int(holder[-1]), attributes=attributes)  # type: ignore[arg-type]
    else:
        axes = names if holder == "0.3" else [{"name": name} for name in names]
        image: dict[str, Any] = {"axes": axes, "datasets": [{"path": "0"}]}
        attributes = {"multiscales": [image | {"version": holder}]}
        attributes = {"ome": attributes} if holder == "0.5" else attributes
        version: Any = 3 if holder == "0.5" else 2
        zarr.create_group(path, zarr_format=version, attributes=attributes)
        zarr.create_array(path / "0", data=values, zarr_format=version)
    return path


def values_of(order: str) -> Any:
    shape = [EXTENTS[axis] for axis in order]
    return np.arange(np.prod(shape), dtype="uint16").reshape(shape)


def upright(values: Any, order: str, channel: int) -> Any:
    """Return a channel as (z, y, x), by another way than the package's."""
    full = [axis for axis in "tczyx" if axis in order]
    found = np.einsum(values, ["tczyx".index(a) for a in order], ["tczyx".index(a) for a in full])
    for axis in "tczyx":
        if axis not in order:
            found = np.expand_dims(found, "tczyx".index(axis))
    return found[0, channel]


def opened(path: Path) -> ZarrStack:
    return open_zarr({".": path})


@given(order=orders, holder=st.sampled_from(HOLDERS), capital=st.booleans(), long=st.booleans())
def test_axes_in_any_order_are_read_as_they_are_named(
    order: str, holder: Holder, capital: bool, long: bool
) -> None:
    words = {"z": "depth", "y": "row", "x": "column", "c": "channel", "t": "time"}
    names = [words[axis] if long else axis for axis in order]
    names = [name.upper() for name in names] if capital else names
    with tempfile.TemporaryDirectory() as folder:
        values = values_of(order)
        stack = opened(written(Path(folder) / "a.zarr", values, names, holder))
        assert len(stack.channels) == (2 if "c" in order else 1)
        for channel in range(len(stack.channels)):
            expected = upright(values, order, channel)
            np.testing.assert_array_equal(
                stack.read(channel, stack.specs[channel].region), expected
            )
            if "z" in order:
                part = stack.selected(1, 3).read(channel, PART.shifted((-1, 0, 0)))
                np.testing.assert_array_equal(part, expected[PART.slices])
        usual = "".join(axis for axis in "tczyx" if axis in order)
        notes = [note for note in stack.notes if "its axes are" in note]
        assert bool(notes) == (order != usual)


def test_distances_belong_to_the_axes_wherever_they_stand(tmp_path: Path) -> None:
    axes = [{"name": name, "unit": "micrometer"} for name in "xyz"]
    scale = [{"type": "scale", "scale": [0.1, 0.2, 0.5]}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    group = zarr.create_group(
        tmp_path / "a.zarr", attributes={"ome": {"version": "0.5", "multiscales": [image]}}
    )
    group.create_array("0", data=values_of("xyz"))
    spec = opened(tmp_path / "a.zarr").specs[0]
    assert spec.pixel_size == (0.2, 0.1)
    assert spec.z == pytest.approx([0.0, 0.5, 1.0])


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_images_of_versions_without_axes_have_five(tmp_path: Path, version: str) -> None:
    image = {"version": version, "datasets": [{"path": "0"}]}
    group = zarr.create_group(
        tmp_path / "a.zarr", zarr_format=2, attributes={"multiscales": [image]}
    )
    values = values_of("tczyx")
    group.create_array("0", data=values)
    stack = opened(tmp_path / "a.zarr")
    np.testing.assert_array_equal(stack.read(1, stack.specs[1].region), values[0, 1])


@pytest.mark.parametrize(
    "names", [["dim_0", "dim_1", "dim_2"], [None, None, None], ["z", None, "x"]]
)
def test_names_that_contradict_nothing_leave_the_usual_order(
    tmp_path: Path, names: list[str | None]
) -> None:
    values = values_of("zyx")
    stack = opened(written(tmp_path / "a.zarr", values, names, "dimension_names"))
    np.testing.assert_array_equal(stack.read(0, stack.specs[0].region), values)
    assert not stack.notes


def test_names_that_are_not_understood_are_told(tmp_path: Path) -> None:
    names = ["u", "v", "w"]
    stack = opened(written(tmp_path / "a.zarr", values_of("zyx"), names, "dimension_names"))
    (note,) = stack.notes
    assert note.endswith("a.zarr: its axes u, v, w are taken for z, y, x")


@pytest.mark.parametrize(
    ("order", "names", "message"),
    [
        ("zyx", ["time", "y", "x"], "its axis t has 3 times.*name the axis z"),
        ("zyx", ["y", "x", "sample"], r"its axes are y, x, sample; expected some of t, c, z"),
        ("zyx", ["x", "v", "w"], "its axes are x, v, w; expected"),
        ("zyx", ["z", "z", "x"], "its axes are z, z, x; expected y and x"),
        ("yx", ["z", "x"], "its axes are z, x; expected y and x"),
        ("tczyx", ["a", "b", "c", "d", "e"], "the array has 5 axes"),
    ],
)
def test_axes_that_are_no_slices_are_refused(
    tmp_path: Path, order: str, names: list[str], message: str
) -> None:
    path = written(tmp_path / "a.zarr", values_of(order), names, "dimension_names")
    with pytest.raises(SourceError, match=rf"a\.zarr: {message}"):
        opened(path)


def test_an_image_whose_array_names_other_axes_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zarr", values_of("zyx"), list("zyx"), "0.5")
    zarr.create_array(
        path / "0", data=values_of("xyz"), dimension_names=list("xyz"), overwrite=True
    )
    with pytest.raises(SourceError, match="name the axes z, y, x, its array x, y, z: correct"):
        opened(path)


@pytest.mark.parametrize("shape", [(20, 30, 3), (5, 20, 30, 4)])
def test_samples_of_color_without_names_are_not_taken_for_columns(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=np.ones(shape, "uint8"))
    with pytest.raises(SourceError, match="looks like samples of color"):
        opened(tmp_path / "a.zarr")
