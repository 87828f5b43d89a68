"""The top-level key ``bad_content``."""

from __future__ import annotations

import numpy as np
import pytest
from stacks import make_project, porous

import pystack3d_dask as ps
from pystack3d_dask.errors import ParameterError
from pystack3d_dask.pipeline import Pipeline

ORDER = ["cropping", "intensity_rescaling", "registration_calculation", "destriping"]
TABLES = {
    "registration_calculation": {"transformation": "TRANSLATION"},
    "cropping": {"area": [0, 40, 0, 30]},
    "destriping": {"filters": [{"name": "Gabor", "noise_level": 20, "sigma": [1, 10]}]},
}


def steps_of(directory, names, **settings):
    steps = {name: TABLES.get(name, {}) for name in names}
    return Pipeline.from_toml(make_project(directory, steps, **settings)).corrections


@pytest.mark.parametrize("policy", ["interpolate", "drop"])
def test_it_adds_the_check_and_the_repair_at_their_places(tmp_path, policy):
    steps = steps_of(tmp_path, ORDER, bad_content=policy)
    names = [step.name for step in steps]
    assert names == [*ORDER[:1], "slice_check", *ORDER[1:3], "slice_repair", *ORDER[3:]]
    assert steps[4] == ps.SliceRepair(action=policy)


def test_keep_which_is_the_default_adds_nothing(tmp_path):
    for name, settings in (("given", {"bad_content": "keep"}), ("default", {})):
        steps = steps_of(tmp_path / name, ORDER, **settings)
        assert [step.name for step in steps] == ORDER


def test_a_check_that_is_listed_stays_where_it_is(tmp_path):
    listed = ["destriping", "slice_check"]
    steps = steps_of(tmp_path, listed, bad_content="drop")
    assert [step.name for step in steps] == [*listed, "slice_repair"]


def test_the_table_of_a_check_that_is_not_listed_counts(tmp_path):
    stacks = {"se": porous(), "bse": porous()}
    project = make_project(tmp_path, ["cropping"], stacks, bad_content="drop")
    params = project / "params.toml"
    params.write_text(f'{params.read_text()}\n[slice_check]\nchannel = "bse"\n')
    assert ps.SliceCheck(channel="bse") in Pipeline.from_toml(project).corrections


def test_saying_it_twice_is_an_error(tmp_path):
    project = make_project(tmp_path, {"slice_check": {}, "slice_repair": {}}, bad_content="drop")
    with pytest.raises(ParameterError, match=r"bad_content: .*slice_repair.* leave out one"):
        Pipeline.from_toml(project)


def test_steps_that_are_asked_for_stand_alone(tmp_path):
    project = make_project(tmp_path, {"slice_check": {}}, bad_content="drop")
    (step,) = Pipeline.from_toml(project, steps=["slice_check"]).corrections
    assert step.name == "slice_check"


def test_other_words_are_refused_and_the_allowed_ones_named(tmp_path):
    project = make_project(tmp_path, {"slice_check": {}}, bad_content="replace")
    with pytest.raises(ParameterError, match="'keep', 'drop' or 'interpolate' expected"):
        Pipeline.from_toml(project)


def test_a_pipeline_from_python_takes_it_and_writes_it(tmp_path):
    stack = porous()
    stack[7] = 0
    pipeline = ps.Pipeline([ps.Gamma(gamma=1.0)], bad_content="drop")
    assert 'bad_content = "drop"' in pipeline.to_toml()
    directory = make_project(tmp_path, [], stack)
    pipeline.run(directory)
    np.testing.assert_array_equal(ps.open_result(directory)[0], np.delete(stack, 7, axis=0))
