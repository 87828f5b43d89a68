"""Whatever is killed, the same command goes on, to the values of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from clusters import LOCAL, dask, running
from conftest import result
from distributed import Client
from processes import (
    RUN,
    Process,
    can,
    descendants,
    finished,
    kill_all,
    started,
    wait_for,
    wait_until,
    workers_of,
)
from stacks import WHOLE_CHAIN, images, make_project

from pystack3d_dask.pipeline import Pipeline

pytestmark = pytest.mark.skipif(
    sys.platform == "win32",
    reason="Windows cannot kill or interrupt one process as POSIX signals do",
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """Make a project, and its result without disturbance."""
    directory = make_project(tmp_path_factory.mktemp("faults") / "project", WHOLE_CHAIN, stack())
    shutil.copytree(directory, directory.with_name("result"))
    Pipeline.from_toml(directory.with_name("result")).run()
    return directory


@pytest.fixture
def project(undisturbed, tmp_path) -> Path:
    return shutil.copytree(undisturbed, tmp_path / "project")


def stack() -> np.ndarray:
    return images((64, 120, 140))


def assert_undisturbed(project: Path, undisturbed: Path) -> None:
    np.testing.assert_array_equal(result(project), result(undisturbed.with_name("result")))
    assert not list(project.rglob("*.partial"))
    assert not list(project.rglob("run.lock*"))
    assert Pipeline.from_toml(project).verify().is_complete


def records(project: Path) -> list[Path]:
    return list(project.glob("process/work.zarr/records/*/*.json"))


def assert_continues(project: Path, undisturbed: Path, *options: str) -> None:
    with started([*RUN, *(options or ("--workers", "0"))], project) as process:
        printed = finished(process)
    assert process.returncode == 0, printed
    assert_undisturbed(project, undisturbed)


def failed(command: list[str], project: Path, status: int = 1) -> str:
    """Run a command that fails; return what it tells."""
    with started(command, project) as process:
        printed = finished(process)
    assert process.returncode == status, printed
    assert "Traceback" not in printed
    return printed


@pytest.mark.parametrize("count", [1, 2], ids=["a worker", "all workers"])
def test_killed_workers_cost_nothing_but_time(project, undisturbed, count):
    with started([*RUN, "--workers", "2"], project) as process:
        wait_until(lambda: len(records(project)) >= 2, process)
        victims = workers_of(process.pid)
        assert len(victims) == 2
        kill_all(victims[:count])
        printed = finished(process)
    assert process.returncode == 0, printed
    assert_undisturbed(project, undisturbed)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_leaves_nothing_behind_that_works_or_blocks(project, undisturbed, workers):
    with started([*RUN, "--workers", str(workers)], project) as process:
        wait_until(lambda: len(records(project)) >= 2, process)
        left = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_for(lambda: not any(map(psutil.pid_exists, left)))  # workers go with their run
    done = len(records(project))
    assert done >= 2
    assert_continues(project, undisturbed, "--workers", str(workers))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("signals", [["SIGTERM"], ["SIGINT"], ["SIGINT", "SIGINT"]], ids="+".join)
def test_a_run_that_is_told_to_stop_stops_and_says_so(project, undisturbed, workers, signals):
    with started([*RUN, "--workers", str(workers)], project) as process:
        wait_until(lambda: len(records(project)) >= 2, process)
        for name in signals:
            os.killpg(process.pid, getattr(signal, name))
            time.sleep(0.05)
        printed = finished(process)
    assert process.returncode == 130, printed
    assert "interrupted: what was finished stays valid, the same command continues" in printed
    assert "Traceback" not in printed
    assert_continues(project, undisturbed)


@pytest.fixture
def cluster(tmp_path) -> Iterator[Callable[[], tuple[Path, list[Process]]]]:
    """Return what starts a scheduler and two workers, and waits for them."""
    file, worker = tmp_path / "scheduler.json", dask("worker", "--nthreads", "1")
    with ExitStack() as stack:

        def start() -> tuple[Path, list[Process]]:
            scheduler = dask("scheduler", *LOCAL, "--port", "0")
            processes = stack.enter_context(running(file, scheduler, worker, worker))
            with Client(scheduler_file=str(file), timeout="60s", set_as_default=False) as client:
                client.wait_for_workers(2, timeout=60)
            return file, processes

        yield start


def test_a_killed_scheduler_ends_the_run_and_the_next_one_continues(project, undisturbed, cluster):
    file, (scheduler, *_) = cluster()
    with started([*RUN, "--scheduler-file", str(file)], project) as process:
        wait_until(lambda: len(records(project)) >= 2, process)
        kill_all([scheduler.pid])
        printed = finished(process)
    assert process.returncode == 1, printed
    assert "Traceback" not in printed
    file, _ = cluster()
    assert_continues(project, undisturbed, "--scheduler-file", str(file))


def test_a_worker_that_hangs_is_given_up(project, undisturbed, monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "3s")  # five minutes else
    with started([*RUN, "--workers", "2"], project) as process:
        wait_until(lambda: len(records(project)) >= 2, process)
        os.kill(workers_of(process.pid)[0], signal.SIGSTOP)
        printed = finished(process)
    assert process.returncode == 0, printed
    assert_undisturbed(project, undisturbed)


ANOTHER_HOST = ("unshare", "--map-root-user", "--uts", "--pid", "--fork", "--mount-proc")


def test_a_run_on_another_host_is_told_who_holds_the_project(project, undisturbed):
    if not can(*ANOTHER_HOST, "true"):
        pytest.skip("needs a second host: Linux with unshare, and user namespaces allowed")
    with started([*RUN, "--workers", "2"], project) as process:
        wait_until(lambda: len(records(project)) >= 1, process)
        os.kill(process.pid, signal.SIGSTOP)  # it has time, and was heard of just now
        elsewhere = [*ANOTHER_HOST, "sh", "-c", f"hostname elsewhere && {' '.join(RUN)}"]
        other = subprocess.run(elsewhere, cwd=project, capture_output=True, text=True, check=False)
        os.kill(process.pid, signal.SIGCONT)
        printed = finished(process)
    assert other.returncode == 1, other.stderr
    assert f"process {process.pid} on " in other.stderr
    assert "elsewhere" not in other.stderr
    assert process.returncode == 0, printed
    assert_undisturbed(project, undisturbed)


@pytest.fixture
def small_disk(undisturbed, tmp_path) -> Iterator[Path]:
    """Make a project on a disk of little more than a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not can("mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(disk)):
        pytest.skip("needs a small disk: only root may mount one, on Linux")
    for path in undisturbed.glob("*.tif"):
        (disk / path.name).symlink_to(path)
    shutil.copy(undisturbed / "params.toml", disk)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def test_a_disk_that_runs_full_ends_the_run_and_more_room_continues_it(small_disk, undisturbed):
    printed = failed([*RUN, "--workers", "1"], small_disk)
    assert "No space left on device; make room" in printed
    assert records(small_disk)
    remount(small_disk, "size=100m")
    assert_continues(small_disk, undisturbed)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_target_that_cannot_be_written_is_told(small_disk, undisturbed, workers):
    remount(small_disk, "ro")
    printed = failed([*RUN, "--workers", workers], small_disk)
    assert str(small_disk) in printed
    assert "Read-only file system; results go into the project's directory" in printed
    remount(small_disk, "rw,size=100m")
    assert_continues(small_disk, undisturbed)


@pytest.fixture
def without_privileges() -> list[str]:
    """Return what begins a command to which permissions apply, also when root gives it."""
    if os.geteuid():
        return []
    refused = "-dac_override,-dac_read_search"
    command = ["setpriv", f"--bounding-set={refused}", f"--inh-caps={refused}"]
    if not can(*command, "true"):
        pytest.skip("needs another user than root, or the command setpriv")
    return command


def test_a_directory_that_may_not_be_written_is_told(project, undisturbed, without_privileges):
    project.chmod(0o500)
    printed = failed([*without_privileges, *RUN], project)
    assert f"{project.resolve() / 'process'}" in printed
    assert "Permission denied" in printed
    project.chmod(0o700)
    assert_continues(project, undisturbed)


def test_a_slice_that_may_not_be_read_is_told(project, undisturbed, without_privileges):
    victim = sorted(project.glob("*.tif"))[5]
    victim.chmod(0)
    printed = failed([*without_privileges, *RUN], project, status=2)
    assert f"{victim.name}: Permission denied" in printed
    victim.chmod(0o600)
    assert_continues(project, undisturbed)


@pytest.mark.parametrize(("handles", "workers"), [(30, 1), (60, 2), (80, 2)])
def test_too_few_file_handles_are_told(project, undisturbed, handles, workers):
    run = f"ulimit -n {handles} && exec {' '.join(RUN)} --workers {workers}"
    assert "ulimit -n" in failed(["sh", "-c", run], project)
    assert_continues(project, undisturbed)


def test_enough_file_handles_are_taken_where_they_may_be(project, undisturbed):
    run = f"ulimit -S -n 30 && exec {' '.join(RUN)} --workers 2"
    with started(["sh", "-c", run], project) as process:
        printed = finished(process)
    assert process.returncode == 0, printed
    assert_undisturbed(project, undisturbed)


def holds(process: Process, project: Path) -> bool:
    """Return whether the lock of a project is that of a run, not of one before it."""
    try:
        holder = json.loads((project / "process" / "run.lock").read_text())
    except (OSError, ValueError):
        return False
    return bool(holder["pid"] == process.pid)


KILLS = int(os.environ.get("KILLS", "4"))


def killed_again_and_again(
    project: Path, options: list[str], victims: Callable[[int], list[int]], chance: random.Random
) -> Iterator[int]:
    """Run until the end, killing after random times; yield which process each time."""
    while True:
        with started([*RUN, *options], project) as process:
            wait_until(partial(holds, process, project), process)
            try:
                process.communicate(timeout=chance.uniform(0, 3))
            except subprocess.TimeoutExpired:
                chosen = chance.choice([process.pid, *victims(process.pid)])
                kill_all([chosen])
                yield chosen
                finished(process)
        if process.returncode == 0:
            return
        assert process.returncode in (1, -signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [["--workers", "0"], ["--workers", "2"], ["--workers", "1", "--threads-per-worker", "2"]],
    ids=["in process", "processes", "threads"],
)
def test_a_run_killed_again_and_again_gets_there(undisturbed, tmp_path, options):
    chance, kills = random.Random(str(options)), 0
    while kills < KILLS:
        project = shutil.copytree(undisturbed, tmp_path / f"project-{time.monotonic_ns()}")
        for _ in killed_again_and_again(project, options, workers_of, chance):
            kills += 1
        assert_undisturbed(project, undisturbed)


@pytest.mark.slow
def test_a_cluster_killed_again_and_again_gets_there(undisturbed, tmp_path, cluster):
    chance, kills = random.Random(0), 0
    file, processes = cluster()

    def everybody(_: int) -> list[int]:
        own = [process.pid for process in processes]
        return own + [pid for parent in own for pid in workers_of(parent)]

    while kills < KILLS:
        project = shutil.copytree(undisturbed, tmp_path / f"project-{time.monotonic_ns()}")
        options = ["--scheduler-file", str(file)]
        for chosen in killed_again_and_again(project, options, everybody, chance):
            kills += 1
            if chosen in [process.pid for process in processes]:
                kill_all([pid for pid in everybody(0) if pid != chosen])
                file, processes[:] = cluster()
        assert_undisturbed(project, undisturbed)
