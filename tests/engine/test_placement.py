"""Heavy work that a GPU can do goes where it is meant to go, whatever dies.

The workers here are processes of their own, as is the scheduler; the label is what places
the work, so that no GPU is needed.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clusters import LOCAL, Cluster, dask, mixed_cluster, running
from conftest import result
from distributed import Client
from processes import started
from stacks import images, make_project

from pystack3d_dask.cluster.local import local_client
from pystack3d_dask.engine.run import BlockDone
from pystack3d_dask.engine.task import run_tasks
from pystack3d_dask.engine.workers import seen_workers
from pystack3d_dask.errors import RunError
from pystack3d_dask.kernels.backend import has_gpu
from pystack3d_dask.pipeline import Pipeline

SHAPE = (50, 50, 64)
PARAMETERS = """\
process_steps = ["bkg_removal", "destriping"]
[bkg_removal]
orders = [1, 1, 1]
skip_factors = [3, 3, 2]
[destriping]
maxit = 4
filters = [{ name = "Gabor", noise_level = 20, sigma = [1, 10], theta = 0 }]
"""
DESTRIPING = 2  # the pass

only_where_workers_can_be_killed = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows cannot kill one process as POSIX signals do"
)


def slow(value: str) -> Any:
    return pytest.param(value, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def steady(tmp_path_factory) -> Iterator[Cluster]:
    """Return a cluster in which nobody dies."""
    with mixed_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> np.ndarray:
    """Return the values that one process finds."""
    directory = project_in(tmp_path_factory.mktemp("alone"))
    Pipeline.from_toml(directory).run()
    return result(directory)


def project_in(directory: Path, use: str | None = None) -> Path:
    project = make_project(directory / "project", [], images(SHAPE))
    setting = "" if use is None else f'gpu = "{use}"\n'
    (project / "params.toml").write_text(setting + PARAMETERS)
    return project


def places(
    project: Path, client: Client, on_block: Callable[[BlockDone], None] = lambda _: None
) -> dict[int, list[int]]:
    """Run a project; return which processes computed the blocks of each pass."""
    found: dict[int, list[int]] = {}

    def note(event: BlockDone) -> None:
        found.setdefault(event.number, []).append(int(event.receipt.worker.split(":")[1]))
        on_block(event)

    Pipeline.from_toml(project).run(client=client, on_block=note)
    return found


@pytest.mark.parametrize(
    ("use", "destriped_by"),
    [
        (None, {"labeled"}),
        ("only", {"labeled"}),
        ("prefer", {"labeled"}),
        ("share", {"labeled", "plain"}),
        ("off", {"labeled", "plain"}),
    ],
)
def test_destriping_runs_where_it_is_meant_to_and_other_passes_everywhere(
    tmp_path, steady, expected, caplog, use, destriped_by
):
    project = project_in(tmp_path, use)
    pids = {name: steady.worker(name) for name in ("labeled", "plain")}
    found = places(project, steady.client)
    assert set(found[1]) == set(pids.values())
    assert set(found[DESTRIPING]) == {pids[name] for name in destriped_by}
    np.testing.assert_array_equal(result(project), expected)
    told = [each.getMessage() for each in caplog.records if each.name == "pystack3d_dask"]
    if use == "off":
        assert not told
    elif not has_gpu():
        (line,) = told
        assert line.startswith("no GPU, or no CuPy, on 1 of the 1 workers that carry the resource")


def at_the_first_block(what: Callable[[], None]) -> Callable[[BlockDone], None]:
    """Return what does something once, when the destriping has begun."""
    done = []

    def on_block(event: BlockDone) -> None:
        if event.number == DESTRIPING and not done:
            done.append(event)
            what()

    return on_block


@pytest.fixture
def impatient(monkeypatch):
    """Wait for a second for lost GPU workers, in place of minutes."""
    monkeypatch.setattr(
        "pystack3d_dask.engine.executors.PATIENCE", dict.fromkeys(("only", "prefer", "share"), 1.0)
    )
    monkeypatch.setattr("pystack3d_dask.engine.executors.LOOK", 0.2)


@pytest.mark.usefixtures("impatient")
@only_where_workers_can_be_killed
@pytest.mark.parametrize("use", ["only", slow("prefer"), slow("share")])
def test_when_the_last_gpu_worker_is_gone_for_good_others_take_its_blocks(
    tmp_path, gpu_cluster, expected, caplog, use
):
    project = project_in(tmp_path, use)
    plain = gpu_cluster.worker("plain")
    with caplog.at_level(logging.WARNING, "pystack3d_dask"):
        found = places(
            project, gpu_cluster.client, at_the_first_block(lambda: gpu_cluster.end("labeled"))
        )
    assert plain in found[DESTRIPING]
    np.testing.assert_array_equal(result(project), expected)
    lines = [each.getMessage() for each in caplog.records if "CPU workers take" in each.msg]
    assert lines == ["no GPU worker for 1 s: the CPU workers take their blocks"]


@only_where_workers_can_be_killed
@pytest.mark.parametrize("use", [slow("only"), "prefer"])
def test_a_gpu_worker_that_dies_costs_nothing_but_time(tmp_path, gpu_cluster, expected, use):
    project = project_in(tmp_path, use)
    labeled, plain = gpu_cluster.worker("labeled"), gpu_cluster.worker("plain")
    kill = at_the_first_block(lambda: os.kill(labeled, signal.SIGKILL))
    found = places(project, gpu_cluster.client, kill)
    restarted = gpu_cluster.worker("labeled")
    assert restarted != labeled
    assert set(found[DESTRIPING]) == {labeled, restarted}
    assert plain in found[1]
    np.testing.assert_array_equal(result(project), expected)


@pytest.mark.usefixtures("impatient")
@only_where_workers_can_be_killed
def test_what_a_lost_cpu_worker_had_of_a_shared_pass_is_done_by_the_gpu_worker(
    tmp_path, gpu_cluster, expected, monkeypatch
):
    monkeypatch.setattr("pystack3d_dask.engine.executors.run_tasks", stop_where_plain)
    project = project_in(tmp_path, "share")
    labeled = gpu_cluster.worker("labeled")
    found = places(
        project, gpu_cluster.client, at_the_first_block(lambda: gpu_cluster.end("plain"))
    )
    assert set(found[DESTRIPING]) == {labeled}
    np.testing.assert_array_equal(result(project), expected)


def stop_where_plain(program, blocks, on_gpu):
    """Run blocks; but those of a shared pass without a GPU only when the worker is dead."""
    if program.is_for_gpu and not on_gpu:
        time.sleep(600)
    return run_tasks(program, blocks, on_gpu)


@pytest.mark.usefixtures("impatient")
@only_where_workers_can_be_killed
def test_a_run_ends_when_all_workers_are_gone_for_good_and_the_same_command_continues(
    tmp_path, gpu_cluster, expected, caplog, monkeypatch
):
    monkeypatch.setattr("pystack3d_dask.engine.executors.ALONE", 0.0)
    monkeypatch.setattr("pystack3d_dask.engine.executors.LONGEST_ALONE", 3.0)
    project = project_in(tmp_path)

    switch_off = partial(gpu_cluster.end, "labeled", "plain")
    with pytest.raises(RunError, match="no worker for 3 s; start some, and the same command"):
        places(project, gpu_cluster.client, at_the_first_block(switch_off))
    assert "there is no worker: waiting for one, for 3 s at most" in caplog.text
    Pipeline.from_toml(project).run()
    np.testing.assert_array_equal(result(project), expected)


def test_what_plan_tells_of_where_passes_run_is_what_a_run_does(tmp_path, steady, call):
    project = project_in(tmp_path)
    address = steady.client.scheduler.address
    planned = {
        options: re.findall(r"        runs (.*)\n", call("plan", project, *options).out)
        for options in (
            (),
            ("--gpu-use", "off"),
            ("--scheduler", address),
            ("--scheduler", address, "--gpu-use", "share"),
            ("--workers", "3", "--gpu", "0"),
            ("--workers", "3", "--gpu", "none"),
            ("--workers", "0"),
        )
    }
    assert list(planned.values()) == [
        ["on GPU workers; on CPU workers, if there are no GPU workers"],
        ['on CPUs (gpu = "off")'],
        ["on 2 workers", "on 1 GPU worker"],
        ["on 2 workers", "on 1 GPU worker and 1 CPU worker, by speed"],
        ["on 3 workers", "on 1 GPU worker"],
        ["on 3 workers", "on 3 CPU workers: there are no GPU workers"],
        ["in this process", "in this process"],
    ]
    assert not (project / "process").exists()


@pytest.mark.parametrize(("use", "gpu_workers"), [("only", {True}), ("share", {True, False})])
def test_a_run_starts_a_worker_for_a_gpu_and_uses_it(tmp_path, expected, use, gpu_workers):
    project = project_in(tmp_path)
    found: dict[int, set[bool]] = {}
    with local_client(2, gpus=("0",)) as client:
        (labeled,) = seen_workers(client).gpus
        (pid,) = client.run(os.getpid, workers=[labeled]).values()

        def note(event: BlockDone) -> None:
            is_on_it = event.receipt.worker.endswith(f":{pid}")
            found.setdefault(event.number, set()).add(is_on_it)

        Pipeline.of(replace(Pipeline.from_toml(project).project, gpu_use=use)).run(
            client=client, on_block=note
        )
    assert found[DESTRIPING] == gpu_workers
    np.testing.assert_array_equal(result(project), expected)


def test_a_gpu_worker_that_joins_in_time_takes_its_work(tmp_path, expected):
    file, worker = tmp_path / "scheduler.json", ("worker", "--nthreads", "1", "--name")
    project = project_in(tmp_path)
    with (
        running(file, dask("scheduler", *LOCAL, "--port", "0"), dask(*worker, "plain")),
        Client(scheduler_file=str(file), timeout="60s", set_as_default=False) as client,
    ):
        client.wait_for_workers(1, timeout=60)
        Pipeline.from_toml(project).fit(client)
        late = dask(*worker, "late", "--resources", "GPU=1", "--scheduler-file", str(file))
        with started(late, tmp_path):
            client.wait_for_workers(2, timeout=60)
            found = places(project, client)
            assert set(found[1]) == {Cluster(client, {}).worker("late")}
    np.testing.assert_array_equal(result(project), expected)
