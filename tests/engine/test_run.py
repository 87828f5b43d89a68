"""The engine: what a run reads, writes, records, repeats and reports."""

from __future__ import annotations

import json
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from distributed import Client, LocalCluster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stacks import STEPS, images, make_project, spoil, write_params

from pystack3d_dask import open_result
from pystack3d_dask.engine.run import BlockDone
from pystack3d_dask.engine.summary import RunSummary, bad_slice_note
from pystack3d_dask.engine.task import run_task
from pystack3d_dask.errors import ParameterError, RunError
from pystack3d_dask.pipeline import Pipeline

CHAINS = [
    [],
    ["cropping"],
    ["cropping", "bkg_removal"],
    ["bkg_removal", "cropping"],
    ["cropping", "bkg_removal", "intensity_rescaling"],
    ["intensity_rescaling", "bkg_removal", "intensity_rescaling_area", "cropping_final"],
    ["destriping", "resampling", "bkg_removal"],
]
REGISTERED = ["registration_calculation", "registration_transformation"]
ALL = ["cropping", "bkg_removal", "intensity_rescaling", *REGISTERED, "destriping", "resampling"]


def run(project: Path, **keywords: Any) -> RunSummary:
    return Pipeline.from_toml(project).run(**keywords)


def result(project: Path) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = open_result(project).values
    return values


@pytest.mark.parametrize("precision", ["float32", "source"])
@pytest.mark.parametrize("steps", CHAINS, ids="-".join)
def test_a_run_reads_and_writes_what_the_plan_says(
    tmp_path: Path, steps: list[str], precision: str
) -> None:
    project = make_project(tmp_path, steps, precision=precision)
    plan = Pipeline.from_toml(project).plan()
    summary = run(project)
    assert [p.bytes_read for p in summary.passes] == [p.bytes_read for p in plan.passes]
    assert [p.bytes_written for p in summary.passes] == [p.bytes_written for p in plan.passes]
    assert [p.tasks for p in summary.passes] == [len(p.blocks) for p in plan.passes]


def test_the_usual_chain_reads_the_stack_three_times_and_writes_it_twice(tmp_path: Path) -> None:
    project = make_project(tmp_path, ["cropping", "bkg_removal", "intensity_rescaling"])
    summary = run(project)
    cropped = 20 * 43 * 57
    assert [p.bytes_read for p in summary.passes] == [cropped, cropped, cropped]
    assert [p.bytes_written for p in summary.passes] == [cropped, 0, cropped]


