"""Sources some of whose slices cannot be read."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from tiff_files import SHAPE, image, opened, segments, write

from pystack3d_dask.core.spec import Region
from pystack3d_dask.errors import PixelError
from pystack3d_dask.io.sources import open_source
from pystack3d_dask.io.tiff import page as tiff_page
from pystack3d_dask.io.tiff.stack import open_tiff
from pystack3d_dask.io.wrappers.mended import Mended, Picked, acquisition

COUNT = 8


def spoil(path: Path, kept: int = 0) -> None:
    """Overwrite all strips but the first ``kept`` ones with bytes that no codec accepts."""
    with path.open("r+b") as file:
        for offset, size in segments(path)[kept:]:
            file.seek(offset)
            file.write(b"\xff" * size)


def written(folder: Path, bad: tuple[int, ...], dtype: str = "uint16", **options: Any) -> Any:
    """Write a stack in strips of 7 rows; slices that are bad have two strips that are not."""
    pixels = image(dtype, (COUNT, *SHAPE))
    options = {"compression": "zlib", "rowsperstrip": 7} | options
    write(folder, pixels, **options)
    for z in bad:
        spoil(folder / f"s{z:03d}.tif", kept=2)
    return pixels


def everything(source: Any, channel: int = 0) -> Any:
    return source.read(channel, source.specs[channel].region)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_blank_slices_stand_in_for_unreadable_ones(tmp_path: Path, dtype: str) -> None:
    pixels = written(tmp_path, bad=(0, 4, 5), dtype=dtype)
    values = everything(Mended(opened(tmp_path), "keep"))
    pixels[[0, 4, 5]] = 0
    np.testing.assert_array_equal(values, pixels)
    assert values.dtype == dtype


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_slices_are_interpolated_by_distance_and_copied_at_the_ends(
    tmp_path: Path, dtype: str
) -> None:
    pixels = written(tmp_path, bad=(0, 3, 4, 7), dtype=dtype)
    values = everything(Mended(opened(tmp_path), "interpolate"))
    between = pixels[[2, 5]].astype(float)
    for z, weight in ((3, 1 / 3), (4, 2 / 3)):
        wanted = (1 - weight) * between[0] + weight * between[1]
        exact = np.rint(wanted) if dtype != "float32" else wanted.astype("float32")
        np.testing.assert_array_equal(values[z], exact)
    pixels[[0, 7]] = pixels[[1, 6]]
    for z in (0, 1, 2, 5, 6, 7):
        np.testing.assert_array_equal(values[z], pixels[z])


def test_positions_weigh_the_neighbors(tmp_path: Path) -> None:
    for z, level in ((0.0, 0), (0.1, 0), (0.4, 100)):
        pixels = np.full(SHAPE, level, "uint8")
        tifffile.imwrite(tmp_path / f"s_z={z:.4f}um.tif", pixels, compression="zlib")
    spoil(tmp_path / "s_z=0.1000um.tif")
    stack = Mended(opened(tmp_path), "interpolate")
    assert everything(stack)[1].tolist() == np.full(SHAPE, 25).tolist()


@pytest.mark.parametrize(("places", "wanted"), [((0.5, 0.2, 0.5), 50), ((0.1, 0.9, 0.5), 100)])
def test_positions_that_make_no_sense_do_no_harm(
    tmp_path: Path, places: tuple[float, ...], wanted: int
) -> None:
    for k, (z, level) in enumerate(zip(places, (0, 0, 100), strict=True)):
        pixels = np.full(SHAPE, level, "uint8")
        tifffile.imwrite(tmp_path / f"{k}_z={z:.4f}um.tif", pixels, compression="zlib")
    spoil(next(tmp_path.glob("1_*.tif")))
    assert set(np.unique(everything(Mended(opened(tmp_path), "interpolate"))[1])) == {wanted}


def test_not_a_number_between_neighbors_is_left_to_those_who_repair_it(tmp_path: Path) -> None:
    pixels = image("float32", (3, *SHAPE))
    pixels[0, 1, 1], pixels[2, 1, 1], pixels[2, 2, 2] = np.inf, -np.inf, np.nan
    write(tmp_path, pixels, compression="zlib")
    spoil(tmp_path / "s001.tif")
    values = everything(Mended(opened(tmp_path), "interpolate"))[1]
    assert np.argwhere(np.isnan(values)).tolist() == [[1, 1], [2, 2]]


@pytest.fixture(scope="module", params=["keep", "interpolate"])
def damaged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Mended, Any]:
    """Return a stack with unreadable slices, and all that it shows."""
    folder = tmp_path_factory.mktemp("damaged")
    written(folder, bad=(0, 2, 5, 6))
    return Mended(opened(folder), request.param), everything(Mended(opened(folder), request.param))


@st.composite
def regions(draw: st.DrawFn) -> Region:
    shape = (COUNT, *SHAPE)
    bounds = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    (z0, z1), (y0, y1), (x0, x1) = bounds
    return Region((z0, y0, x0), (z1, y1, x1))


@given(asked=st.lists(regions(), max_size=4), travels=st.booleans())
def test_pixels_depend_neither_on_the_region_nor_on_what_was_read_before(
    damaged: tuple[Mended, Any], asked: list[Region], travels: bool
) -> None:
    """The top rows of unreadable slices can be decoded: that must not show."""
    stack, whole = damaged
    stack = Mended(stack.source, stack.mode)  # as in a worker that has read nothing yet
    for region in asked:
        stack = pickle.loads(pickle.dumps(stack)) if travels else stack
        np.testing.assert_array_equal(stack.read(0, region), whole[region.slices])


def test_a_slice_is_decoded_once_when_all_of_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, bad=(4,))
    read: list[str] = []

    def counted(folder: str, plane: tiff_page.Plane, *rest: Any) -> None:
        read.append(plane.file)
        tiff_page.read_page(folder, plane, *rest)

    monkeypatch.setattr("pystack3d_dask.io.tiff.stack.read_page", counted)
    everything(Mended(opened(tmp_path), "keep"))
    assert read == [f"s{z:03d}.tif" for z in range(COUNT)]


def test_why_a_slice_is_not_its_own_is_told(tmp_path: Path) -> None:
    written(tmp_path, bad=(4,))
    stack = Mended(opened(tmp_path), "interpolate")
    assert stack.loss(0, 3) is None
    loss = stack.loss(0, 4)
    assert loss is not None
    assert loss.done == "interpolated"
    assert str(tmp_path / "s004.tif") in loss.reason
    assert opened(tmp_path).loss(0, 4) is None


def test_each_channel_has_its_own_unreadable_slices(tmp_path: Path) -> None:
    a = written(tmp_path / "a", bad=(2,))
    b = written(tmp_path / "b", bad=(5,))
    stack = Mended(open_tiff({"a": tmp_path / "a", "b": tmp_path / "b"}), "keep")
    a[2], b[5] = 0, 0
    np.testing.assert_array_equal(everything(stack, 0), a)
    np.testing.assert_array_equal(everything(stack, 1), b)


def test_nothing_is_interpolated_from_nothing(tmp_path: Path) -> None:
    written(tmp_path, bad=tuple(range(COUNT)))
    with pytest.raises(PixelError, match=r"channel \.: none of its slices can be read.*s000\.tif"):
        everything(Mended(opened(tmp_path), "interpolate"))


@pytest.mark.parametrize("mode", ["keep", "interpolate"])
def test_a_file_that_is_gone_is_an_error_since_it_may_come_back(tmp_path: Path, mode: Any) -> None:
    pixels = written(tmp_path, bad=())
    stack = Mended(opened(tmp_path), mode)
    away = (tmp_path / "s003.tif").rename(tmp_path / "away")
    with pytest.raises(PixelError, match=r"s003\.tif.*No such file"):
        everything(stack)
    away.rename(tmp_path / "s003.tif")
    np.testing.assert_array_equal(everything(stack), pixels)


def test_only_selected_slices_are_neighbors(tmp_path: Path) -> None:
    pixels = written(tmp_path, bad=(3,))
    stack = Mended(opened(tmp_path), "interpolate").selected(3, 6)
    assert stack.names == ("s003.tif", "s004.tif", "s005.tif")
    np.testing.assert_array_equal(everything(stack), pixels[[4, 4, 5]])


def test_chunks_of_a_zarr_that_cannot_be_decoded_cost_their_slices(tmp_path: Path) -> None:
    pixels = image("uint8", (COUNT, *SHAPE))
    zarr.create_array(tmp_path / "s.zarr", data=pixels, chunks=(2, *SHAPE))
    (tmp_path / "s.zarr" / "c" / "1" / "0" / "0").write_bytes(b"\xff" * 100)
    stack = Mended(open_source(tmp_path / "s.zarr"), "keep")
    pixels[2:4] = 0
    np.testing.assert_array_equal(everything(stack), pixels)
    assert stack.chunked


def test_what_stands_in_takes_part_in_the_fingerprint(tmp_path: Path) -> None:
    written(tmp_path, bad=())
    stack = opened(tmp_path)
    sources = [stack, *(Mended(stack, mode) for mode in ("keep", "interpolate"))]
    sources += [Picked(stack, (0, 1, 2)), Picked(stack, (0, 1, 3))]
    assert len({source.fingerprint for source in sources}) == 5
    for source in sources:
        assert pickle.loads(pickle.dumps(source)).fingerprint == source.fingerprint


def test_picked_slices_are_a_stack_of_their_own(tmp_path: Path) -> None:
    for k in range(COUNT):
        tifffile.imwrite(tmp_path / f"s_z={k / 10:.4f}um.tif", image("uint8", seed=k))
    stack = opened(tmp_path)
    pixels = everything(stack)
    picked = Picked(stack, (1, 2, 5, 7))
    assert picked.specs[0].shape == (4, *SHAPE)
    assert picked.specs[0].z == (0.1, 0.2, 0.5, 0.7)
    assert picked.names == picked.specs[0].names == tuple(stack.names[z] for z in (1, 2, 5, 7))
    np.testing.assert_array_equal(everything(picked), pixels[[1, 2, 5, 7]])
    part = Region((1, 5, 6), (3, 20, 30))
    np.testing.assert_array_equal(picked.read(0, part), pixels[[2, 5], 5:20, 6:30])
    np.testing.assert_array_equal(everything(picked.selected(2, 9)), pixels[[5, 7]])
    assert picked.loss(0, 3) is None
    assert acquisition(picked) is stack


@pytest.mark.parametrize("around", [lambda s: Mended(s, "keep"), lambda s: Picked(s, (0, 1))])
def test_regions_outside_the_stack_are_refused(tmp_path: Path, around: Any) -> None:
    written(tmp_path, bad=())
    stack = around(opened(tmp_path).selected(0, 2))
    for region in (Region((-1, 0, 0), (1, 3, 3)), Region((0, 0, 0), (2, 62, 3))):
        with pytest.raises(ValueError, match="not inside a stack"):
            stack.read(0, region)
