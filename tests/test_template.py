"""The parameter file that `init` writes."""

from __future__ import annotations

import re
import tomllib

import pytest

from pystack3d_dask import Pipeline
from pystack3d_dask.errors import ParameterError, SourceError
from pystack3d_dask.step import registry
from pystack3d_dask.template import write_params


def test_it_describes_the_slices_and_is_read_without_a_word(make_project):
    project = make_project(None)
    path = write_params(project)
    assert path == project / "params.toml"
    params = tomllib.loads(path.read_text(encoding="utf-8"))
    assert (params["ind_min"], params["ind_max"]) == (0, 6)
    assert params["cropping"]["area"] == [0, 42, 0, 36]
    assert "7 slices of 42 x 36 pixels, uint8" in path.read_text(encoding="utf-8")
    assert Pipeline.from_toml(project).notes == ()


def test_channels_are_found_in_sub_directories(make_project):
    project = make_project(None, channels=["SE2", "ESB"])
    params = tomllib.loads(write_params(project).read_text(encoding="utf-8"))
    assert params["channels"] == ["ESB", "SE2"]
    assert Pipeline.from_toml(project).source.channels == ("ESB", "SE2")


def test_names_of_channels_may_hold_anything(make_project):
    names = ['a "b"', "c é", "'d'"]
    project = make_project(None, channels=names)
    params = tomllib.loads(write_params(project).read_text(encoding="utf-8"))
    assert params["channels"] == sorted(names)


def test_what_is_there_is_never_overwritten(make_project):
    project = make_project("# mine\n")
    with pytest.raises(ParameterError, match="not overwritten; rename or remove it"):
        write_params(project)
    assert (project / "params.toml").read_text() == "# mine\n"


def test_without_slices_nothing_is_written(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SourceError, match=r"no slices; expected .*; found 'notes.txt'"):
        write_params(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_parameters_shown_as_comments_exist(make_project):
    """Uncommented one at a time, every line is a parameter that its table knows."""
    text = write_params(make_project(None)).read_text(encoding="utf-8")
    table, seen = "", 0
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            table = heading[1]
        elif commented := re.match(r"# (\w+) = ", line):
            seen += 1
            tomllib.loads(line[2:])
            if table:
                names = registry()[table].__dataclass_fields__
                assert commented[1] in names, f"[{table}] {line}"
    assert seen > 8


def test_every_correction_that_is_mentioned_exists(make_project):
    text = write_params(make_project(None)).read_text(encoding="utf-8")
    listed = text.partition("process_steps = [")[2].partition("]")[0]
    assert set(re.findall(r'"(\w+)"', listed)) <= set(registry())
    assert set(re.findall(r"^\[(\w+)\]", text, re.MULTILINE)) <= set(registry())
