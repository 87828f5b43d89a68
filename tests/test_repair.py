"""Damage on disk: it is found when it is read or looked for, and only its blocks are made again."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from stacks import STEPS, images, make_project

from pystack3d_dask import open_result
from pystack3d_dask.errors import RunError, StackError
from pystack3d_dask.pipeline import Pipeline

CHAIN = ["cropping", "bkg_removal", "intensity_rescaling"]
HEAVY = {
    "cropping": STEPS["cropping"],
    "destriping": STEPS["destriping"],
    "intensity_rescaling": STEPS["intensity_rescaling"],
}


def flip(path):
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def empty(path):
    path.write_bytes(b"")


def delete(path):
    path.unlink()


every_damage = pytest.mark.parametrize("damage", [flip, truncate, empty, delete])


@pytest.fixture
def directory(tmp_path):
    return make_project(tmp_path / "project", CHAIN, images((40, 50, 64)))


@pytest.fixture
def expected(tmp_path):
    other = make_project(tmp_path / "undisturbed", CHAIN, images((40, 50, 64)))
    Pipeline.from_toml(other).run()
    return values(other)


def values(directory):
    return open_result(directory).values


def chunks(directory, level):
    return sorted((directory / "process" / "work.zarr" / "levels" / level).glob("c.*"))


def shards(directory):
    return sorted(
        p for p in directory.glob("process/result.zarr/scale0/image/c/**/*") if p.is_file()
    )


def interrupted_after(pipeline, number):
    """Run until the first block of a pass is done."""

    def interrupt(event):
        if event.number == number:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(on_block=interrupt)


@every_damage
def test_what_is_damaged_between_passes_is_made_again_and_nothing_else(directory, expected, damage):
    pipeline = Pipeline.from_toml(directory)
    interrupted_after(pipeline, 2)
    stored = chunks(directory, "cropping")
    before = {path: path.stat().st_mtime_ns for path in stored}
    damage(stored[17])
    summary = pipeline.run()
    assert len(summary.passes) == 2
    np.testing.assert_array_equal(values(directory), expected)
    written = [path for path in stored if path.stat().st_mtime_ns != before[path]]
    assert stored[17] in written
    assert len(written) <= 4  # the slices of one block


@every_damage
def test_heavy_work_is_not_done_again_for_other_blocks(tmp_path, damage):
    directory = make_project(tmp_path / "project", HEAVY, images((40, 50, 64)))
    undisturbed = make_project(tmp_path / "undisturbed", HEAVY, images((40, 50, 64)))
    Pipeline.from_toml(undisturbed).run()
    pipeline = Pipeline.from_toml(directory)
    interrupted_after(pipeline, 2)
    stored = chunks(directory, "destriping")
    before = {path: path.stat().st_mtime_ns for path in stored}
    damage(stored[-1])
    pipeline.run()
    np.testing.assert_array_equal(values(directory), values(undisturbed))
    assert len([path for path in stored if path.stat().st_mtime_ns != before[path]]) <= 8


def test_it_is_told_when_the_source_is_damaged_too(directory):
    pipeline = Pipeline.from_toml(directory)
    interrupted_after(pipeline, 2)
    flip(directory / "process" / "work.zarr" / "levels" / "cropping" / "c.0.17.0.0")
    victim = sorted(directory.glob("*.tif"))[17]
    victim.write_bytes(victim.read_bytes()[:1000])
    with pytest.raises(RunError) as caught:
        pipeline.run()
    assert "could not be made again" in str(caught.value)
    assert victim.name in str(caught.value)


@every_damage
def test_a_damaged_record_means_that_its_block_is_done_again(directory, expected, damage):
    pipeline = Pipeline.from_toml(directory)
    interrupted_after(pipeline, 2)
    records = sorted(directory.glob("process/work.zarr/records/*/*.json"))
    damage(records[0])
    pipeline.run()
    np.testing.assert_array_equal(values(directory), expected)


@pytest.mark.parametrize("damage", [truncate, empty])
def test_damaged_summaries_are_gathered_again(directory, expected, damage):
    pipeline = Pipeline.from_toml(directory)

    def interrupt(event):
        if (event.number, event.done) == (1, 5):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(on_block=interrupt)
    damage(sorted(directory.glob("process/work.zarr/records/*/*.npz"))[2])
    pipeline.run()
    np.testing.assert_array_equal(values(directory), expected)


def test_a_finished_store_is_as_it_was_written(directory):
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    found = pipeline.verify()
    stored = [
        *directory.glob("process/result.zarr/scale*/image/c/**/*"),
        *chunks(directory, "cropping"),
    ]
    stored = [path for path in stored if path.is_file()]
    assert found.files == len(stored)
    assert found.bytes == sum(path.stat().st_size for path in stored)
    assert found.damages == ()
    assert found.is_complete
    assert pipeline.plan().passes == ()


@every_damage
@pytest.mark.parametrize("cleaned", [False, True], ids=["levels kept", "levels freed"])
def test_what_is_damaged_in_a_result_is_told_and_made_again(directory, expected, damage, cleaned):
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    if cleaned:
        pipeline.clean()
    stored = shards(directory)
    before = {path: path.stat().st_mtime_ns for path in stored}
    damage(stored[3])
    found = pipeline.verify()
    assert [each.path for each in found.damages] == [str(stored[3])]
    assert not found.is_complete
    with pytest.raises(StackError, match="not complete"):
        open_result(directory)
    summary = pipeline.run()
    assert [(item.tasks, item.resumed) for item in summary.passes] == [(1, len(stored) - 1)]
    np.testing.assert_array_equal(values(directory), expected)
    changed = [path for path in stored if path.stat().st_mtime_ns != before[path]]
    assert changed == [stored[3]]
    assert pipeline.verify().is_complete


def test_figures_stay_complete_when_a_block_is_made_again(directory):
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    figures = directory / "process" / "work.zarr" / "figures"
    shutil.copytree(figures, directory / "figures")
    pipeline.clean()
    flip(shards(directory)[0])
    pipeline.verify()
    pipeline.run()
    for path in sorted((directory / "figures").rglob("*")):
        if path.is_file() and path.name != "zarr.json":
            assert (
                path.read_bytes()
                == (figures / path.relative_to(directory / "figures")).read_bytes()
            )


def test_a_record_says_what_was_written(directory):
    Pipeline.from_toml(directory).run()
    for path in directory.glob("process/work.zarr/records/*/*.json"):
        content = json.loads(path.read_text())
        for name, (size, _) in content["files"].items():
            assert (directory / "process" / name).stat().st_size == size


def test_nothing_stored_is_nothing_to_verify(directory):
    with pytest.raises(StackError, match="nothing to verify"):
        Pipeline.from_toml(directory).verify()
    assert not (directory / "process").exists()
