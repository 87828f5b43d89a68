"""Blocks on a cluster: all of them run, small ones together, and culprits are told alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
from distributed import Client, LocalCluster
from stacks import images, make_project

from pystack3d_dask import open_result
from pystack3d_dask.cluster import local_client
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
    monkeypatch.setattr("pystack3d_dask.plan.slab_thickness", lambda *_: 1)
    monkeypatch.setattr("pystack3d_dask.plan.thick_slab", lambda *_: 1)
    return make_project(tmp_path / "project", ["cropping"], images((SLICES, 40, 60)))


def test_small_blocks_share_tasks(client, submitted, directory):
    events = []
    summary = Pipeline.from_toml(directory).run(client, events.append)
    assert summary.passes[0].tasks == len(events) == SLICES
    assert sorted(event.receipt.number for event in events) == list(range(SLICES))
    tasks = [key for key in submitted if key.startswith("cropping-")]
    assert len(tasks) == len(set(tasks)) < SLICES / 2


def test_large_blocks_have_a_task_each(client, submitted, directory, monkeypatch):
    monkeypatch.setattr("pystack3d_dask.runners.TASK_SECONDS", 0.0)
    Pipeline.from_toml(directory).run(client)
    assert len([key for key in submitted if key.startswith("cropping-")]) == SLICES


def test_of_blocks_that_share_a_task_only_the_culprits_fail(client, directory):
    whole = {path: path.read_bytes() for path in sorted(directory.glob("*.tif"))[50:90:20]}
    pipeline = Pipeline.from_toml(directory)
    for path in whole:
        path.write_bytes(whole[path][:-1500])
    finished = []
    with pytest.raises(RunError) as caught:
        pipeline.run(client, finished.append)
    message = str(caught.value)
    assert f"2 of {SLICES} blocks failed" in message
    for path in whole:
        assert path.name in message
    numbers = sorted(event.receipt.number for event in finished)
    assert numbers == sorted(set(range(SLICES)) - {50, 70})
    for path, content in whole.items():
        path.write_bytes(content)
    Pipeline.from_toml(directory).run(client)
    found = np.squeeze(open_result(directory).values)
    np.testing.assert_array_equal(found, images((SLICES, 40, 60))[:, :35, 3:])


def die(*_):
    """Do what a process does that the system kills."""
    os._exit(9)


def limit_failures(dask_scheduler):
    dask_scheduler.allowed_failures = 1


def test_a_block_that_kills_its_workers_is_told_with_the_likely_cause(tmp_path, monkeypatch):
    directory = make_project(tmp_path / "project", ["cropping"], images((1, 40, 60)))
    monkeypatch.setattr("pystack3d_dask.runners.run_tasks", die)
    with local_client(1) as client:
        client.run_on_scheduler(limit_failures)
        with pytest.raises(RunError, match="2 worker processes in a row died") as caught:
            Pipeline.from_toml(directory).run(client)
    assert "fewer workers" in str(caught.value)
