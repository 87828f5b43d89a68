"""What runs make of slices that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from distributed import Client, LocalCluster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stacks import STEPS, images, make_project, write_params

from pystack3d_dask import open_result
from pystack3d_dask.errors import ParameterError, RunError
from pystack3d_dask.pipeline import Pipeline

MODES = ("keep", "drop", "interpolate")
BAD = (0, 5, 6)
STANDS_FOR = {"keep": "left blank", "drop": "left out", "interpolate": "interpolated"}


def name(z: int) -> str:
    return f"slice_{z:04d}_z={z * 0.01:.4f}um.tif"


def damaged(
    directory: Path, steps: Any, stack: Any = None, bad: Any = BAD, **keywords: Any
) -> Path:
    """Make a project in which slices are truncated behind their upper rows."""
    project = make_project(directory, steps, stack, **keywords)
    bad = bad if isinstance(bad, dict) else {".": bad}
    for channel, slices in bad.items():
        for z in slices:
            path = project / channel / name(z)
            path.write_bytes(path.read_bytes()[:2000])
    return project


def result(project: Path) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = open_result(project).values
    return values


def mended(mode: str, bad: Any = BAD) -> np.ndarray[Any, Any]:
    """Return what stands in the place of the images of a damaged project."""
    stack = images()
    if mode == "drop":
        return np.delete(stack, bad, 0)
    if mode == "keep":
        stack[list(bad)] = 0
        return stack
    good = np.setdiff1d(np.arange(len(stack)), bad)
    for z in bad:
        weights = np.interp(z, good, np.arange(len(good)))
        low, high = good[int(weights)], good[int(np.ceil(weights))]
        share = weights % 1
        stack[z] = np.rint((1 - share) * images()[low] + share * images()[high])
    return stack


@pytest.mark.parametrize("mode", MODES)
def test_what_stands_for_unreadable_slices_is_corrected_like_any_other(
    tmp_path: Path, mode: str
) -> None:
    steps = ["cropping", "bkg_removal", "intensity_rescaling"]
    project = damaged(tmp_path / "damaged", steps, bad_slices=mode)
    Pipeline.from_toml(project).run()
    whole = make_project(tmp_path / "whole", steps, mended(mode))
    if mode == "drop":  # with the names and positions of those that are left
        for path in whole.glob("*.tif"):
            path.unlink()
        kept = [z for z in range(20) if z not in BAD]
        for z, image in zip(kept, mended(mode), strict=True):
            tifffile.imwrite(whole / name(z), image)
    Pipeline.from_toml(whole).run()
    np.testing.assert_array_equal(result(project), result(whole))
    np.testing.assert_array_equal(open_result(project).z, open_result(whole).z)


@pytest.mark.parametrize("mode", MODES)
def test_unreadable_slices_are_reported_with_reason_and_remedy(tmp_path: Path, mode: str) -> None:
    stacks = {"ESB": images(seed=1), "SE2": images(seed=2)}
    bad = {"ESB": (3,), "SE2": (3, 12)}
    project = damaged(tmp_path, ["cropping"], stacks, bad, bad_slices=mode)
    summary = Pipeline.from_toml(project).run()
    found = [(each["channel"], each["slice"], each["done"]) for each in summary.bad_slices]
    places = [("ESB", name(3)), ("SE2", name(3)), ("SE2", name(12))]
    assert found == [(*place, STANDS_FOR[mode]) for place in places]
    for each in summary.bad_slices:
        path = project / each["channel"] / each["slice"]
        assert str(path) in each["reason"]
        assert "the file is truncated" in each["reason"]
    written = json.loads((project / "process" / "summary.json").read_text())
    assert written["bad_slices"] == list(summary.bad_slices)
    assert result(project).shape[:2] == (2, 18 if mode == "drop" else 20)


@pytest.mark.parametrize("mode", MODES)
def test_a_note_tells_of_each_unreadable_slice(call: Any, tmp_path: Path, mode: str) -> None:
    project = damaged(tmp_path, ["cropping"], bad_slices=mode)
    done = call("run", project, "--workers", 0)
    assert done.status == 0
    for z in BAD:
        assert f"note: ., {name(z)}: unreadable and {STANDS_FOR[mode]}: {project}" in done.err


@pytest.mark.parametrize("mode", MODES)
def test_a_later_run_that_does_not_read_them_again_reports_them_too(
    tmp_path: Path, mode: str
) -> None:
    steps = {"cropping": STEPS["cropping"], "intensity_rescaling": {"filter_size": 5}}
    project = damaged(tmp_path, steps, bad_slices=mode)
    first = Pipeline.from_toml(project).run()
    write_params(
        project, {**steps, "intensity_rescaling": {"filter_size": 3}}, {"bad_slices": mode}
    )
    second = Pipeline.from_toml(project).run()
    assert [each.label for each in second.passes] == [
        "fit of intensity_rescaling",
        "intensity_rescaling",
    ]
    assert first.bad_slices == second.bad_slices
    assert len(second.bad_slices) == len(BAD)


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bad=st.sets(st.integers(0, 19), min_size=1, max_size=12),
    thickness=st.sampled_from([1, 2, 4, 8]),
    backwards=st.booleans(),
)
def test_values_do_not_depend_on_the_blocks(
    tmp_path_factory: pytest.TempPathFactory,
    mode: str,
    bad: set[int],
    thickness: int,
    backwards: bool,
) -> None:
    steps = ["cropping", "intensity_rescaling"]
    plain = damaged(tmp_path_factory.mktemp("plain"), steps, bad=bad, bad_slices=mode)
    whole = Pipeline.from_toml(plain).run()
    cut = damaged(tmp_path_factory.mktemp("cut"), steps, bad=bad, bad_slices=mode)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pystack3d_dask.core.planner.slab_thickness", lambda *_: thickness)
        patch.setattr("pystack3d_dask.core.planner.thick_slab", lambda *_: thickness)
        patch.setattr("pystack3d_dask.engine.run.InProcess", lambda: InOrder(backwards))
        parts = Pipeline.from_toml(cut).run()
    np.testing.assert_array_equal(result(plain), result(cut))
    assert [each["slice"] for each in parts.bad_slices] == [name(z) for z in sorted(bad)]
    assert [each["slice"] for each in whole.bad_slices] == [name(z) for z in sorted(bad)]


class InOrder:
    """Runs blocks forwards or backwards, each with what another worker would know: nothing."""

    def __init__(self, backwards: bool) -> None:
        self._step = -1 if backwards else 1

    def run(self, program: Any, blocks: Any) -> Any:
        import pickle

        from pystack3d_dask.engine.executors import InProcess

        sent = pickle.dumps(program)
        for block in blocks[:: self._step]:
            yield from InProcess().run(pickle.loads(sent), [block])


def test_workers_mend_and_report_what_this_process_does(tmp_path: Path) -> None:
    steps = ["cropping", "bkg_removal"]
    here = damaged(tmp_path / "here", steps, bad_slices="interpolate")
    there = damaged(tmp_path / "there", steps, bad_slices="interpolate")
    alone = Pipeline.from_toml(here).run()
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        shared = Pipeline.from_toml(there).run(client=client)
    np.testing.assert_array_equal(result(here), result(there))
    assert [each["slice"] for each in shared.bad_slices] == [name(z) for z in BAD]
    assert [each["slice"] for each in alone.bad_slices] == [name(z) for z in BAD]


def test_another_remedy_is_another_result(tmp_path: Path) -> None:
    project = damaged(tmp_path, ["cropping"], bad_slices="fail")
    with pytest.raises(ParameterError, match="truncated"):
        Pipeline.from_toml(project)
    for mode in MODES:
        write_params(project, ["cropping"], {"bad_slices": mode})
        Pipeline.from_toml(project).run()
        np.testing.assert_array_equal(result(project)[0], mended(mode)[:, 2:45, 3:60])
    write_params(project, ["cropping"], {"bad_slices": "fail"})
    with pytest.raises(ParameterError, match="truncated"):
        Pipeline.from_toml(project)


def test_slices_are_selected_by_their_place_on_disk_and_mended_by_selected_ones(
    tmp_path: Path,
) -> None:
    keywords: dict[str, Any] = {"ind_min": 5, "ind_max": 9}
    project = damaged(tmp_path / "interpolate", [], bad_slices="interpolate", **keywords)
    Pipeline.from_toml(project).run()
    np.testing.assert_array_equal(result(project)[0], images()[[7, 7, 7, 8, 9]])
    project = damaged(tmp_path / "drop", [], bad_slices="drop", **keywords)
    Pipeline.from_toml(project).run()
    np.testing.assert_array_equal(result(project)[0], images()[[7, 8, 9]])


def test_a_plan_knows_the_slices_that_are_left_and_leaves_nothing_behind(tmp_path: Path) -> None:
    pipeline = Pipeline.from_toml(damaged(tmp_path, ["cropping"], bad_slices="drop"))
    assert pipeline.plan().chains[0].levels[-1].shape[0] == 17
    (note,) = [each for each in pipeline.project.notes if each.path == "bad_slices"]
    assert str(note) == (
        "bad_slices: 3 of 20 slices cannot be read and are left out: "
        f"{name(0)}, {name(5)}, {name(6)}"
    )
    assert not (tmp_path / "process").exists()


def test_slices_are_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = damaged(tmp_path, ["cropping"], bad_slices="drop")
    Pipeline.from_toml(project).run()
    with monkeypatch.context() as patch:
        patch.setattr("pystack3d_dask.project.slices.scan", _refuse)
        assert Pipeline.from_toml(project).plan().passes == ()
    (project / "process" / "work.zarr" / "scan.json").unlink()
    Pipeline.from_toml(project)
    monkeypatch.setattr("pystack3d_dask.project.slices.scan", _refuse)
    assert Pipeline.from_toml(project).plan().passes == ()
    path = project / name(5)
    tifffile.imwrite(path, images()[5])
    with pytest.raises(AssertionError, match="looked through"):
        Pipeline.from_toml(project)


def _refuse(*_: Any) -> None:
    message = "slices were looked through"
    raise AssertionError(message)


def test_a_restart_remembers_what_it_found_when_it_was_opened(tmp_path: Path) -> None:
    project = damaged(tmp_path, ["cropping"], bad_slices="drop")
    Pipeline.from_toml(project).run()
    summary = Pipeline.from_toml(project).run(restart=True)
    assert len(summary.bad_slices) == 3
    assert (project / "process" / "work.zarr" / "scan.json").exists()


@pytest.mark.parametrize("area", ["all", [5000, 6000, 0, 40]], ids=["no area", "outside"])
def test_slices_are_not_looked_through_while_parameters_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, area: Any
) -> None:
    monkeypatch.setattr("pystack3d_dask.project.slices.scan", _refuse)
    steps = {"cropping": {"area": area}}
    project = damaged(tmp_path, steps, bad_slices="drop")
    with pytest.raises(ParameterError, match=r"cropping\.area"):
        Pipeline.from_toml(project)


def test_a_stack_of_unreadable_slices_is_an_error_before_anything_is_written(
    tmp_path: Path, call: Any
) -> None:
    project = damaged(tmp_path, ["cropping"], bad=range(20), bad_slices="drop")
    failed = call("run", project, "--workers", 0)
    assert failed.status == 2
    assert "bad_slices: no slice is left: none of 20 can be read" in failed.err
    assert not (project / "process").exists()


@pytest.mark.parametrize("mode", MODES)
def test_a_header_that_cannot_be_read_is_an_error(tmp_path: Path, mode: str) -> None:
    project = make_project(tmp_path, ["cropping"], bad_slices=mode)
    (project / name(5)).write_bytes(b"II*\x00")
    with pytest.raises(ParameterError, match=name(5)) as caught:
        Pipeline.from_toml(project)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("mode", MODES)
def test_a_drive_that_is_away_is_not_taken_for_bad_slices(tmp_path: Path, mode: str) -> None:
    project = make_project(tmp_path, ["cropping"], bad_slices=mode)
    pipeline = Pipeline.from_toml(project)
    (project / name(5)).unlink()
    with pytest.raises(RunError, match=f"{name(5)}.*No such file") as caught:
        pipeline.run()
    assert "bad_slices" not in str(caught.value)  # it is set, and no remedy


@pytest.mark.parametrize("settings", [{}, {"bad_slices": "fail"}, {"bad_slices": ""}], ids=str)
def test_where_nothing_stands_in_for_them_it_is_told_what_may(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    project = damaged(tmp_path, ["cropping"], **settings)
    with pytest.raises(ParameterError, match='bad_slices = "interpolate"'):
        Pipeline.from_toml(project)


@pytest.mark.parametrize("mode", MODES)
def test_exports_carry_the_tags_of_the_slices_that_they_show(tmp_path: Path, mode: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for z, image in enumerate(images((4, 50, 64))):
        tags = [(51023, 2, 0, f"<Fibics>{z}</Fibics>", False)]
        path = project / name(z)
        tifffile.imwrite(path, image, metadata=None, extratags=tags)
    (project / name(1)).write_bytes((project / name(1)).read_bytes()[:2000])
    write_params(project, [], {"bad_slices": mode})
    pipeline = Pipeline.from_toml(project)
    pipeline.run()
    files = pipeline.export_tiff(tmp_path / "out")
    kept = [0, 2, 3] if mode == "drop" else [0, 1, 2, 3]
    assert [path.name for path in sorted(files)] == [name(z) for z in kept]
    for z in kept:
        with tifffile.TiffFile(tmp_path / "out" / name(z)) as tif:
            assert tif.pages.first.tags[51023].value == f"<Fibics>{z}</Fibics>"


@pytest.mark.parametrize("mode", MODES)
def test_lazy_arrays_and_previews_show_what_a_run_shows(tmp_path: Path, mode: str) -> None:
    pipeline = Pipeline.from_toml(damaged(tmp_path, ["cropping"], bad_slices=mode))
    pipeline.run()
    np.testing.assert_array_equal(pipeline.lazy().values, result(tmp_path))
    again = Pipeline.from_toml(tmp_path).preview(z=5, area=(10, 30, 35, 43))  # rows that are there
    np.testing.assert_array_equal(again.after[0], result(tmp_path)[0, 5, :8, 10:30])
