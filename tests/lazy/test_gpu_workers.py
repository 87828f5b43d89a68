"""Lazy destriping runs on workers that carry the resource GPU.

The label is what places the work, so that no GPU is needed.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import dask
import numpy as np
import pytest
import xarray as xr
from conftest import textured
from distributed import Client, Worker, get_worker
from processes import wait_for

import pystack3d_dask as ps
from pystack3d_dask.cluster.local import local_client
from pystack3d_dask.engine.workers import seen_workers
from pystack3d_dask.lazy import gpu_workers
from pystack3d_dask.lazy.gpu_workers import on_gpu_worker

SHAPE = (12, 30, 40)
GABOR = ps.Gabor(noise_level=20, sigma=(1, 10))


@dataclass(frozen=True, kw_only=True)
class Located(ps.Destriping):
    """Heavy work for a GPU; each pixel becomes the number of the process that computed it."""

    name: ClassVar[str] = "located"

    def apply(self, block, fitted=None):
        return np.full(block.out.shape, os.getpid(), np.float32), {}


@pytest.fixture
def stack() -> xr.DataArray:
    return xr.DataArray(textured(SHAPE), dims=("z", "y", "x")).chunk(z=1)


@pytest.fixture(scope="module")
def client():
    """Return the client of two worker processes, one of which carries a GPU."""
    with local_client(2, gpus=("0",)) as client:
        yield client


def labeled_process(client: Client) -> int:
    (address,) = seen_workers(client).gpus
    (pid,) = client.run(os.getpid, workers=[address]).values()
    return pid


@pytest.mark.parametrize("is_fused", [None, False], ids=["fused", "as annotations need it"])
def test_every_block_is_computed_by_the_worker_with_the_label(client, stack, is_fused):
    lazy = ps.correct(stack, Located(filters=[GABOR])) + 0
    with dask.config.set({"optimization.fuse.active": is_fused}):
        found = client.compute(lazy).result()
    assert set(np.unique(found)) == {labeled_process(client)}


def test_values_are_those_of_one_process(client, stack):
    lazy = ps.correct(stack, ps.Destriping(filters=[GABOR], maxit=4))
    expected = lazy.compute(scheduler="synchronous")
    xr.testing.assert_equal(client.compute(lazy).result(), expected)


@pytest.mark.parametrize("use", ["prefer", "off"])
def test_a_lazy_pipeline_sends_its_blocks_there_unless_gpus_are_off(client, make_project, use):
    directory = make_project(None, shape=SHAPE, dtype="uint16")
    project = ps.Pipeline([Located(filters=[GABOR])]).on(directory).project
    lazy = ps.Pipeline.of(replace(project, gpu_use=use)).lazy().chunk(z=1)
    found = set(np.unique(client.compute(lazy).result()))
    assert (found == {labeled_process(client)}) == (use == "prefer")


def test_blocks_of_a_gpu_worker_that_is_gone_for_good_are_computed_by_others(gpu_cluster):
    gpu_cluster.client.run(be_impatient)
    future = gpu_cluster.client.submit(on_gpu_worker, wait_where_labeled, workers=["plain"])
    (labeled,) = seen_workers(gpu_cluster.client).gpus
    wait_for(lambda: gpu_cluster.client.run(is_busy, workers=[labeled])[labeled])
    gpu_cluster.end("labeled")
    assert future.result(timeout=60) == "plain"


def be_impatient() -> None:
    """Wait for a second for lost GPU workers, in place of a minute."""
    gpu_workers.PATIENCE = {"prefer": 1.0}
    gpu_workers.SECONDS_BETWEEN_CHECKS = 0.2


def wait_where_labeled() -> str:
    """Return the name of the worker; never, on the one with the label."""
    name = get_worker().name
    if name == "labeled":
        time.sleep(600)
    return str(name)


def is_busy(dask_worker: Worker) -> bool:
    return bool(dask_worker.state.executing)


def test_without_such_a_worker_or_any_cluster_blocks_are_computed_where_they_are(stack):
    lazy = ps.correct(stack, Located(filters=[GABOR]))
    assert set(np.unique(lazy.compute(scheduler="threads"))) == {os.getpid()}
    with local_client(1, gpus=()) as client:
        (pid,) = client.run(os.getpid).values()
        assert set(np.unique(client.compute(lazy).result())) == {pid}
