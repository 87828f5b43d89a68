"""What commands do not do, so that they answer at once: imports, and files that are opened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from stacks import WHOLE_CHAIN, images, make_project

from pystack3d_dask.pipeline import Pipeline

# runs a command; writes which modules it has imported, and which files it has tried to open
PROGRAM = """
import json, sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
_, report, *sys.argv[1:] = sys.argv
from pystack3d_dask.cli.main import main
try:
    main()
finally:
    with open(report, "w") as file:
        json.dump({"modules": [*sys.modules], "opened": opened}, file)
"""
SCHEDULING = {"dask", "distributed", "tornado", "bokeh"}
TABLES = {"xarray", "pandas"}
ARRAYS = {"numpy", "scipy", "zarr", "numba", "tifffile", "pydantic"}
OTHERS = {"skimage", "pystackreg", "pywt", "rich", "psutil", "IPython"}
PICTURES = {"matplotlib"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    directory = make_project(tmp_path_factory.mktemp("starting"), WHOLE_CHAIN, images())
    Pipeline.from_toml(directory).run()
    return directory


@pytest.fixture
def watched(tmp_path):
    def run(*arguments: object) -> tuple[set[str], list[Path]]:
        report = tmp_path / "report.json"
        subprocess.run(
            [sys.executable, "-c", PROGRAM, report, *map(str, arguments)],
            check=True,
            capture_output=True,
        )
        found = json.loads(report.read_text())
        return set(found["modules"]), [Path(path) for path in found["opened"]]

    return run


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("run", "--help")])
def test_help_imports_nothing_that_computes(watched, arguments):
    modules, _ = watched(*arguments)
    assert "pystack3d_dask.cli.main" in modules
    assert not modules & (SCHEDULING | TABLES | ARRAYS | OTHERS | PICTURES)


@pytest.mark.parametrize("command", ["plan", "init"])
def test_what_computes_nothing_imports_no_scheduler_and_draws_nothing(watched, project, command):
    if command == "init":
        (project / "params.toml").rename(project / "other.toml")
    try:
        modules, _ = watched(command, project)
    finally:
        if command == "init":
            (project / "other.toml").replace(project / "params.toml")
    assert "numpy" in modules
    looks_at_images = {"skimage"} if command == "init" else set()
    assert not modules & (SCHEDULING | TABLES | OTHERS | PICTURES) - looks_at_images


def test_a_preview_imports_what_it_computes_and_draws_with(watched, project, tmp_path):
    modules, _ = watched("preview", project, "--png", tmp_path / "slice.png")
    assert (tmp_path / "slice.png").exists()
    assert {"numba", "matplotlib"} <= modules
    assert not modules & (SCHEDULING | TABLES | OTHERS)
    assert not modules & {"matplotlib.pyplot", "scipy.ndimage", "scipy.stats"}


def test_a_preview_opens_fits_and_no_other_records(watched, project, tmp_path):
    _, opened = watched("preview", project, "--png", tmp_path / "slice.png")
    records = project / "process"
    inside = {path.relative_to(records).parts for path in opened if path.is_relative_to(records)}
    assert {("work.zarr", "fits")} == {parts[:2] for parts in inside}
