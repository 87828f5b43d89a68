"""Exports: what was computed, as files that others read, and nothing lost on the way."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr_models.v04.image import Image
from stacks import STEPS, images, make_project, write_params

from pystack3d_dask import open_result, open_stack
from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.errors import ExportError, PixelError
from pystack3d_dask.export.export import SliceDone
from pystack3d_dask.export.stored import file_names, origins
from pystack3d_dask.io.zarr.chunk import replacing
from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.project.channel_folder import channel_folder

BACKGROUND = {"cropping": STEPS["cropping"], "bkg_removal": STEPS["bkg_removal"]}


def corrected(directory: Path, *arguments: Any, **settings: Any) -> Pipeline:
    """Make a project and run it."""
    pipeline = Pipeline.from_toml(make_project(directory, *arguments, **settings))
    pipeline.run()
    return pipeline


def tagged(directory: Path, stack: Any, **options: Any) -> Pipeline:
    """Make and run a project whose slices say in a private tag which they are."""
    directory.mkdir()
    for z, image in enumerate(stack):
        tags = [(51023, 2, 0, f"<Fibics>{z}</Fibics>", False)]
        path = directory / f"slice_{z:04d}_z={z * 0.01:.4f}um.tif"
        tifffile.imwrite(path, image, metadata=None, extratags=tags, **options)
    write_params(directory, BACKGROUND)
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    return pipeline


def result(pipeline: Pipeline) -> Any:
    assert pipeline.project.directory is not None
    return open_result(pipeline.project.directory).values


def tag(path: Path, page: int = 0) -> str:
    with tifffile.TiffFile(path) as tif:
        return str(tif.pages[page].tags[51023].value)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_slices_are_the_result_under_the_names_of_the_source(tmp_path: Path, dtype: str) -> None:
    pipeline = corrected(tmp_path / "p", BACKGROUND, images(dtype=dtype))
    written = pipeline.export_tiff(tmp_path / "out")
    assert [path.name for path in written] == list(pipeline.project.source.names)
    exported = open_stack(tmp_path / "out")
    assert exported.dtype == dtype
    np.testing.assert_array_equal(exported.values, result(pipeline))
    np.testing.assert_allclose(exported.z, np.arange(20) * 0.01)


def test_large_slices_are_put_together_from_their_tiles(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 256, (3, 530, 1100), np.uint8)
    pipeline = corrected(tmp_path / "p", [], stack)
    pipeline.export_tiff(tmp_path / "out")
    np.testing.assert_array_equal(open_stack(tmp_path / "out").values[0], stack)


def test_slices_are_stored_and_tagged_like_those_they_come_from(tmp_path: Path) -> None:
    options = {"compression": "lzw", "predictor": True, "tile": (16, 32)}
    pipeline = tagged(tmp_path / "p", images(), resolution=(1e6, 1e6), resolutionunit=3, **options)
    written = pipeline.export_tiff(tmp_path / "out")
    assert [tag(path) for path in written] == [f"<Fibics>{z}</Fibics>" for z in range(20)]
    with tifffile.TiffFile(written[7]) as tif:
        page = tif.pages[0]
        assert (page.compression, page.predictor, page.tile) == (5, 2, (16, 32))
        assert (page.resolution, page.resolutionunit) == ((1e6, 1e6), 3)


def test_each_channel_has_its_directory_and_type(tmp_path: Path) -> None:
    stack = {"ESB": images(dtype="uint8"), "SE2": images(dtype="uint16", seed=2)}
    pipeline = corrected(tmp_path / "p", BACKGROUND, stack)
    pipeline.export_tiff(tmp_path / "out")
    for index, (name, values) in enumerate(stack.items()):
        exported = open_stack(tmp_path / "out" / name)
        assert exported.dtype == values.dtype
        np.testing.assert_array_equal(exported.values[0], result(pipeline)[index])


def test_a_bigtiff_per_channel_has_a_page_per_slice(tmp_path: Path) -> None:
    stack = {"ESB": images(), "SE2": images(seed=2)}
    pipeline = corrected(tmp_path / "p", BACKGROUND, stack)
    written = pipeline.export_bigtiff(tmp_path / "out" / "all.tif")
    assert [path.name for path in written] == ["all_ESB.tif", "all_SE2.tif"]
    for path, values in zip(written, result(pipeline), strict=True):
        assert path.read_bytes()[:4] == b"II+\0"
        np.testing.assert_array_equal(tifffile.imread(path), values)
        np.testing.assert_array_equal(open_stack(path).values[0], values)


def test_a_bigtiff_carries_the_tags_of_each_slice_and_the_distances(tmp_path: Path) -> None:
    pipeline = tagged(tmp_path / "p", images(), resolution=(1e6, 5e5), resolutionunit=3)
    (path,) = pipeline.export_bigtiff(tmp_path / "all.tif")
    assert [tag(path, z) for z in range(20)] == [f"<Fibics>{z}</Fibics>" for z in range(20)]
    with tifffile.TiffFile(path) as tif:
        assert tif.pages[3].compression == 1
        assert tif.imagej_metadata["spacing"] == pytest.approx(0.01)
    assert float(open_stack(path).y[1] - open_stack(path).y[0]) == pytest.approx(0.02)


def test_a_zarr_source_has_no_tags_and_becomes_deflate(tmp_path: Path) -> None:
    stack = images()
    zarr.create_array(tmp_path / "p" / "stack.zarr", data=stack, chunks=(4, 50, 64))
    write_params(tmp_path / "p", BACKGROUND)
    pipeline = Pipeline.from_toml(tmp_path / "p")
    pipeline.run()
    written = pipeline.export_tiff(tmp_path / "out")
    with tifffile.TiffFile(written[0]) as tif:
        assert tif.pages[0].compression == 8
    np.testing.assert_array_equal(open_stack(tmp_path / "out").values, result(pipeline))


def test_what_a_step_left_is_exported_as_it_is_stored(tmp_path: Path) -> None:
    steps = {**BACKGROUND, "intensity_rescaling": {}}
    steps["bkg_removal"] = {**STEPS["bkg_removal"], "checkpoint": True}
    pipeline = corrected(tmp_path / "p", steps)
    pipeline.export_tiff(tmp_path / "out", step="bkg_removal")
    exported = open_stack(tmp_path / "out")
    assert exported.dtype == np.float32
    alone = corrected(tmp_path / "alone", BACKGROUND)
    np.testing.assert_array_equal(np.rint(np.clip(exported.values, 0, 255)), result(alone))
    pipeline.export_bigtiff(tmp_path / "all.tif", step="cropping")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "all.tif"), images()[:, 2:45, 3:60])


def test_a_step_that_is_not_stored_is_told_with_those_that_are(tmp_path: Path) -> None:
    pipeline = corrected(tmp_path / "p", {**BACKGROUND, "intensity_rescaling": {}})
    with pytest.raises(ExportError, match=r"'cropping', 'intensity_rescaling'.*checkpoint = true"):
        pipeline.export_tiff(tmp_path / "out", step="bkg_removal")
    with pytest.raises(ExportError, match=r"'croping' is not one of the steps"):
        pipeline.export_tiff(tmp_path / "out", step="croping")
    assert not (tmp_path / "out").exists()


def test_without_a_result_of_these_parameters_nothing_is_exported(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", BACKGROUND)
    exports = [
        lambda pipeline: pipeline.export_tiff(tmp_path / "out"),
        lambda pipeline: pipeline.export_bigtiff(tmp_path / "out"),
        lambda pipeline: pipeline.export_ome_zarr04(tmp_path / "out"),
        lambda pipeline: pipeline.export_reference_layout(),
    ]
    Pipeline.from_toml(project).run()
    write_params(project, ["cropping"])
    for export in exports:
        with pytest.raises(ExportError, match="no complete result of these steps"):
            export(Pipeline.from_toml(project))
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_overwritten_only_when_told_to(tmp_path: Path) -> None:
    pipeline = corrected(tmp_path / "p", ["cropping"])
    out = tmp_path / "out"
    pipeline.export_tiff(out)
    first = out / pipeline.project.source.names[0]
    first.write_bytes(b"mine")
    with pytest.raises(ExportError, match="not empty; --overwrite"):
        pipeline.export_tiff(out)
    assert first.read_bytes() == b"mine"
    pipeline.export_tiff(out, overwrite=True)
    np.testing.assert_array_equal(open_stack(out).values, result(pipeline))
    (out / "other.tif").write_bytes(b"mine")
    with pytest.raises(ExportError, match=r"other\.tif, which would be taken for slices"):
        pipeline.export_tiff(out, overwrite=True)
    with pytest.raises(ExportError, match="exists; --overwrite"):
        pipeline.export_bigtiff(out / "other.tif")
    pipeline.export_bigtiff(out / "other.tif", overwrite=True)
    assert len(open_stack(out / "other.tif").z) == 20


def test_the_slices_of_the_source_are_never_touched(tmp_path: Path) -> None:
    pipeline = corrected(tmp_path / "p", ["cropping"], {"ESB": images()})
    before = {path: path.read_bytes() for path in (tmp_path / "p" / "ESB").iterdir()}
    for overwrite in (False, True):
        with pytest.raises(ExportError, match=r"ESB holds the slices.*slice_0000"):
            pipeline.export_tiff(tmp_path / "p", overwrite=overwrite)
        with pytest.raises(ExportError, match=r"ESB holds the slices.*slice_0000"):
            pipeline.export_bigtiff(tmp_path / "p" / "ESB" / "all.tif", overwrite=overwrite)
    assert {path: path.read_bytes() for path in (tmp_path / "p" / "ESB").iterdir()} == before


def test_every_slice_is_told_on_the_way(tmp_path: Path) -> None:
    pipeline = corrected(tmp_path / "p", ["cropping"], {"A": images(), "B": images()})
    for export in (pipeline.export_tiff, pipeline.export_bigtiff):
        told: list[SliceDone] = []
        export(tmp_path / export.__name__ / "out", on_slice=told.append)
        assert [(event.done, event.total) for event in told] == [(k, 40) for k in range(1, 41)]
        assert told[0].name.endswith(pipeline.project.source.names[0])


def test_an_interrupted_export_leaves_whole_files_and_can_be_repeated(tmp_path: Path) -> None:
    pipeline = corrected(tmp_path / "p", ["cropping"])

    def interrupt(event: SliceDone) -> None:
        if event.done == 5:
            raise KeyboardInterrupt

    for path in (tmp_path / "out", tmp_path / "all.tif"):
        export = pipeline.export_bigtiff if path.suffix else pipeline.export_tiff
        with pytest.raises(KeyboardInterrupt):
            export(path, on_slice=interrupt)
    assert not (tmp_path / "all.tif").exists()
    files = list((tmp_path / "out").iterdir())
    assert 5 <= len(files) < 20
    wanted = dict(zip(pipeline.project.source.names, result(pipeline)[0], strict=True))
    for file in files:
        np.testing.assert_array_equal(tifffile.imread(file), wanted[file.name])
    pipeline.export_tiff(tmp_path / "out", overwrite=True)
    assert len(open_stack(tmp_path / "out").z) == 20


KILLED = """
import os, sys
import numpy as np
from tifffile import TiffWriter
from pystack3d_dask.pipeline import Pipeline

