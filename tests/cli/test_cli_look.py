"""Commands that look at some slices."""

from __future__ import annotations

import re
import tomllib

import pytest
from matplotlib.image import imread

PARAMS = """\
process_steps = ["bkg_removal", "destriping"]

[bkg_removal]
orders = [1, 1, 1]
skip_factors = [4, 4, 3]

[destriping]
filters = [{ name = "Gabor", noise_level = 20, sigma = [1, 10] }]
maxit = 5
"""


@pytest.fixture
def project(make_project):
    return make_project(PARAMS, shape=(7, 64, 70))


def test_preview_prints_figures_and_what_is_estimated(project, call, tmp_path):
    done = call("preview", project, "--z", 2, "--png", tmp_path / "a.png")
    assert done.status == 0
    assert "slice_0002_z=0.0200um.tif, after destriping" in done.out
    assert "note: bkg_removal estimated from 3 of 7 slices" in done.out
    assert re.search(r"^across +\d+\.\d+ +\d", done.out, re.MULTILINE)
    assert imread(tmp_path / "a.png").shape[1] > 1000
    assert not (project / "process").exists()


def test_sweep_prints_a_table_and_draws_a_picture(project, call, tmp_path):
    done = call(
        "sweep", project, "destriping.filters[0].noise_level=1,50", "destriping.maxit=2,4",
        "--z", "2,3", "--area", 3, 60, 3, 60, "--png", tmp_path / "b.png",
    )  # fmt: skip
    assert done.status == 0
    lines = done.out.splitlines()
    assert [line.split()[:2] for line in lines[1:5]] == [
        ["1", "2"],
        ["1", "4"],
        ["50", "2"],
        ["50", "4"],
    ]
    assert sum(line.endswith("best") for line in lines) == 1
    assert lines[5] == "note: bkg_removal estimated from 3 of 7 slices"
    assert imread(tmp_path / "b.png").shape[1] > 500


def test_sweep_takes_lists_and_bare_words(project, call):
    done = call(
        "sweep",
        project,
        "bkg_removal.orders=[1,1,1],[0,0,0]",
        "bkg_removal.weight_func=HuberT,None",
    )
    assert done.status == 0
    assert len(re.findall(r"^ *\[\d, \d, \d\] +\w+ ", done.out, re.MULTILINE)) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["destriping.maxit"], "PATH=VALUE,VALUE... expected"),
        (["destriping.maxit=[1"], "destriping.maxit: "),
        (["destriping.maxi=1"], "destriping.maxi: leads nowhere: destriping has "),
        (["destriping.maxit=1", "--z", "99"], "z: 0 to 6 expected, found 99"),
        (["destriping.maxit=1", "--z", "a"], "--z: whole numbers expected, found 'a'"),
        ([], "Missing argument"),
    ],
)
def test_what_is_wrong_with_a_sweep_is_said(project, call, arguments, message):
    done = call("sweep", project, *arguments)
    assert done.status == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_suggest_prints_lines_for_the_parameter_file(project, call):
    done = call("suggest", project)
    assert done.status == 0
    assert {"bkg_removal", "destriping"} == set(tomllib.loads(done.out))
