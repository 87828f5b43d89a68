"""Versions of workers are compared with those here before a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clusters import LOCAL, dask, running
from conftest import listing
from distributed import Client

from pystack3d_dask import __version__
from pystack3d_dask.engine.versions import check_versions, differing

OWN = {"numpy": "2.4.0", "zarr": None}
WORKERS = {
    "b": {"numpy": "2.3.0", "zarr": None},
    "a": {"numpy": "2.3.0", "zarr": "3.1.0"},
    "c": {"numpy": "2.4.0"},
    "d": {"numpy": None},
}


def test_workers_are_sorted_by_the_versions_that_they_have_and_we_have_not():
    assert differing("numpy", OWN, WORKERS) == {"2.3.0": ["a", "b"], None: ["d"]}
    assert differing("zarr", OWN, WORKERS) == {"3.1.0": ["a"]}


@contextmanager
def worker_with(
    directory: Path, package: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Run a worker in an environment that has another version of a package."""
    told = directory / "site" / f"{package}-{version}.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    file = directory / "scheduler.json"
    with monkeypatch.context() as there:
        there.setenv("PYTHONPATH", str(told.parent), prepend=os.pathsep)
        worker = dask("worker", "--nthreads", "1", "--name", "other")
        cluster = running(file, dask("scheduler", *LOCAL, "--port", "0"), worker)
        with cluster, Client(scheduler_file=str(file), timeout="60s", set_as_default=False) as each:
            each.wait_for_workers(1, timeout=60)
            yield file


def test_another_version_of_this_package_on_a_worker_ends_the_run_before_it_begins(
    call, make_project, tmp_path, monkeypatch
):
    project = make_project()
    with worker_with(tmp_path, "pystack3d_dask", "0.0.7", monkeypatch) as file:
        told = call("run", project, "--scheduler-file", file)
    assert told.status == 1
    assert f"error: pystack3d_dask is {__version__} here, and another version on work" in told.err
    assert f"0.0.7 on other; install {__version__} there and start them again" in told.err
    assert not [path for path in listing(project) if "zarr" in path]


def test_another_version_of_what_values_depend_on_is_told(tmp_path, monkeypatch, caplog):
    with (
        worker_with(tmp_path, "numcodecs", "0.0.1", monkeypatch) as file,
        Client(scheduler_file=str(file), timeout="60s") as client,
    ):
        check_versions(client)
    (line,) = [each.getMessage() for each in caplog.records if each.name == "pystack3d_dask"]
    assert line.startswith("versions differ, and so may values: numcodecs 0.")
    assert line.endswith(" here, 0.0.1 on other")
