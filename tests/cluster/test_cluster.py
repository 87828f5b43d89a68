"""How many workers there are, and where they listen."""

from __future__ import annotations

import logging
import os
import socket
import sys
from urllib.parse import urlsplit

import pytest

from pystack3d_dask.cluster import local as cluster
from pystack3d_dask.cluster.local import local_client, remote_client
from pystack3d_dask.engine.workers import worker_info
from pystack3d_dask.errors import StackError


def _logging_levels() -> tuple[int, int]:
    names = ("distributed.worker", "distributed.worker.memory")
    return tuple(logging.getLogger(name).getEffectiveLevel() for name in names)


def _environment() -> dict[str, str]:
    return {name: os.environ.get(name, "") for name in cluster.ENVIRONMENT}


def test_local_workers_are_single_threaded_processes_on_loopback():
    with local_client(2) as client:
        addresses = [client.scheduler.address, *worker_info(client)]
        assert {urlsplit(address).hostname for address in addresses} == {"127.0.0.1"}
        assert urlsplit(client.dashboard_link).hostname == "127.0.0.1"
        listening = client.run_on_scheduler(_listening)
        assert {urlsplit(address).hostname for address in listening["scheduler"]} == {"127.0.0.1"}
        assert set(listening["http"]) == {"127.0.0.1"}
        assert list(client.nthreads().values()) == [1, 1]
        processes = set(client.run(os.getpid).values())
        assert len(processes) == 2
        assert os.getpid() not in processes
        assert list(client.run(_environment).values()) == [dict(cluster.ENVIRONMENT)] * 2
        levels = set(client.run(_logging_levels).values())
        assert levels == {(logging.CRITICAL, logging.INFO)}


def _listening(dask_scheduler) -> dict[str, list[str]]:
    sockets = dask_scheduler.http_server._sockets.values()
    return {
        "scheduler": [listener.contact_address for listener in dask_scheduler.listeners],
        "http": [each.getsockname()[0] for each in sockets],
    }


def test_nobody_at_the_address_is_said_so(monkeypatch):
    with (
        pytest.raises(StackError, match="no scheduler answers at nonsense"),
        remote_client("nonsense", None),
    ):
        pass


def _imported() -> bool:
    return "pystack3d_dask.engine.task" in sys.modules


def test_local_workers_have_imported_what_blocks_need():
    with local_client(1) as client:
        assert set(client.run(_imported).values()) == {True}


def _gpu() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_a_gpu_has_a_local_worker_of_its_own_that_carries_the_label():
    with local_client(2, 3, gpus=("7",)) as client:
        workers = worker_info(client)
        seen = client.run(_gpu)
    host = socket.gethostname()
    found = {
        worker["name"]: (worker["nthreads"], worker["resources"], seen[address])
        for address, worker in workers.items()
    }
    assert found == {
        f"gpu-{host}-0": (1, {"GPU": 1}, "7"),
        f"cpu-{host}-0": (3, {}, os.environ.get("CUDA_VISIBLE_DEVICES")),
    }
