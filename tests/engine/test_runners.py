"""Blocks on a cluster: all of them run, small ones together, and culprits are told alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from threading import Timer
from types import SimpleNamespace

import dask
import numpy as np
import pytest
from clusters import LOCAL, running
from clusters import dask as command
from distributed import Client, LocalCluster
from processes import wait_for
from stacks import images, make_project

from pystack3d_dask import open_result
from pystack3d_dask.cluster.local import local_client
from pystack3d_dask.engine.executors import OnClient
from pystack3d_dask.errors import RunError
from pystack3d_dask.pipeline import Pipeline

SLICES = 120


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    )
    with cluster, Client(cluster) as client:
        yield client


@pytest.fixture
def submitted(client, monkeypatch) -> list[str]:
    """Note the keys of the tasks that run blocks."""
    keys = []

    def noted(submit, *args, key, **options):
        keys.append(key)
        return submit(*args, key=key, **options)

    monkeypatch.setattr(client, "submit", partial(noted, client.submit))
    return keys


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """Make a project whose blocks are of one small slice each."""
    monkeypatch.setattr("pystack3d_dask.core.planner.slab_thickness", lambda *_: 1)
    monkeypatch.setattr("pystack3d_dask.core.planner.thick_slab", lambda *_: 1)
    return make_project(tmp_path / "project", ["cropping"], images((SLICES, 40, 60)))


def test_small_blocks_share_tasks(client, submitted, directory, monkeypatch):
    monkeypatch.setattr(
        "pystack3d_dask.engine.executors.TASK_SECONDS", 60.0
    )  # small on any machine
    events = []
    summary = Pipeline.from_toml(directory).run(client=client, on_block=events.append)
    assert summary.passes[0].tasks == len(events) == SLICES
    assert sorted(event.receipt.number for event in events) == list(range(SLICES))
    tasks = [key for key in submitted if key.startswith("cropping-")]
    assert len(tasks) == len(set(tasks)) < SLICES / 2


def test_large_blocks_have_a_task_each(client, submitted, directory, monkeypatch):
    monkeypatch.setattr("pystack3d_dask.engine.executors.TASK_SECONDS", 0.0)
    Pipeline.from_toml(directory).run(client=client)
    assert len([key for key in submitted if key.startswith("cropping-")]) == SLICES


def test_of_blocks_that_share_a_task_only_the_culprits_fail(client, directory):
    whole = {path: path.read_bytes() for path in sorted(directory.glob("*.tif"))[50:90:20]}
    pipeline = Pipeline.from_toml(directory)
    for path in whole:
        path.write_bytes(whole[path][:-1500])
    finished = []
    with pytest.raises(RunError) as caught:
        pipeline.run(client=client, on_block=finished.append)
    message = str(caught.value)
    assert f"2 of {SLICES} blocks failed" in message
    for path in whole:
        assert path.name in message
    numbers = sorted(event.receipt.number for event in finished)
    assert numbers == sorted(set(range(SLICES)) - {50, 70})
    for path, content in whole.items():
        path.write_bytes(content)
    Pipeline.from_toml(directory).run(client=client)
    found = np.squeeze(open_result(directory).values)
    np.testing.assert_array_equal(found, images((SLICES, 40, 60))[:, :35, 3:])


def die(*_):
    """Do what a process does that the system kills."""
    os._exit(9)


def die_noted(file, *_):
    """Die, and leave a note of it."""
    with file.open("a") as lines:
        lines.write("killed\n")
    os._exit(9)


def limit_failures(dask_scheduler):
    dask_scheduler.allowed_failures = 1


def test_a_block_that_kills_its_workers_is_told_with_the_likely_cause(tmp_path, monkeypatch):
    directory = make_project(tmp_path / "project", ["cropping"], images((1, 40, 60)))
    monkeypatch.setattr("pystack3d_dask.engine.executors.run_tasks", die)
    with local_client(1) as client:
        client.run_on_scheduler(limit_failures)
        with pytest.raises(RunError, match="2 worker processes in a row died") as caught:
            Pipeline.from_toml(directory).run(client=client)
    assert "fewer workers" in str(caught.value)


def test_blocks_that_kill_their_workers_end_no_run_that_comes_to_others(tmp_path, monkeypatch):
    monkeypatch.setattr("pystack3d_dask.core.planner.slab_thickness", lambda *_: 1)
    monkeypatch.setattr("pystack3d_dask.engine.executors.KILLED_IN_VAIN", 2)
    monkeypatch.setattr("pystack3d_dask.engine.executors.LOOK", 0.1)
    directory = make_project(tmp_path / "project", ["cropping"], images((5, 40, 60)))
    notes = tmp_path / "notes"
    notes.touch()
    monkeypatch.setattr("pystack3d_dask.engine.executors.run_tasks", partial(die_noted, notes))
    with local_client(1) as client:
        client.run_on_scheduler(limit_failures)
        # as if nannies had killed them for their memory
        monkeypatch.setattr(
            client,
            "get_events",
            lambda _: tuple((float(k), {}) for k, _ in enumerate(notes.read_text().split())),
        )
        with pytest.raises(RunError, match=r"5 of 5 blocks failed"):
            Pipeline.from_toml(directory).run(client=client)


@pytest.mark.parametrize("when", ["long ago", "between passes", "before any worker came"])
def test_a_scheduler_that_is_gone_is_told(tmp_path, when):
    file = tmp_path / "scheduler.json"
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        running(file, command("scheduler", *LOCAL, "--port", "0")) as (scheduler,),
        Client(scheduler_file=str(file)) as client,
    ):
        runner = OnClient(client)
        if when == "before any worker came":
            Timer(1.0, scheduler.kill).start()
        else:
            scheduler.kill()
            scheduler.wait()
        if when == "long ago":
            wait_for(lambda: client.status == "closed")
        with pytest.raises(RunError, match="the scheduler is gone; with another one"):
            list(runner.run(SimpleNamespace(is_for_gpu=False), [(0, 0)]))
