"""Estimated fits: through the code of a run, from some slices, and called by their name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from stack_tools import posed, turned
from stacks import WHOLE_CHAIN, images, make_project

from pystack3d_dask import open_result
from pystack3d_dask.core.spec import Region
from pystack3d_dask.errors import ParameterError
from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.preview.preview import preview
from pystack3d_dask.preview.workbench import Memory, Workbench, level_after

BACKGROUND = {"orders": [1, 2, 1], "skip_factors": [3, 2, 2]}


class Counting:
    """A source that remembers which slices were read."""

    def __init__(self, source):
        self._source, self.slices = source, []

    def __getattr__(self, name):
        return getattr(self._source, name)

    def read(self, channel: int, region: Region):
        self.slices += region.z
        return self._source.read(channel, region)


def counting(pipeline):
    source = Counting(pipeline.project.source)
    return Pipeline.of(replace(pipeline.project, source=source)), source


@pytest.mark.parametrize("precision", ["float32", "source"])
@pytest.mark.parametrize("averaging", [False, True])
def test_an_estimate_from_all_slices_is_what_a_run_finds(tmp_path, precision, averaging):
    steps = {
        "bkg_removal": {**BACKGROUND, "skip_factors": [3, 2, 1], "skip_averaging": averaging},
        "intensity_rescaling": {"filter_size": -1},
        "intensity_rescaling_area": {"area": [5, 40, 5, 30]},
    }
    pipeline = Pipeline.from_toml(make_project(tmp_path, steps, precision=precision))
    shown = {z: pipeline.preview(z=z) for z in (0, 7, 19)}
    assert {str(each) for each in shown[7].estimated.values()} == {"estimated from 20 of 20 slices"}
    pipeline.run()
    result = open_result(tmp_path)
    for z, each in shown.items():
        np.testing.assert_array_equal(each.after, result.isel(z=z))


def test_an_estimate_from_some_slices_is_close_to_what_a_run_finds(tmp_path):
    steps = {"bkg_removal": BACKGROUND, "intensity_rescaling": {"filter_size": 5}}
    pipeline = Pipeline.from_toml(make_project(tmp_path, steps, images((90, 50, 64))))
    shown = pipeline.preview(z=41)
    found = {name: (each.slices, each.of) for name, each in shown.estimated.items()}
    assert found["bkg_removal"] == (23, 90)
    assert 23 <= found["intensity_rescaling"][0] <= 28
    pipeline.run()
    exact = pipeline.preview(z=41)
    assert not exact.estimated
    difference = np.abs(exact.difference - shown.difference)
    assert 0 < difference.mean() < np.abs(exact.difference).mean() / 5


def test_no_more_than_the_sample_is_read_and_that_but_once(tmp_path):
    steps = {"bkg_removal": BACKGROUND, "intensity_rescaling": {"filter_size": 5}}
    project = make_project(tmp_path, steps, images((90, 50, 64)))
    pipeline, source = counting(Pipeline.from_toml(project))
    pipeline.preview(z=41)
    before = source.slices.pop()
    assert before == 41
    assert len(source.slices) == len(set(source.slices)) < 50


def test_with_fits_that_are_known_only_what_is_shown_is_read(tmp_path):
    project = make_project(tmp_path, WHOLE_CHAIN)
    Pipeline.from_toml(project).run()
    pipeline, source = counting(Pipeline.from_toml(project))
    assert not pipeline.preview(z=7).estimated
    # 0.091 lies between two slices; before is the nearest one
    assert sorted(source.slices) == [9, 9, 10]


def test_a_second_look_reads_nothing(tmp_path):
    project = make_project(tmp_path, {"bkg_removal": BACKGROUND})
    pipeline, source = counting(Pipeline.from_toml(project))
    bench = Workbench(pipeline.project)
    region = pipeline.project.source.specs[0].region.with_z(6, 7)
    first = bench.images(bench.fitted([6], 1), 1, [region])
    read = len(source.slices)
    again = bench.images(bench.fitted([6], 1), 1, [region])
    assert len(source.slices) == read
    np.testing.assert_array_equal(first[0][0], again[0][0])


def test_slices_near_the_one_shown_lie_on_each_other_as_in_a_run(tmp_path):
    poses = [turned(0, (0, 0), (1.5 * (k % 3), 2.0 * k)) for k in range(12)]
    steps = {
        "registration_calculation": {"transformation": "TRANSLATION"},
        "registration_transformation": {},
    }
    pipeline = Pipeline.from_toml(make_project(tmp_path, steps, posed(poses, (60, 70))))
    bench = Workbench(pipeline.project)
    fitted = bench.fitted([6, 7], 2)
    assert str(fitted.estimates["registration_calculation"]) == "estimated from 4 of 12 slices"
    found = fitted.chains[0].fits["registration_calculation"]["pairwise"][:, 0]
    pipeline.fit()
    (exact,) = pipeline.fit()["registration_calculation"]
    np.testing.assert_array_equal(found[5:9], exact["pairwise"][5:9, 0])
    np.testing.assert_array_equal(found[:5], np.tile(np.eye(3), (5, 1, 1)))


def test_channels_share_an_estimated_registration(tmp_path):
    stacks = {"a": images(), "b": images(seed=1)}
    pipeline = Pipeline.from_toml(make_project(tmp_path, WHOLE_CHAIN, stacks))
    fitted = Workbench(pipeline.project).fitted([5], len(WHOLE_CHAIN))
    one, other = (chain.fits["registration_calculation"] for chain in fitted.chains)
    assert one is other
    first, second = (chain.fits["bkg_removal"]["coefficients"] for chain in fitted.chains)
    assert not np.array_equal(first, second)


def test_known_fits_of_steps_behind_the_base_can_be_left_aside(tmp_path):
    steps = {"bkg_removal": BACKGROUND, "intensity_rescaling": {"filter_size": 5}}
    pipeline = Pipeline.from_toml(make_project(tmp_path, steps))
    pipeline.run()
    assert not Workbench(pipeline.project, 1).fitted([3], 2).estimates
    assert set(Workbench(pipeline.project, 1, from_records=False).fitted([3], 2).estimates) == {
        "intensity_rescaling"
    }


def test_what_is_seen_does_not_depend_on_what_is_kept(tmp_path):
    pipeline = Pipeline.from_toml(make_project(tmp_path, WHOLE_CHAIN, images((40, 50, 64))))
    seen = [
        preview(
            pipeline.project, z=11, bench=Workbench(pipeline.project, base, memory=Memory(nbytes))
        )
        for base, nbytes in ((0, 2**30), (0, 0), (5, 2**30), (5, 0))
    ]
    for each in seen[1:]:
        np.testing.assert_array_equal(each.after, seen[0].after)
        assert each.estimated == seen[0].estimated


def test_memory_forgets_what_was_used_least():
    memory = Memory(nbytes=250)
    for name in "abc":
        memory.put((name,), np.zeros(100, np.uint8))
        memory.get(("a",))
    assert memory.get(("b",)) is None
    assert memory.get(("a",)) is not None
    assert memory.get(("c",)) is not None


def test_levels_are_found_by_name(tmp_path):
    steps = Pipeline.from_toml(make_project(tmp_path, WHOLE_CHAIN)).project.steps
    assert level_after(steps, None) == len(steps)
    assert level_after(steps, "cropping") == 1
    with pytest.raises(ParameterError, match=r"step: one of cropping, .* expected, found 'x'"):
        level_after(steps, "x")
