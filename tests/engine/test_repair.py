"""Damage on disk: it is found when it is read or looked for, and only its blocks are made again."""

from __future__ import annotations

import errno
import json
import shutil

import numpy as np
import pytest
from stacks import STEPS, images, make_project

from pystack3d_dask import open_result
from pystack3d_dask.engine.summary import load_figures
from pystack3d_dask.errors import RunError, StackError
from pystack3d_dask.io.work import Level, remove_store
from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.project.manifest import StoreManifest

CHAIN = ["cropping", "bkg_removal", "intensity_rescaling"]
HEAVY = {
    "cropping": STEPS["cropping"],
    "destriping": STEPS["destriping"],
    "intensity_rescaling": STEPS["intensity_rescaling"],
}


def maker(store):
    """Return the token of the pass that made a store."""
    return StoreManifest.load(store).maker


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


def as_before(path):
    """Name the arrays of a record as an earlier version did, without their kind."""
    with np.load(path) as file:
        arrays = {name.partition("|")[2]: file[name] for name in file.files}
    np.savez(path, **arrays)


DAMAGES = [flip, truncate, empty, delete]
every_damage = pytest.mark.parametrize("damage", DAMAGES)


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


@pytest.mark.parametrize("damage", [*DAMAGES, as_before])
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
    token = maker(directory / "process" / "work.zarr" / "levels" / "cropping")
    stored = [
        *directory.glob("process/result.zarr/scale*/image/c/**/*"),
        *chunks(directory, "cropping"),
        *directory.glob(f"process/work.zarr/records/{token}/*.npz"),
    ]
    stored = [path for path in stored if path.is_file()]
    assert found.files == len(stored)
    assert found.bytes == sum(path.stat().st_size for path in stored)
    assert found.damages == ()
    assert found.is_complete
    assert pipeline.plan().passes == ()


@every_damage
@pytest.mark.parametrize("kind", ["fits", "figures"])
def test_damaged_fits_and_figures_are_not_believed(directory, expected, kind, damage):
    pipeline = Pipeline.from_toml(directory)
    interrupted_after(pipeline, 2)
    arrays = (directory / "process" / "work.zarr" / kind).rglob("c/**/*")
    damage(sorted(path for path in arrays if path.is_file())[0])
    pipeline.run()
    np.testing.assert_array_equal(values(directory), expected)


@pytest.mark.parametrize("store", ["result.zarr", "work.zarr/levels/cropping"])
def test_a_store_whose_removal_was_interrupted_is_none(directory, expected, monkeypatch, store):
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()

    def kill(path):
        next(path for path in sorted(path.rglob("*0")) if path.is_file()).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", kill)
        with pytest.raises(KeyboardInterrupt):
            remove_store(directory / "process" / store)
    assert not (directory / "process" / store).exists()
    pipeline.run()
    np.testing.assert_array_equal(values(directory), expected)
    assert not list(directory.rglob("*.partial"))


@pytest.mark.parametrize(
    "name",
    [
        "result.zarr",
        "result.zarr/scale0",
        "result.zarr/scale0/image",
        "result.zarr/scale0/z",
        "work.zarr/levels/cropping",
        "work.zarr/fits/bkg_removal",
        "work.zarr/figures/cropping",
    ],
)
@every_damage
def test_a_store_with_damaged_metadata_is_made_anew(directory, expected, name, damage):
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    damage(directory / "process" / name / "zarr.json")
    pipeline.plan()
    pipeline.verify()
    pipeline.run()
    np.testing.assert_array_equal(values(directory), expected)


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


def test_blocks_of_a_result_stay_valid_when_others_begin_at_a_checkpoint(tmp_path):
    steps = {"cropping": {**STEPS["cropping"], "checkpoint": True}}
    steps |= {"destriping": STEPS["destriping"], "bkg_removal": {"orders": [1, 1]}}
    directory = make_project(tmp_path / "project", steps, images((80, 50, 64)))
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    expected = values(directory)
    flip(shards(directory)[0])
    pipeline.verify()
    summary = pipeline.run()
    assert summary.passes[-1].resumed == len(shards(directory)) - 1
    np.testing.assert_array_equal(values(directory), expected)


@every_damage
def test_what_is_damaged_beside_a_complete_result_is_made_again(tmp_path, damage):
    steps = {"cropping": {**STEPS["cropping"], "checkpoint": True}}
    directory = make_project(tmp_path / "project", steps | {"destriping": STEPS["destriping"]})
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    victim = chunks(directory, "cropping")[7]
    content = victim.read_bytes()
    damage(victim)
    assert [each.path for each in pipeline.verify().damages] == [str(victim)]
    pipeline.run()
    assert victim.read_bytes() == content
    assert pipeline.verify().damages == ()


