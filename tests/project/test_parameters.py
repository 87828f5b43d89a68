"""Parameters by path."""

from __future__ import annotations

import json

import numpy as np
import pytest
from stacks import WHOLE_CHAIN, make_project

from pystack3d_dask.errors import ParameterError
from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.project.parameters import parse_path

NOISE_LEVEL = "destriping.filters[0].noise_level"
MAXIT = "destriping.maxit"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return Pipeline.from_toml(make_project(tmp_path_factory.mktemp("paths"), WHOLE_CHAIN))


def step(pipeline, name):
    return next(each for each in pipeline.project.steps if each.name == name)


def test_paths_are_names_and_places():
    assert parse_path(NOISE_LEVEL) == ("destriping", "filters", 0, "noise_level")
    assert parse_path("cropping.area[3]") == ("cropping", "area", 3)


@pytest.mark.parametrize("path", ["", "a..b", "a[", "a[-1]", "a b", ".a", "a[x]"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ParameterError, match=r"a path such as destriping.filters"):
        parse_path(path)


def test_values_are_changed_and_everything_else_stays(pipeline):
    changed = pipeline.with_parameters(
        {NOISE_LEVEL: 55, "destriping.filters[0].sigma[1]": 12, "cropping.area[0]": 7}
    )
    assert isinstance(changed, Pipeline)
    (found,) = step(changed, "destriping").filters
    assert (found.noise_level, found.sigma, found.theta) == (55, (1, 12), 0)
    assert step(changed, "cropping").area == (7, 60, 5, 48)
    assert step(changed, "bkg_removal") is step(pipeline, "bkg_removal")
    assert step(pipeline, "destriping").filters[0].noise_level == 20


def test_a_whole_list_or_table_can_be_replaced(pipeline):
    filters = [
        {"name": "Gabor", "noise_level": 3, "sigma": [1, 9]},
        {"name": "Dirac", "noise_level": 1},
    ]
    changed = pipeline.with_parameters({"destriping.filters": filters})
    assert [each.name for each in step(changed, "destriping").filters] == ["Gabor", "Dirac"]


def test_values_of_numpy_are_taken_and_recorded_as_plain_ones(pipeline):
    sigma = np.array([1.5, 12])
    changed = pipeline.with_parameters({MAXIT: np.int64(3), "destriping.filters[0].sigma": sigma})
    assert step(changed, "destriping").filters[0].sigma == (1.5, 12)
    recorded = json.loads(json.dumps(changed.project.parameters["destriping"]))
    assert (recorded["maxit"], recorded["filters"][0]["sigma"]) == (3, [1.5, 12])
    sigma[0] = 9
    assert changed.project.parameters["destriping"]["filters"][0]["sigma"] == [1.5, 12]


def test_what_is_recorded_is_what_is_used(pipeline):
    recorded = pipeline.with_parameters({NOISE_LEVEL: 55}).project.parameters
    assert recorded["destriping"]["filters"][0]["noise_level"] == 55
    assert recorded["bkg_removal"] == pipeline.project.parameters["bkg_removal"]
    assert pipeline.project.parameters["destriping"]["filters"][0]["noise_level"] == 20


def test_every_step_can_be_made_again_from_its_parameters(pipeline):
    same = pipeline.with_parameters(
        {f"{each.name}.checkpoint": False for each in pipeline.project.steps}
    )
    assert same.corrections == pipeline.corrections


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("desriping.maxit", "desriping.maxit: no such step; there are cropping, "),
        ("destriping", "destriping: a parameter expected, one of checkpoint, filters, "),
        ("destriping.max", "leads nowhere: destriping has checkpoint, filters, "),
        ("destriping.filters[1].theta", r"destriping.filters has 1 entries, \[0\] to \[0\]"),
        ("destriping.filters.theta", "destriping.filters has 1 entries"),
        ("destriping.maxit.x", "leads nowhere: destriping.maxit is 6"),
        ("destriping.wavelet_decomposition.sigma", "wavelet_decomposition is not set"),
        ("bkg_removal.poly_basis[0]", "bkg_removal.poly_basis is not set"),
    ],
)
def test_a_path_that_leads_nowhere_is_named_with_what_is_there(pipeline, path, message):
    with pytest.raises(ParameterError, match=message):
        pipeline.with_parameters({path: 1})


def test_everything_that_is_wrong_is_said_at_once(pipeline):
    with pytest.raises(ParameterError) as caught:
        pipeline.with_parameters({"cropping.aera": 1, NOISE_LEVEL: "x", "resampling.dz": "y"})
    assert [each.path for each in caught.value.problems] == [
        "cropping.aera",
        NOISE_LEVEL,
        "resampling.dz",
    ]


def test_values_that_do_not_fit_the_stack_are_refused(pipeline):
    with pytest.raises(ParameterError, match=r"destriping.maxit: 1 to 10000 expected, found 0"):
        pipeline.with_parameters({"destriping.maxit": 0})
