"""What a report says: numbers that are those of the run, of any steps, also interrupted."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stacks import STEPS, WHOLE_CHAIN, images, make_project, spoil

from pystack3d_dask.core.charts import Lines, Table
from pystack3d_dask.engine.glimpses import known_harm, runs
from pystack3d_dask.engine.summary import load_figures
from pystack3d_dask.errors import RunError, StackError
from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.report import write_files
from pystack3d_dask.report.content import Report, all_charts, make_report

CHANNELS = ("ESB", "SE2")
SPOILT = 17


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    stacks = {name: images(seed=seed) for seed, name in enumerate(CHANNELS)}
    directory = make_project(tmp_path_factory.mktemp("report"), WHOLE_CHAIN, stacks)
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    return pipeline


@pytest.fixture(scope="module")
def report(pipeline):
    return make_report(pipeline.project)


@pytest.fixture(scope="module")
def files(report, tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    write_files(report, directory)
    return directory


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run in whose last pass a slice could not be read."""
    steps = {"bkg_removal": STEPS["bkg_removal"], "intensity_rescaling": {"filter_size": 5}}
    directory = make_project(tmp_path_factory.mktemp("interrupted"), steps)
    pipeline = Pipeline.from_toml(directory)
    (victim,) = directory.glob(f"slice_{SPOILT:04d}*")
    spoil(victim)
    pipeline = Pipeline.from_toml(directory)
    with pytest.raises(RunError):
        pipeline.run()
    return pipeline


def charts(report: Report, section: str, channel: str = "") -> dict:
    return {
        chart.name: chart
        for part, group, chart in all_charts(report)
        if part.name == section and group.channel == channel
    }


