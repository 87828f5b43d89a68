"""Parameters that are hardly meant: told by plan and run, with what was probably meant."""

from __future__ import annotations

import json

import numpy as np
import pytest
from stacks import STEPS, WHOLE_CHAIN, doubts, images, make_project

from pystack3d_dask.demo import DemoStack
from pystack3d_dask.pipeline import Pipeline

MOVED = {"transformation": "TRANSLATION"}
TRANSFORMED = "registration_transformation"


def gabor(noise_level, *sigma):
    return {"filters": [{"name": "Gabor", "noise_level": noise_level, "sigma": list(sigma)}]}


@pytest.mark.parametrize(
    ("steps", "path", "message"),
    [
        ({"resampling": {"dz": 10}}, "resampling.dz", "for 10 nanometers write 0.01"),
        ({"resampling": {"dz": 10}}, "resampling.dz", "10 µm makes 1 of 20 slices"),
        ({"resampling": {"dz": 0.0001}}, "resampling.dz", "makes 1901 of 20 slices"),
        (
            {"bkg_removal": {"orders": [1, 1, 1], "threshold_min": 400}},
            "bkg_removal.threshold_min",
            "400 leaves no pixel: gray levels of uint8 go from 0 to 255",
        ),
        (
            {"intensity_rescaling_area": {"threshold_max": -1}},
            "intensity_rescaling_area.threshold_max",
            "-1 leaves no pixel",
        ),
        (
            {"intensity_rescaling": {"range_bins": [0, 65535]}},
            "intensity_rescaling.range_bins",
            "reaches beyond uint8",
        ),
        ({"gamma": {"in_range": [0, 4095]}}, "gamma.in_range", "reaches beyond uint8"),
        (
            {"destriping": gabor(20, 1, 30000)},
            "destriping.filters[0].sigma",
            "more than the image of 64 x 50 pixels",
        ),
        ({"destriping": gabor(20, 30, 1)}, "destriping.filters[0].sigma", "[1, 30] may be meant"),
        (
            {"destriping": gabor(1e5, 1, 30)},
            "destriping.filters[0].noise_level",
            "anything is left",
        ),
        ({"destriping": gabor(1e-5, 1, 30)}, "destriping.filters[0].noise_level", "is removed"),
        (
            {"intensity_rescaling": {"filter_size": 21}},
            "intensity_rescaling.filter_size",
            "has, 20",
        ),
        (
            {"registration_calculation": {**MOVED, "area": [0, 12, 0, 12]}},
            "registration_calculation.area",
            "blocks of 12 x 12 pixels",
        ),
        (
            {"registration_calculation": {**MOVED, "threshold": 300}},
            "registration_calculation.threshold",
            "no pixel is above 300",
        ),
        (
            {"registration_calculation": MOVED, TRANSFORMED: {"constant_drift": [0, 10]}},
            f"{TRANSFORMED}.constant_drift",
            "190] over 20 slices",
        ),
        (
            {"registration_calculation": MOVED, TRANSFORMED: {"box_size_averaging": 50}},
            f"{TRANSFORMED}.box_size_averaging",
            "50 slices are more than the stack has, 20",
        ),
        (
            {"bkg_removal": {"method": "local", "size": [9000, 9000, 1]}},
            "bkg_removal.size",
            "size_unit = 'um'",
        ),
        (
            {"bkg_removal": {"method": "local", "size": [0.5, 0.5, 0.1]}},
            "bkg_removal.size",
            "sizes are in 'pixels'",
        ),
    ],
)
def test_what_is_hardly_meant_is_warned_of(tmp_path, steps, path, message):
    found = Pipeline.from_toml(make_project(tmp_path, steps)).project.notes
    (told,) = [note for note in found if note.path == path]
    assert message in told.message
    assert told.severity == "warning"


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ([500, 500], "for nanometers write [0.5, 0.5]"),
        ([0.01, 0.01, 20], "slices 20 µm apart with pixels 0.01 µm wide are unlikely"),
    ],
)
def test_a_size_of_voxels_that_is_hardly_in_micrometers_is_warned_of(tmp_path, size, message):
    project = make_project(tmp_path, ["cropping"], voxel_size=size)
    told = [str(note) for note in Pipeline.from_toml(project).project.notes]
    assert any(message in each for each in told)


def test_plan_and_run_warn_and_the_summary_keeps_it(tmp_path, call):
    project = make_project(tmp_path, {"resampling": {"dz": 10}}, images((4, 20, 20)))
    for command in (["plan", project], ["run", project, "--workers", 0, "--no-report"]):
        done = call(*command)
        assert done.status == 0
        assert done.err.count("warning: resampling.dz: 10 µm makes 1 of 4 slices") == 1
    (remark,) = json.loads((project / "process" / "summary.json").read_text())["remarks"]
    assert remark.startswith("resampling.dz: 10 µm makes 1 of 4 slices")


@pytest.mark.parametrize("steps", [STEPS, WHOLE_CHAIN])
def test_usual_parameters_raise_no_doubt(tmp_path, steps):
    assert not doubts(Pipeline.from_toml(make_project(tmp_path, steps)))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_demo_raises_no_doubt(tmp_path, dtype):
    DemoStack(shape=(40, 64, 64), dtype=np.dtype(dtype)).write(tmp_path)
    assert Pipeline.from_toml(tmp_path).project.notes == ()