write, count = TiffWriter.write, [0]

def dying(self, *arguments, **options):
    write(self, *arguments, **options)
    count[0] += 1
    if count[0] == 4:
        os._exit(9)

TiffWriter.write = dying
pipeline = Pipeline.from_toml(sys.argv[1])
getattr(pipeline, sys.argv[2])(sys.argv[3])
"""


@pytest.mark.parametrize("export", ["export_tiff", "export_bigtiff"])
def test_a_killed_export_leaves_nothing_broken_under_its_name(tmp_path: Path, export: str) -> None:
    pipeline = corrected(tmp_path / "p", ["cropping"])
    out = tmp_path / "to" / "out.tif"
    code = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "p"), export, str(out)]
    assert subprocess.run(code, check=False).returncode == 9
    folder = out if export == "export_tiff" else out.parent
    assert any(path.suffix == ".partial" for path in folder.iterdir())
    for path in folder.glob("*.tif"):
        assert tifffile.imread(path).shape == (43, 57)
    getattr(pipeline, export)(out, overwrite=True)
    assert not any(path.suffix == ".partial" for path in folder.iterdir())
    np.testing.assert_array_equal(open_stack(out).values, result(pipeline))


@pytest.mark.parametrize("export", ["export_tiff", "export_bigtiff", "export_ome_zarr04"])
def test_memory_does_not_grow_with_the_stack(tmp_path: Path, export: str) -> None:
    def peak(slices: int) -> int:
        image = np.random.default_rng(0).integers(0, 256, (300, 400), np.uint8)
        stack = np.broadcast_to(image, (slices, 300, 400))
        pipeline = corrected(tmp_path / str(slices), [], stack)
        out = tmp_path / f"{slices}-out"
        getattr(pipeline, export)(out.with_suffix(".first"))  # what is loaded on first use
        tracemalloc.start()
        getattr(pipeline, export)(out)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(400) < peak(130) + 10 * 300 * 400


def test_damage_in_the_result_is_named(tmp_path: Path) -> None:
    pipeline = corrected(tmp_path / "p", ["cropping"])
    shards = sorted(
        path for path in pipeline.project.workspace.result.glob("scale0/image/c/0/*/0/0")
    )
    content = bytearray(shards[1].read_bytes())
    content[10] ^= 1
    shards[1].write_bytes(content)
    shards[3].unlink()
    with pytest.raises(PixelError, match=r"0/1/0/0: the checksum.*`pystack3d-dask verify`"):
        pipeline.export_tiff(tmp_path / "out")
    shards[1].write_bytes(shards[0].read_bytes())
    with pytest.raises(PixelError, match=r"0/3/0/0: it is missing"):
        pipeline.export_bigtiff(tmp_path / "all.tif")


def test_ome_zarr_04_is_valid_and_the_same(tmp_path: Path) -> None:
    stack = {
        name: np.random.default_rng(k).integers(0, 256, (20, 70, 1100), np.uint8)
        for k, name in enumerate("AB")
    }
    pipeline = corrected(tmp_path / "p", ["cropping_final"], stack)
    path = pipeline.export_ome_zarr04(tmp_path / "old.zarr")
    Image.from_zarr(zarr.open_group(path, mode="r"))
    assert (path / ".zgroup").exists()
    assert not list(tmp_path.glob("*.partial"))
    exported, wanted = open_stack(path), open_result(tmp_path / "p")
    np.testing.assert_array_equal(exported.values, wanted.values)
    assert list(exported.c.values) == ["A", "B"]


def test_ome_zarr_04_has_the_coarser_levels_and_where_they_lie(tmp_path: Path) -> None:
    directory = tmp_path / "p"
    pipeline = tagged(directory, images((9, 60, 1100)), resolution=(1e6, 1e6), resolutionunit=3)
    write_params(directory, [])
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    path = pipeline.export_ome_zarr04(tmp_path / "old.zarr")
    old, new = (
        zarr.open_group(each, mode="r") for each in (path, pipeline.project.workspace.result)
    )
    levels = len(new.attrs["ome"]["multiscales"][0]["datasets"])
    assert levels > 1
    for level in range(levels):
        np.testing.assert_array_equal(old[str(level)][:], new[f"scale{level}/image"][:])
    multiscale = old.attrs["multiscales"][0]
    assert (multiscale["version"], multiscale["axes"][1]["unit"]) == ("0.4", "micrometer")
    scale, _ = multiscale["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == pytest.approx([1, 0.01, 0.01, 0.01])


def test_ome_zarr_04_replaces_its_like_only(tmp_path: Path) -> None:
    pipeline = corrected(tmp_path / "p", ["cropping"])
    path = pipeline.export_ome_zarr04(tmp_path / "old.zarr")
    with pytest.raises(ExportError, match="exists; --overwrite"):
        pipeline.export_ome_zarr04(path)
    pipeline.export_ome_zarr04(path, overwrite=True)
    np.testing.assert_array_equal(open_stack(path).values, result(pipeline))
    (tmp_path / "mine").mkdir()
    for mine in (tmp_path / "mine", pipeline.project.workspace.result, tmp_path / "p"):
        with pytest.raises(ExportError, match=r"left alone|source lies"):
            pipeline.export_ome_zarr04(mine, overwrite=True)
        assert mine.exists()


def spec(count: int, **given: Any) -> StackSpec:
    u1 = np.dtype("u1")
    return StackSpec(shape=(count, 2, 2), dtype=u1, source_dtype=u1, **given)


def test_slices_without_names_are_numbered() -> None:
    assert file_names(spec(2)) == ["slice_0000.tif", "slice_0001.tif"]
    assert file_names(spec(2, names=("a.TIFF", "b"))) == ["a.TIFF", "b.tif"]


@pytest.mark.parametrize("names", [("a.tif", "a.tif"), ("a", "a.tif"), ("../a.tif", "b.tif")])
def test_names_that_cannot_be_those_of_files_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ExportError, match="names of the slices"):
        file_names(spec(2, names=names))


def test_slices_of_the_source_keep_their_tags_and_new_ones_take_the_nearest(tmp_path: Path) -> None:
    steps = {"resampling": {"zpos_out": [0.03, 0.05, 0.054, 0.056]}}
    directory = make_project(tmp_path, steps, images((7, 40, 50)), ind_min=3)
    pipeline = Pipeline.from_toml(directory)
    (chain,) = pipeline.project.chains()
    assert origins(pipeline.project, chain, 0) == (0, 1, 2, 3)
    assert origins(pipeline.project, chain, 1) == (0, 2, 2, 3)


def test_tags_are_those_of_the_nearest_slice_by_the_size_of_voxels_that_is_given(
    tmp_path: Path,
) -> None:
    for k, image in enumerate(images((6, 40, 50))):
        tag = (65000, "s", 0, f"slice {k}", True)
        name = f"slice_{k:04d}_z={k / 100:.4f}um.tif"
        tifffile.imwrite(tmp_path / name, image, metadata=None, extratags=[tag])
    with (tmp_path / "slice_0002_z=0.0200um.tif").open("r+b") as file:
        file.truncate(2000)
    steps = {"resampling": {"dz": 0.05, "z_source": "coordinates"}}
    write_params(tmp_path, steps, {"voxel_size": [0.02, 0.03, 0.05], "bad_slices": "drop"})
    pipeline = Pipeline.from_toml(tmp_path)
    pipeline.run()
    found = []
    for path in pipeline.export_tiff(tmp_path / "out"):
        with tifffile.TiffFile(path) as tif:
            found.append(tif.pages[0].tags[65000].value)
    assert found == [f"slice {k}" for k in (0, 1, 1, 3, 4, 5)]


def test_channels_have_directories_inside_that_of_the_export() -> None:
    names = {".": ".", "": ".", "ESB": "ESB", "data/ESB": "data/ESB", "ESB:R": "ESB_R"}
    assert {name: str(channel_folder(name)) for name in names} == names
    assert str(channel_folder("../../up")) == "up"


def test_files_that_were_being_written_are_told_from_others(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full") as caught, replacing(tmp_path / "a.tif"):
        raise OSError(28, "full")
    assert caught.value.filename == str(tmp_path / "a.tif")
    assert not list(tmp_path.iterdir())


def test_after_cleaning_the_result_is_still_complete(tmp_path: Path) -> None:
    pipeline = corrected(tmp_path / "p", ["cropping", "bkg_removal"])
    before = result(pipeline)
    freed = pipeline.clean()
    assert list(freed) == ["cropping"]
    assert freed["cropping"] > 1000
    assert not (pipeline.project.workspace.work / "levels" / "cropping").exists()
    assert pipeline.clean() == {}
    assert pipeline.run().passes == ()
    np.testing.assert_array_equal(result(pipeline), before)
    pipeline.export_tiff(tmp_path / "out")


def test_after_cleaning_other_parameters_are_computed_from_the_source(tmp_path: Path) -> None:
    steps = ["cropping", "bkg_removal", "intensity_rescaling"]
    corrected(tmp_path / "p", steps).clean()
    other = {**BACKGROUND, "intensity_rescaling": {"filter_size": -1}}
    write_params(tmp_path / "p", other)
    changed = Pipeline.from_toml(tmp_path / "p")
    assert changed.run().passes[0].label.startswith("cropping")
    np.testing.assert_array_equal(result(changed), result(corrected(tmp_path / "fresh", other)))


def test_cleaning_what_was_never_run_frees_nothing(tmp_path: Path) -> None:
    pipeline = Pipeline.from_toml(make_project(tmp_path, ["cropping"]))
    assert pipeline.clean() == {}
    assert not (tmp_path / "process").exists()