@every_damage
def test_a_lost_record_of_a_complete_store_is_told_and_its_block_made_again(
    directory, expected, damage
):
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    token = maker(directory / "process" / "result.zarr")
    victim = directory / "process" / "work.zarr" / "records" / token / "0.3.json"
    damage(victim)
    found = pipeline.verify()
    assert [each.path for each in found.damages] == [str(victim)]
    assert not found.is_complete
    assert [(item.tasks, item.resumed) for item in pipeline.run().passes] == [(1, 9)]
    np.testing.assert_array_equal(values(directory), expected)


def test_a_verification_that_is_interrupted_has_no_effect(directory, expected):
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    flip(shards(directory)[0])

    def interrupt(done, _):
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.verify(interrupt)
    assert len(pipeline.verify().damages) == 1
    pipeline.run()
    np.testing.assert_array_equal(values(directory), expected)


def test_a_drive_that_is_away_damages_nothing(directory, monkeypatch):
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()

    def refuse(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("pystack3d_dask.io.zarr.chunk.google_crc32c.extend", refuse)
        with pytest.raises(OSError, match="Too many"):
            pipeline.verify()
    assert pipeline.verify().is_complete


def heavy(tmp_path, **settings):
    """Make a project with two levels between passes, and the values of its result."""
    names = ("cropping", "bkg_removal", "destriping", "intensity_rescaling")
    steps = {name: STEPS[name] for name in names}
    undisturbed = make_project(tmp_path / "undisturbed", steps, images((40, 50, 64)))
    Pipeline.from_toml(undisturbed).run()
    return make_project(tmp_path / "project", steps, images((40, 50, 64)), **settings), values(
        undisturbed
    )


def test_a_level_whose_input_was_freed_is_made_from_the_start(tmp_path):
    directory, expected = heavy(tmp_path, keep=["intermediates"])
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    flip(shards(directory)[2])
    flip(chunks(directory, "destriping")[5])
    pipeline.verify()
    pipeline.run()
    np.testing.assert_array_equal(values(directory), expected)
    assert pipeline.verify().damages == ()


@every_damage
def test_damage_of_damaged_input_is_mended_too(tmp_path, damage):
    directory, expected = heavy(tmp_path)
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    levels = directory / "process" / "work.zarr" / "levels"
    for level in levels.iterdir():
        if level.is_dir():
            damage(sorted(level.glob("c.*"))[5])
    damage(shards(directory)[1])
    pipeline.verify()
    pipeline.run()
    np.testing.assert_array_equal(values(directory), expected)
    assert pipeline.verify().damages == ()


@every_damage
def test_the_record_of_a_damaged_block_is_not_needed(directory, expected, damage):
    pipeline = Pipeline.from_toml(directory)
    interrupted_after(pipeline, 2)
    flip(chunks(directory, "cropping")[17])
    token = maker(directory / "process" / "work.zarr" / "levels" / "cropping")
    for record in (directory / "process" / "work.zarr" / "records" / token).glob("*.json"):
        damage(record)
    pipeline.run()
    np.testing.assert_array_equal(values(directory), expected)


def test_a_disk_that_does_not_keep_what_it_is_given_is_told(directory, monkeypatch):
    pipeline = Pipeline.from_toml(directory)
    interrupted_after(pipeline, 2)
    victim = chunks(directory, "cropping")[17]
    write = Level.write

    def spoil(self, channel, z, image):
        written = write(self, channel, z, image)
        for each in written:
            if each.path == victim:
                flip(victim)
        return written

    flip(victim)
    monkeypatch.setattr(Level, "write", spoil)
    with pytest.raises(RunError, match="the disk does not keep what it is given"):
        pipeline.run()


def test_figures_of_each_channel_stay_its_own_when_all_of_one_is_made_again(tmp_path):
    stacks = {"A": images(), "B": 255 - images(seed=1)}
    directory = make_project(tmp_path / "project", CHAIN, stacks, keep=[])
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    before = [load_figures(pipeline.project, level) for level in range(len(CHAIN) + 1)]
    for path in shards(directory):
        if path.parts[-4] == "1":
            flip(path)
    pipeline.verify()
    pipeline.run()
    for level, figures in enumerate(before):
        found = load_figures(pipeline.project, level)
        assert found.keys() == figures.keys()
        for name, value in figures.items():
            np.testing.assert_array_equal(found[name], value)


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
        content = json.loads(path.read_text())["record"]
        for name, (size, _) in content["files"].items():
            assert (directory / "process" / name).stat().st_size == size


def test_nothing_stored_is_nothing_to_verify(directory):
    with pytest.raises(StackError, match="nothing to verify"):
        Pipeline.from_toml(directory).verify()
    assert not (directory / "process").exists()
