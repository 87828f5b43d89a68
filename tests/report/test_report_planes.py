"""Planes and faces: the pixels of the result, and what they were made of."""

from __future__ import annotations

import numpy as np
import pytest
from stacks import STEPS, images, make_project

from pystack3d_dask import open_result
from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.report import content, planes
from pystack3d_dask.report.known import RunKnown
from pystack3d_dask.report.planes import Planes, planes_after, planes_before

CHANNELS = ("ESB", "SE2")
SHAPE = (15, 43, 57)  # after cropping, with 20 slices resampled
CHAIN = {name: STEPS[name] for name in ("cropping", "bkg_removal", "resampling")}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    stacks = {name: images(seed=seed) for seed, name in enumerate(CHANNELS)}
    pipeline = Pipeline.from_toml(make_project(tmp_path_factory.mktemp("planes"), CHAIN, stacks))
    pipeline.run()
    return pipeline


def acquired(channel: int):
    """Return the part of the acquisition that the result shows, slices being the nearest."""
    nearest = np.abs(np.arange(15)[:, None] * 0.013 - np.arange(20) * 0.01).argmin(axis=1)
    return images(seed=channel)[nearest, 50 - 48 : 50 - 5, 3:60]


def check(found: Planes, stack):
    assert stack.shape == SHAPE
    slices, rows, columns = (n // 2 for n in SHAPE)
    np.testing.assert_array_equal(found.xy, stack[slices])
    np.testing.assert_array_equal(found.xz, stack[:, rows])
    np.testing.assert_array_equal(found.yz, stack[:, :, columns].T)
    np.testing.assert_array_equal(found.front, stack[0])
    np.testing.assert_array_equal(found.top, stack[:, 0])
    np.testing.assert_array_equal(found.right, stack[:, :, -1].T)
    assert (found.slices, found.read) == (15, 15)


@pytest.mark.parametrize("channel", [0, 1])
def test_planes_after_are_those_of_the_result(pipeline, channel):
    result = open_result(pipeline.project.directory).values
    check(planes_after(RunKnown(pipeline.project), channel), result[channel])


@pytest.mark.parametrize("channel", [0, 1])
def test_planes_before_are_those_of_the_same_place_in_the_acquisition(pipeline, channel):
    check(planes_before(RunKnown(pipeline.project), channel), acquired(channel))


def test_what_is_ingested_is_read_in_place_of_the_slices(pipeline, monkeypatch):
    known = RunKnown(pipeline.project)

    def refuse(*_):
        message = "a slice was read"
        raise AssertionError(message)

    with monkeypatch.context() as patch:
        patch.setattr(type(pipeline.project.source), "read", refuse)
        check(planes_before(known, 0), acquired(0))
    pipeline.clean()
    check(planes_before(RunKnown(pipeline.project), 0), acquired(0))
    monkeypatch.setattr(type(pipeline.project.source), "read", refuse)
    with pytest.raises(AssertionError, match="a slice was read"):
        planes_before(RunKnown(pipeline.project), 0)


def test_of_many_slices_some_are_read_and_it_is_said(pipeline, monkeypatch):
    monkeypatch.setattr(planes, "MOST_SLICES", 4)
    monkeypatch.setattr(planes, "FEWEST_SLICES", 2)
    known = RunKnown(pipeline.project)
    chosen = [0, 5, 9, 14]
    for found, stack in (
        (planes_after(known, 0), open_result(pipeline.project.directory).values[0]),
        (planes_before(known, 0), acquired(0)),
    ):
        np.testing.assert_array_equal(found.xz, stack[chosen, SHAPE[1] // 2])
        np.testing.assert_array_equal(found.xy, stack[5])
    report = content.make_report(pipeline.project)
    chart = report.sections[0].groups[0].charts[0]
    assert "Along z 4 of the 15 slices are shown." in chart.text


def test_large_slices_are_few_whatever_they_take(pipeline, monkeypatch):
    monkeypatch.setattr(planes, "MOST_BYTES", 1)
    monkeypatch.setattr(planes, "FEWEST_SLICES", 3)
    assert planes_after(RunKnown(pipeline.project), 0).read == 3


def test_wide_slices_are_shown_from_the_pyramid_and_pooled_alike_before(tmp_path):
    stack = images((4, 600, 1100))
    pipeline = Pipeline.from_toml(make_project(tmp_path, {}, stack))
    pipeline.run()
    known = RunKnown(pipeline.project)
    before, after = planes_before(known, 0), planes_after(known, 0)
    assert before.xy.shape == after.xy.shape == (300, 550)
    expected = stack[2].reshape(300, 2, 550, 2).mean(axis=(1, 3))
    assert np.abs(before.xy - expected).max() <= 0.5
    # the distance of slices, and pixels that are taken to be as large
    assert before.size == after.size == pytest.approx((0.04, 6, 11))
    assert before.unit == "µm"


def test_thin_stacks_are_drawn_thicker_and_it_is_said(pipeline):
    found = planes_after(RunKnown(pipeline.project), 0)
    depth, height, _ = found.size
    assert found.shown_depth == max(depth, 0.25 * height)
    flat = Planes(**{**vars(found), "size": (1.0, 100.0, 200.0)})
    assert flat.shown_depth == 25
    long = Planes(**{**vars(found), "size": (5000.0, 100.0, 200.0)})
    assert long.shown_depth == 200


def test_slices_that_are_gone_are_said_and_the_rest_is_shown(tmp_path):
    pipeline = Pipeline.from_toml(make_project(tmp_path, ["bkg_removal"], images((9, 50, 64))))
    pipeline.run()
    pipeline.clean()
    for path in tmp_path.glob("*.tif"):
        path.write_bytes(b"")
    group = content.make_report(pipeline.project).sections[0].groups[0]
    assert [chart.name for chart in group.charts] == ["planes_after", "cube_after"]
    (note,) = group.notes
    assert note.startswith("The planes before cannot be shown: ")