def read_csv(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    columns = zip(*rows, strict=True)
    return {name: np.array(each, float) for name, each in zip(head, columns, strict=True)}


def test_every_step_has_its_charts_on_every_channel(report):
    shown = {
        section.name: [[chart.name for chart in group.charts] for group in section.groups]
        for section in report.sections
    }
    pictures = ["planes_before", "planes_after", "cube_before", "cube_after"]
    assert shown == {
        "before_and_after": [pictures] * 2,
        "cropping": [["gray_levels"]] * 2,
        "bkg_removal": [["gray_levels", "coefficients", "background"]] * 2,
        "intensity_rescaling": [["gray_levels", "histograms", "profiles"]] * 2,
        "registration_calculation": [["gray_levels", "pairwise"], ["gray_levels"]],
        "registration_transformation": [["gray_levels", "cumulative", "rectangle"]] * 2,
        "destriping": [["gray_levels", "iterations", "convergence", "taken_away"]] * 2,
        "resampling": [["gray_levels", "positions"]] * 2,
        "time_and_memory": [["passes", "blocks"]],
    }


def test_every_chart_says_how_to_read_it(report):
    for _, _, chart in all_charts(report):
        assert len(chart.title) > 5
        assert re.search(r"[.]$", chart.text.strip()), chart.name


@pytest.mark.parametrize("level", range(1, len(WHOLE_CHAIN) + 1))
@pytest.mark.parametrize("channel", CHANNELS)
def test_statistics_in_files_are_the_figures_of_the_run(pipeline, files, level, channel):
    step = pipeline.project.steps[level - 1].name
    table = read_csv(files / step / channel / "gray_levels.csv")
    figures = load_figures(pipeline.project, level)
    index = CHANNELS.index(channel)
    for stage, key in (("before", "before"), ("after", "cast")):
        for column, what in enumerate(("minimum", "maximum", "mean")):
            expected = figures[key][index, :, column]
            found = table[f"{what}, {stage}"]
            np.testing.assert_array_equal(found[: len(expected)], expected)
            assert np.isnan(found[len(expected) :]).all()


def test_coefficients_shifts_and_positions_in_files_are_those_of_the_fits(pipeline, files):
    fits = pipeline.fit()
    with (files / "bkg_removal" / "SE2" / "coefficients.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = [float(row["coefficient"]) for row in rows]
    np.testing.assert_array_equal(found, fits["bkg_removal"][1]["coefficients"])
    assert [row["term"] for row in rows][:3] == ["1", "z", "y"]
    pairwise = fits["registration_calculation"][0]["pairwise"][:, 0]
    table = read_csv(files / "registration_calculation" / "ESB" / "pairwise.csv")
    np.testing.assert_allclose(table["x, pixels"], pairwise[:, 0, 2], atol=1e-12)
    np.testing.assert_allclose(table["y, pixels"], pairwise[:, 1, 2], atol=1e-12)
    cumulative = read_csv(files / "registration_transformation" / "ESB" / "cumulative.csv")
    np.testing.assert_allclose(cumulative["x, pixels"], np.cumsum(pairwise[:, 0, 2]), atol=1e-9)
    z = read_csv(files / "resampling" / "ESB" / "positions.csv")
    np.testing.assert_allclose(z["z, µm, before"], np.arange(20) * 0.01)
    np.testing.assert_allclose(z["z, µm, after"][:15], np.arange(15) * 0.013)
    np.testing.assert_allclose(z["distance, µm, after"][1:15], 0.013)


def test_histograms_in_files_are_those_of_the_fit(pipeline, files):
    fit = pipeline.fit()["intensity_rescaling"][0]
    folder = files / "intensity_rescaling" / "ESB"
    before, target, after = (
        np.stack(list(read_csv(folder / f"histograms_{name}.csv").values())[1:])
        for name in ("before", "target", "after")
    )
    np.testing.assert_array_equal(before, fit["histograms"])
    np.testing.assert_allclose(after.sum(axis=1), before.sum(axis=1))
    shares = [np.cumsum(each / each.sum(axis=1, keepdims=True), axis=1) for each in (before, after)]
    wanted = np.cumsum(target / target.sum(axis=1, keepdims=True), axis=1)
    far, near = (np.abs(each - wanted).max(axis=1) for each in shares)
    assert near.max() < 0.15 * far.max()


def test_convergence_in_files_is_that_of_the_solver(pipeline, files):
    figures = load_figures(pipeline.project, 6)
    table = read_csv(files / "destriping" / "SE2" / "iterations.csv")
    np.testing.assert_array_equal(table["iterations"], figures["iterations"][1])
    lines = read_csv(files / "destriping" / "SE2" / "convergence.csv")
    shown = [name for name in lines if name.endswith(", slice 0")]
    steps = lines["iteration"].astype(int) - 1
    for name in shown:
        np.testing.assert_array_equal(lines[name], figures["convergence"][1, 0, steps])
    assert list(lines)[1].startswith("relative change, fastest, slice ")


def test_what_was_taken_away_is_told_by_runs_of_slices_and_in_all(pipeline, files):
    figures = {name: each[1] for name, each in load_figures(pipeline.project, 6).items()}
    with (files / "destriping" / "SE2" / "taken_away.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    whole = known_harm(figures)
    assert [row["slices"] for row in rows] == [*(f"{z} to {z + 2}" for z in runs(20)), "all"]
    assert float(rows[-1]["taken away, gray levels rms"]) == pytest.approx(whole.rms, rel=0.01)
    squares = figures["taken_square"][runs(20)]
    told = [float(row["taken away, gray levels rms"]) for row in rows[:-1]]
    np.testing.assert_allclose(told, np.sqrt(squares), rtol=0.01)


def test_every_chart_is_a_picture_or_a_table(report, files):
    for section, group, chart in all_charts(report):
        path = files / section.name / group.channel / f"{chart.name}.png"
        if isinstance(chart, Table):
            assert path.with_suffix(".csv").exists()
            continue
        with Image.open(path) as picture:
            assert min(picture.size) > 300
            assert len(np.unique(np.asarray(picture.convert("L")))) > 10


@pytest.mark.parametrize("name", STEPS)
def test_every_step_can_be_reported_on_alone(tmp_path, name):
    chain = {name: STEPS[name]}
    if name == "registration_transformation":
        chain = {"registration_calculation": STEPS["registration_calculation"], **chain}
    pipeline = Pipeline.from_toml(make_project(tmp_path, chain, images((9, 50, 64))))
    pipeline.run()
    page = pipeline.report().read_text()
    assert f'<section id="{name}">' in page
    assert page.count("<img ") >= 6


def test_a_stack_without_steps_can_be_reported_on(tmp_path):
    pipeline = Pipeline.from_toml(make_project(tmp_path, {}, images((5, 20, 30))))
    pipeline.run()
    assert list(charts(make_report(pipeline.project), "acquisition")) == ["gray_levels"]


@pytest.mark.parametrize("slices", [1, 2])
def test_a_stack_of_few_slices_can_be_reported_on(tmp_path, slices):
    names = [name for name in WHOLE_CHAIN if name != "resampling"]
    pipeline = Pipeline.from_toml(make_project(tmp_path, names, images((slices, 50, 64))))
    pipeline.run()
    assert pipeline.report().exists()


def test_a_background_of_each_slice_has_its_coefficients(tmp_path):
    steps = {"bkg_removal": {"orders": [1, 1], "skip_factors": [2, 2]}}
    pipeline = Pipeline.from_toml(make_project(tmp_path, steps, images((6, 30, 40))))
    pipeline.run()
    chart = charts(make_report(pipeline.project), "bkg_removal")["coefficients"]
    assert list(chart.panels) == ["1", "y", "x", "x*y"]
    expected = load_figures(pipeline.project, 1)["coefficients"][0, :, 2]
    np.testing.assert_array_equal(chart.panels["x"][""], expected)


def test_a_slice_that_looks_like_no_other_is_named(tmp_path):
    stack = images((20, 50, 64))
    stack[11] = np.random.default_rng(1).integers(0, 255, stack[11].shape)
    steps = {"registration_calculation": STEPS["registration_calculation"]}
    pipeline = Pipeline.from_toml(make_project(tmp_path, steps, stack))
    pipeline.run()
    found = make_report(pipeline.project)
    assert 11 in charts(found, "registration_calculation")["pairwise"].flags
    (line,) = [note for note in found.notes if "little in common" in note]
    assert line.startswith("slice_0011_z=0.1100um.tif: ")


def test_an_interrupted_run_is_reported_as_far_as_it_came(interrupted):
    found = make_report(interrupted.project)
    assert found.facts["State"].startswith("not complete")
    assert "pass" in found.left_to_do
    means = charts(found, "bkg_removal").get("gray_levels")
    assert means is None
    first = interrupted.report().read_text()
    assert "No run has come to this step yet." in first
    assert "There is no complete result yet to show after." in first
    assert f"slice_{SPOILT:04d}" in first  # the planes before cannot be shown


def test_finished_blocks_of_an_unfinished_pass_have_their_figures(tmp_path, monkeypatch):
    steps = {"intensity_rescaling_area": {}, "cropping": {}}
    directory = make_project(tmp_path, steps, images((40, 60, 60)), precision="source")
    pipeline = Pipeline.from_toml(directory)
    pipeline.fit()
    from pystack3d_dask.io.ome.image import ResultWriter

    write = ResultWriter.write

    def refuse(self, channel, z_start, values):
        if z_start == 8:
            message = "no more"
            raise StackError(message)
        return write(self, channel, z_start, values)

    monkeypatch.setattr(ResultWriter, "write", refuse)
    with pytest.raises(RunError, match="no more"):
        pipeline.run()
    found = charts(make_report(pipeline.project), "intensity_rescaling_area")
    means = found["gray_levels"].panels["mean"]["after"]
    assert np.isnan(means).sum() in (4, 8)
    assert np.isnan(means[8])
    monkeypatch.undo()
    pipeline.run()
    whole = charts(make_report(pipeline.project), "intensity_rescaling_area")["gray_levels"]
    is_known = ~np.isnan(means)
    np.testing.assert_array_equal(whole.panels["mean"]["after"][is_known], means[is_known])


def test_without_a_run_there_is_nothing_to_report(tmp_path):
    pipeline = Pipeline.from_toml(make_project(tmp_path, ["cropping"]))
    with pytest.raises(StackError, match="no run has left anything here"):
        pipeline.report()
    assert not (tmp_path / "process").exists()


def test_the_pages_figures_survive_that_levels_are_freed(pipeline, report):
    pipeline.clean()
    again = make_report(pipeline.project)
    for (_, _, one), (_, _, other) in zip(all_charts(report), all_charts(again), strict=True):
        assert one.name == other.name
        if isinstance(one, Lines):
            np.testing.assert_equal(dict(other.panels), dict(one.panels))


def test_passes_are_told_with_what_they_took(pipeline, report):
    summary = json.loads(pipeline.project.workspace.summary.read_text())
    table = charts(report, "time_and_memory")["passes"].columns
    assert table["does"] == [each["label"] for each in summary["passes"]]
    assert table["blocks"] == [each["tasks"] for each in summary["passes"]]
    assert table["read, MB"] == [each["bytes_read"] / 1e6 for each in summary["passes"]]