@pytest.mark.parametrize("precision", ["float32", "source"])
@pytest.mark.parametrize(
    "steps",
    [
        ["intensity_rescaling", "bkg_removal", "intensity_rescaling_area"],
        ALL,
        pytest.param(
            ["destriping", *REGISTERED, "cropping_final", "intensity_rescaling"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["rescaled", "all", "destriped first"],
)
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(thickness=st.sampled_from([1, 2, 4, 8]), seed=st.integers(0, 99))
def test_values_do_not_depend_on_the_blocks_nor_on_their_order(
    tmp_path_factory: pytest.TempPathFactory,
    precision: str,
    steps: list[str],
    thickness: int,
    seed: int,
) -> None:
    plain = make_project(tmp_path_factory.mktemp("plain"), steps, precision=precision)
    run(plain)
    cut = make_project(tmp_path_factory.mktemp("cut"), steps, precision=precision)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pystack3d_dask.core.planner.slab_thickness", lambda *_: thickness)
        patch.setattr("pystack3d_dask.core.planner.thick_slab", lambda *_: thickness)
        patch.setattr("pystack3d_dask.engine.run.InProcess", lambda: Shuffled(seed))
        run(cut)
    np.testing.assert_array_equal(result(plain), result(cut))


class Shuffled:
    """Runs blocks in a random order."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def run(self, program: Any, blocks: Any) -> Any:
        from pystack3d_dask.engine.executors import InProcess

        return InProcess().run(program, [blocks[i] for i in self._rng.permutation(len(blocks))])


def test_processes_and_threads_give_the_values_of_this_process(tmp_path: Path) -> None:
    local = {
        "bkg_removal": {"method": "local", "size": [20, 15, 5]},
        "intensity_rescaling": STEPS["intensity_rescaling"],
        **{name: STEPS[name] for name in (*REGISTERED, "destriping", "resampling")},
    }
    here = make_project(tmp_path / "here", local)
    run(here)
    for processes in (True, False):
        there = make_project(tmp_path / f"processes-{processes}", local)
        with (
            LocalCluster(
                n_workers=2,
                threads_per_worker=2,
                processes=processes,
                dashboard_address="127.0.0.1:0",
            ) as cluster,
            Client(cluster) as client,
        ):
            run(there, client=client)
        np.testing.assert_array_equal(result(here), result(there))


def test_channels_share_the_registration_of_the_one_that_is_named(tmp_path: Path) -> None:
    stacks = {"ESB": images(seed=1), "SE2": images(seed=2)}
    calculation = {**STEPS["registration_calculation"], "channel": "SE2"}
    steps = {
        "registration_calculation": calculation,
        "registration_transformation": STEPS["registration_transformation"],
    }
    both = make_project(tmp_path / "both", steps, stacks)
    summary = run(both)
    assert [p.tasks for p in summary.passes] == [20, 20]  # blocks of two slices
    calculation["channel"] = ""
    alone = make_project(tmp_path / "alone", steps, stacks["SE2"])
    run(alone)
    np.testing.assert_array_equal(result(both)[1], result(alone)[0])


def test_what_fits_have_to_say_is_in_the_summary(tmp_path: Path) -> None:
    stack = images()
    stack[7] = np.random.default_rng(3).integers(0, 255, stack[7].shape)
    area = {**STEPS["intensity_rescaling_area"], "threshold_min": 300}
    names = [*REGISTERED, "intensity_rescaling_area"]
    steps = {name: STEPS[name] for name in names} | {"intensity_rescaling_area": area}
    summary = run(make_project(tmp_path, steps, stack))
    registered, rescaled = summary.remarks
    assert "like none of the slices before" in registered
    assert registered.endswith("slice_0007_z=0.0700um.tif")
    assert "slice_0000_z=0.0000um.tif" in rescaled
    assert "and 15 more has no pixel between the thresholds in the area" in rescaled
    written = json.loads((tmp_path / "process" / "summary.json").read_text())
    assert written["remarks"] == [*summary.notes, *summary.remarks]


def test_a_second_run_has_nothing_to_do(tmp_path: Path) -> None:
    project = make_project(tmp_path, ["cropping", "bkg_removal"])
    run(project)
    before = result(project)
    assert run(project).passes == ()
    np.testing.assert_array_equal(result(project), before)


def test_new_parameters_of_the_last_step_keep_everything_before_it(tmp_path: Path) -> None:
    project = make_project(tmp_path, ["cropping", "bkg_removal", "intensity_rescaling"])
    run(project)
    steps = {name: STEPS[name] for name in ("cropping", "bkg_removal")}
    write_params(project, {**steps, "intensity_rescaling": {"filter_size": -1}})
    labels = [p.label for p in run(project).passes]
    assert labels == ["bkg_removal, fit of intensity_rescaling", "bkg_removal, intensity_rescaling"]

    fresh = make_project(tmp_path / "fresh", {**steps, "intensity_rescaling": {"filter_size": -1}})
    run(fresh)
    np.testing.assert_array_equal(result(project), result(fresh))


def test_new_parameters_of_the_first_step_leave_nothing_stale(tmp_path: Path) -> None:
    project = make_project(tmp_path, ["cropping", "bkg_removal"])
    run(project)
    other = {"cropping": {"area": [0, 50, 0, 40]}, "bkg_removal": STEPS["bkg_removal"]}
    write_params(project, other)
    run(project)
    fresh = make_project(tmp_path / "fresh", other)
    run(fresh)
    np.testing.assert_array_equal(result(project), result(fresh))


def test_a_replaced_slice_is_noticed(tmp_path: Path) -> None:
    project = make_project(tmp_path, ["bkg_removal"])
    run(project)
    first = sorted(project.glob("*.tif"))[0]
    tifffile.imwrite(first, images(seed=1)[0] // 2)
    assert len(run(project).passes) == 2


def test_a_corrupt_slice_is_named_the_rest_completes_and_the_same_call_continues(
    tmp_path: Path,
) -> None:
    project = make_project(tmp_path, ["cropping", "bkg_removal"], images((40, 50, 64)))
    victim = sorted(project.glob("*.tif"))[20]
    good = spoil(victim)
    with pytest.raises(RunError) as caught:
        run(project)
    assert victim.name in str(caught.value)
    assert "slices 20 to 23" in str(caught.value)
    assert "1 of 10 blocks failed" in str(caught.value)
    victim.write_bytes(good)
    run(project)
    fresh = make_project(tmp_path / "fresh", ["cropping", "bkg_removal"], images((40, 50, 64)))
    run(fresh)
    np.testing.assert_array_equal(result(project), result(fresh))


def test_blocks_that_failed_hold_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[weakref.ref[np.ndarray[Any, Any]]] = []
    alive = []

    def fail(*_: object) -> None:
        alive.append(sum(each() is not None for each in left))
        window = np.zeros(1000)
        left.append(weakref.ref(window))
        message = "no"
        raise ValueError(message)

    monkeypatch.setattr("pystack3d_dask.engine.executors.run_task", fail)
    project = make_project(tmp_path, ["cropping"], images((40, 50, 64)))
    with pytest.raises(RunError, match="10 of 10 blocks failed"):
        run(project)
    assert len(alive) == 10
    assert max(alive) <= 1  # of the block before


def test_finished_blocks_are_not_computed_again(tmp_path: Path) -> None:
    project = make_project(tmp_path, ["cropping"], images((40, 50, 64)))

    def interrupt(event: BlockDone) -> None:
        if event.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(project, on_block=interrupt)
    (last,) = run(project).passes
    assert (last.resumed, last.tasks) == (2, 8)
    np.testing.assert_array_equal(result(project)[0], images((40, 50, 64))[:, 2:45, 3:60])


def test_channels_of_different_types_share_the_widest_and_keep_to_their_own(
    tmp_path: Path,
) -> None:
    stack = {"ESB": images(dtype="uint8"), "SE2": images(dtype="uint16", seed=2)}
    area = {"intensity_rescaling_area": {"factors_range": [1.2, 1.2]}}
    project = make_project(tmp_path, area, stack)
    run(project)
    corrected = open_result(project)
    assert list(corrected.c.values) == ["ESB", "SE2"]
    assert corrected.dtype == np.uint16
    for name, values in stack.items():
        limit = np.iinfo(values.dtype).max
        wanted = np.rint(np.minimum(values * np.float32(1.2), limit))
        np.testing.assert_array_equal(corrected.sel(c=name), wanted)


def test_channels_get_their_own_fits(tmp_path: Path) -> None:
    stack = {"a": images(seed=1), "b": images(seed=2)}
    both = make_project(tmp_path / "both", ["bkg_removal", "intensity_rescaling"], stack)
    run(both)
    for channel, values in stack.items():
        alone = make_project(tmp_path / channel, ["bkg_removal", "intensity_rescaling"], values)
        run(alone)
        np.testing.assert_array_equal(open_result(both).sel(c=channel), result(alone)[0])


def test_bad_pixels_take_the_nearest_valid_value_and_are_reported(tmp_path: Path) -> None:
    stack = images(dtype="float32")
    stack[3, 10, 10] = np.nan
    stack[4, 20, 20] = np.inf
    project = make_project(tmp_path, {"intensity_rescaling_area": {}}, stack)
    done = run(project)
    assert np.isfinite(result(project)).all()
    assert len(done.bad_slices) == 2
    summary = json.loads((project / "process" / "summary.json").read_text())
    found = [(entry["slice"], entry["bad_pixels"]) for entry in summary["bad_slices"]]
    assert found == [("slice_0003_z=0.0300um.tif", 1), ("slice_0004_z=0.0400um.tif", 1)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_slice_without_any_valid_pixel_is_told_to_be_blank(tmp_path: Path, value: float) -> None:
    stack = images(dtype="float32")
    stack[3] = value
    stack[4, 20, 20] = value
    done = run(make_project(tmp_path, {"cropping": {"area": [2, 30, 0, 30]}}, stack))
    notes = [bad_slice_note(bad) for bad in done.bad_slices]
    assert len(notes) == 2
    assert "slice_0003" in notes[0]
    assert "blank" in notes[0]
    assert "nearest" not in notes[0]
    assert "nearest valid value" in notes[1]
    assert not result(tmp_path)[0, 3].any()


def test_only_the_kept_slices_are_corrected(tmp_path: Path) -> None:
    project = make_project(tmp_path, ["bkg_removal"], ind_min=4, ind_max=99)
    run(project)
    alone = make_project(tmp_path / "alone", ["bkg_removal"], images()[4:])
    run(alone)
    np.testing.assert_array_equal(result(project), result(alone))


def test_figures_tell_minimum_maximum_and_mean_of_each_slice(tmp_path: Path) -> None:
    project = make_project(tmp_path, ["cropping", "bkg_removal"])
    run(project)
    work = zarr.open_group(project / "process" / "work.zarr", mode="r")
    cast = np.asarray(work["figures/bkg_removal/cast"])
    corrected = result(project)
    wanted = np.stack(
        [corrected.min((2, 3)), corrected.max((2, 3)), corrected.mean((2, 3))], axis=-1
    )
    np.testing.assert_allclose(cast, wanted, rtol=1e-12)
    raw = np.asarray(work["figures/bkg_removal/raw"])
    assert np.all(np.abs(raw[..., 2] - cast[..., 2]) < 0.5)
    before = np.asarray(work["figures/bkg_removal/before"])
    np.testing.assert_array_equal(before, np.asarray(work["figures/cropping/cast"]))
    ingested = before[0, :, 2]
    np.testing.assert_allclose(ingested, images()[:, 2:45, 3:60].mean((1, 2)), rtol=1e-12)


def test_coordinates_tell_where_the_result_lies_in_the_acquisition(tmp_path: Path) -> None:
    project = make_project(tmp_path, ["cropping"])
    run(project)
    corrected = open_result(project)
    np.testing.assert_allclose(corrected.z, np.arange(20) * 0.01)
    assert (float(corrected.y[0]), float(corrected.x[0])) == (2.0, 3.0)


def test_the_summary_says_what_was_done(tmp_path: Path) -> None:
    project = make_project(tmp_path, ["cropping", "bkg_removal"])
    run(project)
    summary = json.loads((project / "process" / "summary.json").read_text())
    assert [p["label"] for p in summary["passes"]] == [
        "cropping, fit of bkg_removal",
        "bkg_removal",
    ]
    assert summary["parameters"]["bkg_removal"]["orders"] == [1, 2, 1]
    assert summary["versions"]["zarr"]
    assert summary["bad_slices"] == []


@pytest.mark.parametrize(("keep", "left"), [([], False), (["ingested"], True)])
def test_what_is_not_kept_is_freed_after_the_run(
    tmp_path: Path, keep: list[str], left: bool
) -> None:
    project = make_project(tmp_path, ["cropping", "bkg_removal"], keep=keep)
    run(project)
    assert (project / "process" / "work.zarr" / "levels" / "cropping").exists() == left
    assert run(project).passes == ()


def test_a_zarr_source_is_read_in_place(tmp_path: Path) -> None:
    stack = images()
    zarr.create_array(tmp_path / "stack.zarr", data=stack, chunks=(4, 50, 64))
    write_params(tmp_path, ["cropping", "bkg_removal"])
    summary = run(tmp_path)
    assert [p.bytes_written for p in summary.passes] == [0, 20 * 43 * 57]
    same = make_project(tmp_path / "tiff", ["cropping", "bkg_removal"], stack)
    run(same)
    np.testing.assert_array_equal(result(tmp_path), result(same))


def test_a_checkpoint_can_be_looked_at(tmp_path: Path) -> None:
    steps = {
        "bkg_removal": {**STEPS["bkg_removal"], "checkpoint": True},
        "intensity_rescaling": {},
    }
    project = make_project(tmp_path, steps)
    run(project)
    stored = zarr.open_array(project / "process" / "work.zarr" / "levels" / "bkg_removal", mode="r")
    assert stored.dtype == np.float32
    alone = make_project(tmp_path / "alone", {"bkg_removal": STEPS["bkg_removal"]})
    run(alone)
    np.testing.assert_array_equal(np.rint(np.clip(stored[:], 0, 255)), result(alone))


def test_seven_steps_read_the_stack_four_times_and_write_it_twice(tmp_path: Path) -> None:
    stack = images((130, 40, 48))
    steps = {
        "cropping": {"area": [4, 44, 4, 36]},
        "bkg_removal": {"orders": [1, 2, 1], "skip_factors": [3, 2, 2]},
        "intensity_rescaling": {"filter_size": -1},
        "registration_calculation": {"transformation": "TRANSLATION"},
        "registration_transformation": {"mode": "edge"},
        "destriping": {
            "filters": [{"name": "Gabor", "noise_level": 20, "sigma": [1, 30]}],
            "maxit": 10,
        },
        "resampling": {"dz": 0.013},
    }
    project = make_project(tmp_path, steps, stack)
    plan = Pipeline.from_toml(project).plan()
    summary = run(project)
    image, slices = 32 * 40, result(project).shape[1]
    assert slices == 100
    assert [p.bytes_written for p in summary.passes] == [130 * image, 0, 0, slices * image]
    assert [p.bytes_read for p in summary.passes] == [p.bytes_read for p in plan.passes]
    ingested, background, registered, last = (p.bytes_read / image for p in summary.passes)
    assert ingested == background == 130
    blocks = [p.tasks for p in summary.passes]
    # at the edges of blocks: three slices that registration compares with, one to blend with
    assert registered == 130 + 3 * (blocks[2] - 1)
    assert 130 <= last <= 130 + blocks[3] - 1


@pytest.mark.parametrize("order", [("ESB", "SE2"), ("SE2", "ESB")])
def test_bad_pixels_of_one_channel_are_reported_beside_integers(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    floats = images(dtype="float32")
    floats[3, 10, 10] = np.nan
    stacks = {"ESB": floats, "SE2": images()}
    summary = run(make_project(tmp_path, ["cropping"], {name: stacks[name] for name in order}))
    (bad,) = summary.bad_slices
    assert (bad["channel"], bad["bad_pixels"]) == ("ESB", 1)


def test_an_area_beside_what_registration_leaves_is_told(tmp_path: Path) -> None:
    moving = np.stack([np.roll(images()[0], (3 * k, 2 * k), (0, 1)) for k in range(8)])
    steps = {
        "registration_calculation": {"transformation": "TRANSLATION"},
        "registration_transformation": {"cropping": True},
        "cropping_final": {"area": [60, 64, 0, 40]},
    }
    project = make_project(tmp_path, steps, moving)
    with pytest.raises(ParameterError, match=r"cropping_final.area: .* selects nothing"):
        run(project)
    with pytest.raises(ParameterError, match=r"cropping_final.area: .* selects nothing"):
        Pipeline.from_toml(project).plan()


def test_what_was_left_of_a_file_beside_a_complete_result_is_removed(tmp_path, call):
    project = make_project(tmp_path / "project", ["cropping"])
    Pipeline.from_toml(project).run()
    left = project / "process" / f"report.html.{'0' * 32}.partial"
    left.touch()
    assert "nothing to do" in call("run", project).out
    assert not left.exists()


@pytest.mark.parametrize(
    "interrupted", ["project.record.Workspace.free_levels", "engine.run.write_summary"]
)
def test_what_a_run_that_was_killed_in_the_end_left_undone_is_done(
    tmp_path, monkeypatch, call, interrupted
):
    project = make_project(tmp_path / "project", ["cropping", "bkg_removal"], keep=[])

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"pystack3d_dask.{interrupted}", kill)
        with pytest.raises(KeyboardInterrupt):
            Pipeline.from_toml(project).run()
    lock = project / "process" / "run.lock"
    lock.write_text("")
    os.utime(lock, (0, 0))  # of a process that died long ago
    assert "nothing to do" in call("run", project).out
    assert [path.name for path in project.glob("process/work.zarr/levels/*")] == ["zarr.json"]
    assert json.loads((project / "process" / "summary.json").read_text())["precision"] == "float32"
    assert not lock.exists()


def test_channels_of_other_types_may_take_another_number_of_rounds(tmp_path):
    eight, sixteen = images(), images(dtype="uint16", seed=1).astype("float32")
    steps = {"intensity_rescaling": {"filter_size": 5}}
    both = make_project(tmp_path / "both", steps, {"A": eight, "B": sixteen})
    Pipeline.from_toml(both).run()
    for channel, stack in enumerate((eight, sixteen)):
        alone = make_project(tmp_path / f"alone{channel}", steps, stack)
        Pipeline.from_toml(alone).run()
        np.testing.assert_array_equal(open_result(both)[channel], open_result(alone)[0])


def test_a_block_of_a_run_that_another_one_has_replaced_writes_nothing(tmp_path, monkeypatch):
    """Blocks on a remote cluster go on for a while when their run was interrupted."""
    project = make_project(tmp_path / "project", ["cropping"])
    late: list[Any] = []

    def keep(program, *block):
        late.append((program, *block))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pystack3d_dask.engine.executors.run_task", keep)
        with pytest.raises(KeyboardInterrupt):
            Pipeline.from_toml(project).run()
    write_params(project, {"cropping": {"area": [4, 61, 5, 48]}})
    Pipeline.from_toml(project).run()
    before = open_result(project).values
    with pytest.raises(RunError, match="another run"):
        run_task(*late[0])
    np.testing.assert_array_equal(open_result(project), before)
    assert Pipeline.from_toml(project).verify().is_complete
