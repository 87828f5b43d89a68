"""What does not fit on the disk, or into a worker, is told before anything is computed."""

from __future__ import annotations

import re
import shutil
import warnings
from types import SimpleNamespace

import dask
import pytest
from distributed import Client, LocalCluster
from stacks import images, make_project

from pystack3d_dask.engine.room import check_memory
from pystack3d_dask.errors import RoomError
from pystack3d_dask.pipeline import Pipeline


@pytest.fixture
def pipeline(tmp_path):
    return Pipeline.from_toml(make_project(tmp_path / "project", ["cropping", "bkg_removal"]))


@pytest.fixture
def leave_free(monkeypatch):
    """Return a function that leaves the disk some free bytes."""

    def leave(count):
        usage = SimpleNamespace(total=10**9, used=10**9 - count, free=count)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    return leave


def test_a_disk_without_room_is_told_before_anything_is_computed(pipeline, leave_free):
    needed = pipeline.plan().peak_disk
    leave_free(needed // 8)
    with pytest.raises(RoomError, match=r"are to be written, before compression, and .* are free"):
        pipeline.run()
    assert not list(pipeline.project.workspace.process.rglob("*.json.*"))
    assert not pipeline.project.workspace.result.exists()
    leave_free(needed)
    assert len(pipeline.run().passes) == 2


def test_a_disk_that_compression_may_save_is_warned_of(pipeline, leave_free):
    leave_free(pipeline.plan().peak_disk // 2)
    with pytest.warns(UserWarning, match="make room, or give the project another disk"):
        assert len(pipeline.run().passes) == 2


def test_what_is_there_already_needs_no_room(tmp_path, leave_free):
    directory = make_project(tmp_path / "project", ["cropping"], images((40, 50, 64)))
    pipeline = Pipeline.from_toml(directory)

    def interrupt(event):
        if event.done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(on_block=interrupt)
    plan = pipeline.plan()
    leave_free(plan.peak_disk * 2 // 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline.run()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_worker_needs_memory_for_a_block_in_each_thread(pipeline, threads):
    plan = pipeline.plan()
    needed = plan.memory_of(threads)
    assert plan.memory_of(1) == plan.memory
    worker = {"name": 7, "nthreads": threads}
    check_memory(plan, {"tcp://a": {**worker, "memory_limit": needed / 0.8 + 1}})
    check_memory(plan, {"tcp://a": {**worker, "memory_limit": 0}})
    with pytest.raises(RoomError) as caught:
        check_memory(plan, {"tcp://a": {**worker, "memory_limit": needed / 0.8 - 2}})
    message = str(caught.value)
    assert re.search(r"needs [\d.]+ MiB for this stack, and 7 may use [\d.]+ MiB", message)
    assert "--workers" in message


def test_workers_that_are_never_paused_may_take_more(pipeline):
    plan = pipeline.plan()
    workers = {"tcp://a": {"nthreads": 1, "memory_limit": plan.memory / 0.9}}
    with dask.config.set({"distributed.worker.memory.pause": False}):
        check_memory(plan, workers)
    with pytest.raises(RoomError):
        check_memory(plan, workers)


def test_a_cluster_with_too_little_memory_is_refused(pipeline):
    cluster = LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        memory_limit="100 MiB",
        dashboard_address="127.0.0.1:0",
    )
    with cluster, Client(cluster) as client:
        with pytest.raises(RoomError, match=r"may use 80 MiB"):
            pipeline.run(client=client)
        assert not pipeline.project.workspace.result.exists()
