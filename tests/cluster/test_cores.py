"""How many cores are used, and by what."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pystack3d_dask.cluster.cpus import (
    BATCH_LIMITS,
    ONE_THREAD,
    default_threads,
    default_workers,
    leave_cores_to_blocks,
)

COUNTS = (default_workers, default_threads)


@pytest.fixture
def many_cores(monkeypatch):
    monkeypatch.setattr("dask.system.CPU_COUNT", 64)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", BATCH_LIMITS)
def test_limits_of_batch_systems_are_kept(name, count):
    assert count({name: "3"}) == 3
    assert count({name: "999"}) == 64


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize("count", COUNTS)
def test_the_smallest_limit_counts(count):
    assert count({"SLURM_CPUS_ON_NODE": "16", "SLURM_CPUS_PER_TASK": "4"}) == 4


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("value", ["", "all", "-3", "2.5", "16(x2)"])
def test_limits_that_are_no_numbers_are_ignored(value, count):
    assert count({"SLURM_CPUS_PER_TASK": value}) == 64


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize("count", COUNTS)
def test_there_is_at_least_one(count):
    assert count({"NSLOTS": "0"}) == 1


@pytest.mark.usefixtures("many_cores")
def test_where_no_process_can_be_bound_all_cores_count(monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity")
    assert default_threads({}) == 64


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"),
    reason="macOS and Windows cannot bind a process to cores by os.sched_setaffinity",
)
@pytest.mark.parametrize("count", COUNTS)
def test_processor_affinity_is_kept(count):
    core = min(os.sched_getaffinity(0))
    program = (
        f"import os; os.sched_setaffinity(0, {{{core}}})\n"
        f"from pystack3d_dask.cluster.cpus import {count.__name__}; print({count.__name__}({{}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"


def test_linear_algebra_takes_one_thread_if_nothing_else_is_asked_for():
    found = {"OPENBLAS_NUM_THREADS": "4"}
    leave_cores_to_blocks(found)
    assert found == {**ONE_THREAD, "OPENBLAS_NUM_THREADS": "4"}
