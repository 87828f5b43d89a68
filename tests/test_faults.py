"""Whatever is killed, the same command goes on, to the values of an undisturbed run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from stacks import STEPS, images, make_project

from pystack3d_dask import open_result
from pystack3d_dask.pipeline import Pipeline

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no SIGKILL and no SIGTERM that programs notice"
)

COMMAND = [sys.executable, "-m", "pystack3d_dask", "run", "."]
CHAIN = {
    name: STEPS[name]
    for name in (
        "cropping",
        "bkg_removal",
        "intensity_rescaling",
        "registration_calculation",
        "registration_transformation",
        "destriping",
        "resampling",
    )
}
LONGEST = 120  # seconds until something is thought to hang


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """Make a project, and its result without disturbance."""
    directory = make_project(tmp_path_factory.mktemp("faults") / "project", CHAIN, stack())
    shutil.copytree(directory, directory.with_name("result"))
    Pipeline.from_toml(directory.with_name("result")).run()
    return directory


@pytest.fixture
def project(undisturbed, tmp_path) -> Path:
    return shutil.copytree(undisturbed, tmp_path / "project")


def stack() -> np.ndarray:
    return images((64, 120, 140))


def values(directory: Path) -> np.ndarray:
    return np.asarray(open_result(directory).values)


def assert_undisturbed(project: Path, undisturbed: Path) -> None:
    np.testing.assert_array_equal(values(project), values(undisturbed.with_name("result")))
    assert not list(project.rglob("*.partial"))
    assert not list(project.rglob("run.lock*"))
    assert Pipeline.from_toml(project).verify().is_complete


@contextmanager
def started(command: list[str], directory: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            kill_all([process.pid, *descendants(process.pid)])


def descendants(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def workers_of(pid: int) -> list[int]:
    """Return the worker processes of a run: those that others started by spawning."""
    found = []
    for child in descendants(pid):
        try:
            if any("spawn_main" in word for word in psutil.Process(child).cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def finished(process: subprocess.Popen[str]) -> str:
    """Wait for the end; return what was printed."""
    printed, _ = process.communicate(timeout=LONGEST)
    return printed


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LONGEST
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def records(project: Path) -> list[Path]:
    return list(project.glob("process/work.zarr/records/*/*.json"))


def run_to_the_end(project: Path, *options: str) -> str:
    with started([*COMMAND, *options], project) as process:
        printed = finished(process)
    assert process.returncode == 0, printed
    return printed


@pytest.mark.parametrize("count", [1, 2], ids=["a worker", "all workers"])
def test_killed_workers_cost_nothing_but_time(project, undisturbed, count):
    with started([*COMMAND, "--workers", "2"], project) as process:
        wait_until(lambda: len(records(project)) >= 2, process)
        victims = workers_of(process.pid)
        assert len(victims) == 2
        kill_all(victims[:count])
        printed = finished(process)
    assert process.returncode == 0, printed
    assert_undisturbed(project, undisturbed)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_leaves_nothing_behind_that_works_or_blocks(project, undisturbed, workers):
    with started([*COMMAND, "--workers", str(workers)], project) as process:
        wait_until(lambda: len(records(project)) >= 2, process)
        left = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + LONGEST
        while any(map(psutil.pid_exists, left)):
            assert time.monotonic() < deadline, "workers outlive their run"
            time.sleep(0.05)
    done = len(records(project))
    assert done >= 2
    run_to_the_end(project, "--workers", str(workers))
    assert_undisturbed(project, undisturbed)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("signals", [["SIGTERM"], ["SIGINT"], ["SIGINT", "SIGINT"]], ids="+".join)
def test_a_run_that_is_told_to_stop_stops_and_says_so(project, undisturbed, workers, signals):
    with started([*COMMAND, "--workers", str(workers)], project) as process:
        wait_until(lambda: len(records(project)) >= 2, process)
        for name in signals:
            os.killpg(process.pid, getattr(signal, name))
            time.sleep(0.05)
        printed = finished(process)
    assert process.returncode == 130, printed
    assert "interrupted: what was finished stays valid, the same command continues" in printed
    assert "Traceback" not in printed
    run_to_the_end(project, "--workers", "0")
    assert_undisturbed(project, undisturbed)


@pytest.fixture
def cluster(tmp_path) -> Iterator[Callable[[], tuple[Path, list[subprocess.Popen[str]]]]]:
    """Return what starts a scheduler and two workers, processes of their own."""
    file = tmp_path / "scheduler.json"
    here = ["--host", "127.0.0.1", "--scheduler-file", str(file)]
    programs = [["scheduler", "--no-dashboard", "--port", "0", *here]]
    programs += [["worker", "--no-dashboard", "--nthreads", "1", *here[2:]]] * 2
    with ExitStack() as processes:

        def start() -> tuple[Path, list[subprocess.Popen[str]]]:
            file.unlink(missing_ok=True)
            new = []
            for program in programs:
                command = [sys.executable, "-m", "dask", *program]
                new.append(processes.enter_context(started(command, tmp_path)))
                wait_until(file.exists, new[0])
            return file, new

        yield start


def test_a_killed_scheduler_ends_the_run_and_the_next_one_continues(project, undisturbed, cluster):
    file, (scheduler, *_) = cluster()
    with started([*COMMAND, "--scheduler-file", str(file)], project) as process:
        wait_until(lambda: len(records(project)) >= 2, process)
        kill_all([scheduler.pid])
        printed = finished(process)
    assert process.returncode == 1, printed
    assert "Traceback" not in printed
    file, _ = cluster()
    run_to_the_end(project, "--scheduler-file", str(file))
    assert_undisturbed(project, undisturbed)


KILLS = int(os.environ.get("KILLS", "4"))


def killed_again_and_again(
    project: Path, options: list[str], victims: Callable[[int], list[int]], chance: random.Random
) -> Iterator[int]:
    """Run until the end, killing after random times; yield which process each time."""
    while True:
        with started([*COMMAND, *options], project) as process:
            wait_until((project / "process" / "run.lock").exists, process)
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
@pytest.mark.skipif("KILLS" not in os.environ, reason="takes minutes: run it with KILLS=30")
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


def test_a_worker_that_hangs_is_given_up(project, undisturbed, monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "3s")  # five minutes else
    with started([*COMMAND, "--workers", "2"], project) as process:
        wait_until(lambda: len(records(project)) >= 2, process)
        os.kill(workers_of(process.pid)[0], signal.SIGSTOP)
        printed = finished(process)
    assert process.returncode == 0, printed
    assert_undisturbed(project, undisturbed)


def can(*command: str) -> bool:
    """Return whether a program is there, and lets us do this."""
    if shutil.which(command[0]) is None:
        return False
    return not subprocess.run(command, capture_output=True, check=False).returncode


ANOTHER_HOST = ("unshare", "--uts", "--pid", "--fork", "--mount-proc")


def test_a_run_on_another_host_is_told_who_holds_the_project(project, undisturbed):
    if not can(*ANOTHER_HOST, "true"):
        pytest.skip("only root can make namespaces, with the program unshare of Linux")
    with started([*COMMAND, "--workers", "2"], project) as process:
        wait_until(lambda: len(records(project)) >= 1, process)
        os.kill(process.pid, signal.SIGSTOP)  # it has time, and was heard of just now
        elsewhere = [*ANOTHER_HOST, "sh", "-c", f"hostname elsewhere && {' '.join(COMMAND)}"]
        other = subprocess.run(elsewhere, cwd=project, capture_output=True, text=True, check=False)
        os.kill(process.pid, signal.SIGCONT)
        printed = finished(process)
    assert other.returncode == 1, other.stderr
    assert f"process {process.pid} on " in other.stderr
    assert "elsewhere" not in other.stderr
    assert process.returncode == 0, printed
    assert_undisturbed(project, undisturbed)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """Mount a disk of little more than a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not can("mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(disk)):
        pytest.skip("only root can mount a file system, on Linux")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_runs_full_ends_the_run_and_more_room_continues_it(
    small_disk, undisturbed, tmp_path
):
    slices = sorted(undisturbed.glob("*.tif"))
    for path in slices:
        (small_disk / path.name).symlink_to(path)
    shutil.copy(undisturbed / "params.toml", small_disk)
    with started([*COMMAND, "--workers", "1"], small_disk) as process:
        printed = finished(process)
    assert process.returncode == 1, printed
    assert "No space left on device; make room" in printed
    assert "Traceback" not in printed
    done = len(records(small_disk))
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    run_to_the_end(small_disk, "--workers", "0")
    assert done > 0
    assert_undisturbed(small_disk, undisturbed)


def test_a_target_that_cannot_be_written_is_told(small_disk, undisturbed):
    for path in sorted(undisturbed.glob("*.tif")):
        (small_disk / path.name).symlink_to(path)
    shutil.copy(undisturbed / "params.toml", small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for workers in ("0", "1"):
        with started([*COMMAND, "--workers", workers], small_disk) as process:
            printed = finished(process)
        assert process.returncode == 1, printed
        assert f"{small_disk}" in printed
        assert "Read-only file system; results go into the project's directory" in printed
        assert "Traceback" not in printed
    subprocess.run(["mount", "-o", "remount,rw,size=100m", str(small_disk)], check=True)
    run_to_the_end(small_disk, "--workers", "0")
    assert_undisturbed(small_disk, undisturbed)


def test_too_few_file_handles_are_told(project, undisturbed):
    command = ["sh", "-c", f"ulimit -n 40 && exec {' '.join(COMMAND)} --workers 2"]
    with started(command, project) as process:
        printed = finished(process)
    assert process.returncode == 1, printed
    assert "ulimit -n" in printed
    assert "Traceback" not in printed
    run_to_the_end(project, "--workers", "0")
    assert_undisturbed(project, undisturbed)
