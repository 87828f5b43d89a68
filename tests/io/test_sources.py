"""Opening a path, whatever it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from pystack3d_dask.errors import SourceError
from pystack3d_dask.io.source import Source
from pystack3d_dask.io.sources import open_source
from pystack3d_dask.io.tiff.stack import TiffStack
from pystack3d_dask.io.zarr.source import ZarrStack

VALUES: Any = np.arange(3 * 8 * 9, dtype="uint8").reshape(3, 8, 9)


def slices(folder: Path, values: Any = VALUES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for k, pixels in enumerate(values):
        tifffile.imwrite(folder / f"s{k}.tif", pixels)
    return folder


def pages(path: Path, values: Any = VALUES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, values, photometric="minisblack")
    return path


def array(path: Path, values: Any = VALUES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    zarr.create_array(path, data=values)
    return path


def whole(source: Source, channel: int = 0) -> Any:
    return source.read(channel, source.specs[channel].region)


class TestRecognizes:
    @pytest.mark.parametrize("channel", [".", ""])
    def test_slices_in_the_directory_itself(self, tmp_path: Path, channel: str) -> None:
        source = open_source(slices(tmp_path), channels=[channel])
        assert isinstance(source, TiffStack)
        assert source.channels == (channel,)
        assert not source.chunked
        np.testing.assert_array_equal(whole(source), VALUES)

    def test_slices_in_sub_directories(self, tmp_path: Path) -> None:
        slices(tmp_path / "ESB")
        slices(tmp_path / "SE2", VALUES[::-1])
        source = open_source(str(tmp_path), channels=["SE2", "ESB"])
        assert source.channels == ("SE2", "ESB")
        np.testing.assert_array_equal(whole(source, 0), VALUES[::-1])
        np.testing.assert_array_equal(whole(source, 1), VALUES)

    def test_a_multi_page_file_and_one_in_a_directory(self, tmp_path: Path) -> None:
        path = pages(tmp_path / "ESB" / "stack.tif")
        for source in (open_source(path), open_source(tmp_path, channels=["ESB"])):
            np.testing.assert_array_equal(whole(source), VALUES)

    def test_slices_and_a_multi_page_file_as_two_channels(self, tmp_path: Path) -> None:
        slices(tmp_path / "ESB")
        pages(tmp_path / "SE2" / "stack.tif")
        source = open_source(tmp_path, channels=["ESB", "SE2"])
        np.testing.assert_array_equal(whole(source, 0), whole(source, 1))

    def test_a_zarr_and_one_in_a_directory(self, tmp_path: Path) -> None:
        path = array(tmp_path / "project" / "stack.zarr")
        (tmp_path / "project" / "params.toml").touch()
        for where in (path, path.parent):
            source = open_source(where)
            assert isinstance(source, ZarrStack)
            assert source.chunked
            np.testing.assert_array_equal(whole(source), VALUES)

    def test_zarrs_as_channels(self, tmp_path: Path) -> None:
        array(tmp_path / "ESB.zarr")
        array(tmp_path / "SE2" / "stack.zarr")
        source = open_source(tmp_path, channels=["ESB.zarr", "SE2"])
        assert source.channels == ("ESB.zarr", "SE2")

    def test_channels_of_a_zarr_by_name(self, tmp_path: Path) -> None:
        path = array(tmp_path / "stack.zarr", np.stack([VALUES, VALUES[::-1]]))
        source = open_source(path, channels=["1"])
        np.testing.assert_array_equal(whole(source), VALUES[::-1])

    def test_slices_before_a_zarr_beside_them_which_is_told(self, tmp_path: Path) -> None:
        array(tmp_path / "exported.zarr")
        source = open_source(slices(tmp_path))
        assert isinstance(source, TiffStack)
        assert source.notes == (
            f"{tmp_path} holds TIFF slices, which are taken, and exported.zarr, left aside",
        )

    def test_an_overview_beside_channels_telling_of_these(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "overview.tif", VALUES[0])
        slices(tmp_path / "ESB")
        slices(tmp_path / "SE2")
        slices(tmp_path / "few", VALUES[:1])
        (note,) = open_source(tmp_path).notes
        assert "with 1 slices; its sub-directories ESB (3), SE2 (3) hold more" in note
        assert 'channels = ["ESB", "SE2"] takes these' in note
        assert not open_source(tmp_path, channels=["ESB", "SE2"]).notes

    def test_nothing_to_tell_of_exported_slices_in_a_sub_directory(self, tmp_path: Path) -> None:
        slices(tmp_path)
        slices(tmp_path / "exported")
        assert not open_source(tmp_path).notes

    def test_color_when_it_is_asked_for(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "s.tif", np.zeros((8, 9, 3), "uint8"), photometric="rgb")
        assert open_source(tmp_path, samples="channels").channels == ("R", "G", "B")


class TestRefuses:
    def test_a_path_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="nowhere: it does not exist"):
            open_source(tmp_path / "nowhere")

    def test_a_link_to_itself(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        with pytest.raises(SourceError, match="loop: it does not exist, or is a link"):
            open_source(tmp_path / "loop")

    def test_a_directory_without_slices_saying_what_it_holds(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").touch()
        expected = r"no slices; expected .*Zarr.*\*\.tif.*found 'notes\.txt'"
        with pytest.raises(SourceError, match=expected):
            open_source(tmp_path)
        with pytest.raises(SourceError, match=r"notes\.txt: no slices"):
            open_source(tmp_path / "notes.txt")

    def test_a_missing_channel_suggesting_those_there_are(self, tmp_path: Path) -> None:
        for name in ("ESB", "SE2"):
            slices(tmp_path / name)
        hint = r'did you mean channels = \["ESB", "SE2"\]\?'
        with pytest.raises(SourceError, match=rf"no slices(.|\n)*{hint}"):
            open_source(tmp_path)
        with pytest.raises(SourceError, match=rf"InLens: it does not exist(.|\n)*{hint}"):
            open_source(tmp_path, channels=["ESB", "InLens"])

    def test_several_zarrs_suggesting_to_choose(self, tmp_path: Path) -> None:
        for name in ("a.zarr", "b.zarr"):
            array(tmp_path / name)
        with pytest.raises(SourceError, match=r'did you mean channels = \["a.zarr", "b.zarr"\]'):
            open_source(tmp_path)

    @pytest.mark.parametrize("channel", [".", "ESB"])
    def test_a_zarr_beside_one_file_unless_it_is_chosen(self, tmp_path: Path, channel: str) -> None:
        array(tmp_path / channel / "raw.zarr")
        pages(tmp_path / channel / "corrected.tif", VALUES[::-1])
        with pytest.raises(SourceError, match=r"corrected\.tif, and a Zarr, raw\.zarr") as caught:
            open_source(tmp_path, channels=[channel])
        for name, expected in (("corrected.tif", VALUES[::-1]), ("raw.zarr", VALUES)):
            chosen = (Path(channel) / name).as_posix()
            assert f'channels = ["{chosen}"]' in str(caught.value)
            source = open_source(tmp_path, channels=[chosen])
            np.testing.assert_array_equal(whole(source), expected)

    def test_several_multi_page_files_saying_how_to_choose(self, tmp_path: Path) -> None:
        pages(tmp_path / "a.tif")
        pages(tmp_path / "b.tif", VALUES[::-1])
        with pytest.raises(SourceError, match=r"it holds 3 slices(.|\n)*name (.|\n)*in channels"):
            open_source(tmp_path)
        np.testing.assert_array_equal(whole(open_source(tmp_path, channels=["a.tif"])), VALUES)

    @pytest.mark.parametrize("name", ["..", "../other", "a/../../b", "/abs", r"..\x", r"C:\x"])
    def test_channels_that_leave_the_directory(self, tmp_path: Path, name: str) -> None:
        slices(tmp_path)
        with pytest.raises(SourceError, match="not inside the directory"):
            open_source(tmp_path, channels=[name])

    @pytest.mark.parametrize(
        ("channels", "message"), [([], "channels is empty"), (["a", "a"], "'a' more than once")]
    )
    def test_no_or_repeated_channels(
        self, tmp_path: Path, channels: list[str], message: str
    ) -> None:
        with pytest.raises(SourceError, match=message):
            open_source(tmp_path, channels=channels)

    def test_sub_directories_of_a_file(self, tmp_path: Path) -> None:
        path = pages(tmp_path / "stack.tif")
        with pytest.raises(SourceError, match=r'stack\.tif is a file.*channels = \["\."\]'):
            open_source(path, channels=["ESB"])

    def test_channels_of_different_kinds(self, tmp_path: Path) -> None:
        slices(tmp_path / "ESB")
        array(tmp_path / "SE2.zarr")
        with pytest.raises(SourceError, match=r"'ESB' is a directory of .*'SE2\.zarr' is a Zarr"):
            open_source(tmp_path, channels=["ESB", "SE2.zarr"])
