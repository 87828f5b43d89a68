"""The command ``worker``: processes that join a cluster, work for it, and go with it."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import cloudpickle
import numpy as np
import psutil
import pytest
from clusters import LOCAL, dask, make_certificates, needs_openssl, running, tls_options
from conftest import result
from dask import config as dask_config
from distributed import Client
from processes import (
    Process,
    descendants,
    kill_all,
    started,
    wait_for,
    wait_until,
    workers_of,
)

from pystack3d_dask.cluster import local as cluster
from pystack3d_dask.cluster.join import join
from pystack3d_dask.engine.workers import worker_info
from pystack3d_dask.errors import AccessError

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not see the tests
WORKER = [sys.executable, "-m", "pystack3d_dask", "worker"]
HOST = re.escape(socket.gethostname())

with_signals = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows cannot kill or stop one process as POSIX signals do"
)


@contextmanager
def scheduler(directory: Path, *options: str) -> Iterator[tuple[Path, Process]]:
    """Run a scheduler on this machine; yield the file that it writes."""
    file = directory / "scheduler.json"
    with running(file, dask("scheduler", *LOCAL, "--port", "0", *options)) as (process,):
        yield file, process


@contextmanager
def workers(directory: Path, *options: str) -> Iterator[Process]:
    """Run the command; what it prints goes to a file."""
    with (
        (directory / "printed.txt").open("w") as printed,
        started([*WORKER, *options], directory, printed.fileno()) as process,
    ):
        wait_until(lambda: "workers of " in told(directory), process)
        assert process.poll() is None, told(directory)
        yield process


def told(directory: Path) -> str:
    return (directory / "printed.txt").read_text()


def environment() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", *cluster.ENVIRONMENT)}


def is_prepared() -> bool:
    return "pystack3d_dask.engine.task" in sys.modules


@pytest.fixture(scope="module")
def joined(tmp_path_factory) -> Iterator[Client]:
    """Join a scheduler with workers for two GPUs, on three cores."""
    directory = tmp_path_factory.mktemp("joined")
    with (
        scheduler(directory) as (file, _),
        workers(directory, "--scheduler-file", str(file), "--gpu", "0,GPU-1a", "--cores", "3"),
        Client(scheduler_file=str(file), timeout="60s", set_as_default=False) as client,
    ):
        yield client


def by_name(client: Client) -> dict[str, dict]:
    info = worker_info(client)
    return {worker["name"]: worker | {"address": address} for address, worker in info.items()}


class TestWorkers:
    def test_there_is_one_for_each_gpu_and_one_for_each_core_that_is_left(self, joined):
        found = by_name(joined)
        kinds = sorted(re.sub(rf"-{HOST}-\d+-", "-", name) for name in found)
        assert kinds == ["cpu-0", "gpu-0", "gpu-1"]
        for name, worker in found.items():
            assert worker["resources"] == ({"GPU": 1} if name.startswith("gpu-") else {})
            assert worker["nthreads"] == 1
            assert worker["memory_limit"] == cluster.MEMORY_LIMIT // 3

    def test_each_sees_its_own_gpu_and_has_the_environment_of_a_run(self, joined):
        environments = joined.run(environment)
        seen = {
            name[:3] + name[-2:]: environments[worker["address"]].pop("CUDA_VISIBLE_DEVICES")
            for name, worker in by_name(joined).items()
        }
        own = os.environ.get("CUDA_VISIBLE_DEVICES")
        assert seen == {"gpu-0": "0", "gpu-1": "GPU-1a", "cpu-0": own}
        assert list(environments.values()) == [dict(cluster.ENVIRONMENT)] * 3
        assert set(joined.run(is_prepared).values()) == {True}

    def test_they_listen_on_this_machine_alone(self, joined):
        found = by_name(joined).values()
        addresses = [address for each in found for address in (each["address"], each["nanny"])]
        assert {urlsplit(address).hostname for address in addresses} == {"127.0.0.1"}

    @with_signals
    def test_one_that_dies_is_started_again(self, joined):
        name, victim = next(
            (name, worker["address"])
            for name, worker in by_name(joined).items()
            if name.startswith("gpu-")
        )

        def started_again() -> dict | None:
            worker = by_name(joined).get(name)
            return worker if worker and worker["address"] != victim else None

        (pid,) = joined.run(os.getpid, workers=[victim]).values()
        os.kill(pid, signal.SIGKILL)
        wait_for(started_again)
        assert started_again()["resources"] == {"GPU": 1}


@with_signals
@pytest.mark.parametrize(
    ("send", "status", "expected"),
    [
        ("SIGTERM", 130, "interrupted: the workers have ended"),
        ("SIGINT", 130, "interrupted: the workers have ended"),
        (None, 0, "the scheduler is gone: the workers have ended"),
    ],
)
def test_workers_go_when_they_are_told_to_or_not_needed(tmp_path, send, status, expected):
    with (
        scheduler(tmp_path) as (file, of_scheduler),
        workers(tmp_path, "--scheduler-file", str(file), "--cores", "2") as process,
    ):
        left = descendants(process.pid)
        assert len(workers_of(process.pid)) == 2
        if send is None:
            kill_all([of_scheduler.pid])
        else:
            os.killpg(process.pid, getattr(signal, send))
        assert process.wait(timeout=60) == status
        wait_for(lambda: not any(map(psutil.pid_exists, left)))
    lines = told(tmp_path).splitlines()
    assert re.fullmatch(
        r"workers of tcp://127\.0\.0\.1:\d+: 0 with a GPU, 2 without; Ctrl-C ends them", lines[0]
    )
    assert lines[1:] == [expected]


def test_a_run_on_workers_that_have_joined_gives_the_values_of_one_alone(
    tmp_path, make_project, call
):
    alone, project = make_project(name="alone"), make_project()
    call("run", alone, "--workers", 0)
    with scheduler(tmp_path) as (file, _):
        address = Client(scheduler_file=str(file), set_as_default=False)
        with address, workers(tmp_path, address.scheduler.address, "--gpu", "0", "--cores", "2"):
            planned = call("plan", project, "--scheduler-file", file)
            done = call("run", project, "--scheduler-file", file)
    assert "        runs on 2 workers\n" in planned.out
    assert done.status == 0, done.err
    np.testing.assert_array_equal(result(project), result(alone))


@needs_openssl
def test_workers_join_a_scheduler_with_tls(tmp_path):
    certificates = make_certificates(tmp_path / "tls")
    options = tls_options(certificates)
    with (
        scheduler(tmp_path, "--protocol", "tls", *options) as (file, _),
        workers(tmp_path, "--scheduler-file", str(file), "--cores", "1", *options),
        Client(scheduler_file=str(file), security=certificates.security, timeout="60s") as client,
    ):
        (worker,) = by_name(client).values()
        assert worker["address"].startswith("tls://127.0.0.1:")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "the address of a scheduler or --scheduler-file expected"),
        (("tcp://127.0.0.1:1", "--scheduler-file", "{}"), "--scheduler-file expected, found both"),
        (("tcp://127.0.0.1:1", "--gpu", "0,0"), "error: auto, none, or GPUs such as 0,1, each"),
        (("tcp://127.0.0.1:1", "--host", "192.0.2.1"), "an address of this machine expected"),
    ],
)
def test_what_cannot_work_is_told(call, tmp_path, options, expected):
    (tmp_path / "file").touch()
    given = [each.replace("{}", str(tmp_path / "file")) for each in options]
    ended = call("worker", *given)
    assert ended.status in (1, 2)
    assert expected in ended.err


def test_the_scheduler_that_dask_is_configured_to_use_is_taken_and_told(
    call, make_project, joined, monkeypatch
):
    project, address = make_project(), joined.scheduler.address
    asked: list[str] = []
    monkeypatch.setattr(
        "pystack3d_dask.cluster.join.join", lambda where, *_, **__: asked.append(where)
    )
    with dask_config.set({"scheduler-address": address}):
        ended = [call("run", project), call("worker", "--gpu", "none")]
        elsewhere = call("run", project, "--workers", 0, "--restart", "--yes")
    for each in ended:
        assert each.status == 0, each.err
        assert f"scheduler {address}: as dask is configured (scheduler-address" in each.err
    assert asked == [address]
    assert f"scheduler: {address}\n" in ended[0].err
    assert address not in elsewhere.err


class Stub:
    """Stands for a client of a scheduler on another machine."""

    def __init__(self, address: str) -> None:
        self.scheduler = self
        self.address = address

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_for_a_scheduler_on_another_machine_an_address_is_asked_for(monkeypatch):
    monkeypatch.setattr(
        "pystack3d_dask.cluster.join.joined", lambda *_: Stub("tcp://192.0.2.1:8786")
    )
    with pytest.raises(AccessError, match=r"on another machine \(192\.0\.2\.1\).*\(--host\)"):
        join("tcp://192.0.2.1:8786", None, gpus=(), others=1)


def test_open_ports_without_tls_are_warned_of(call, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(
        "pystack3d_dask.cluster.join.join", lambda *_, host, **__: asked.append(host)
    )
    ended = call("worker", "tcp://127.0.0.1:1", "--host", "0.0.0.0", "--gpu", "none")
    assert asked == ["0.0.0.0"]
    assert "warning: workers listen at 0.0.0.0 without TLS: anyone who reaches" in ended.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--cores", "4"], (0, 4)),
        (["--cores", "4", "--gpu", "0"], (1, 3)),
        (["--cores", "1", "--gpu", "0"], (1, 0)),
        (["--cores", "1", "--gpu", "0,1"], (2, 0)),
        (["--cores", "7", "--gpu", "0", "--threads-per-worker", "2"], (1, 3)),
        (["--cores", "1", "--threads-per-worker", "2"], (0, 1)),
    ],
)
def test_cores_are_shared_out(call, monkeypatch, options: Sequence[str], expected):
    found = []
    monkeypatch.setattr(
        "pystack3d_dask.cluster.join.join",
        lambda *_, gpus, others, **__: found.append((len(gpus), others)),
    )
    call("worker", "tcp://127.0.0.1:1", *options)
    assert found == [expected]
