"""Processes that tests start, watch and kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

Process = subprocess.Popen[str]

RUN = [sys.executable, "-m", "pystack3d_dask", "run", "."]
LONGEST = 120  # seconds until something is thought to hang


@contextmanager
def started(
    command: Sequence[str], directory: Path, output: int = subprocess.PIPE
) -> Iterator[Process]:
    """Start a program in a session of its own; in the end kill it and all that it started."""
    with subprocess.Popen(
        command,
        cwd=directory,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            kill_all([process.pid, *descendants(process.pid)])


def finished(process: Process) -> str:
    """Wait for the end of a program; return what it printed."""
    printed, _ = process.communicate(timeout=LONGEST)
    return printed


def wait_until(happened: Callable[[], object], process: Process) -> None:
    """Wait until something has happened, or the program that should do it has ended."""
    wait_for(lambda: happened() or process.poll() is not None)


def wait_for(happened: Callable[[], object], seconds: float = LONGEST) -> None:
    """Wait until something has happened."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def descendants(pid: int) -> list[int]:
    """Return the processes that a process, and those, have started."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def workers_of(pid: int) -> list[int]:
    """Return the worker processes of a run or a nanny: those that were started by spawning."""
    found = []
    for child in descendants(pid):
        try:
            if any("spawn_main" in word for word in psutil.Process(child).cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def lives(pid: int) -> bool:
    """Return whether a process is there, and not only its exit status."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kill_all(pids: Iterable[int]) -> None:
    """Kill processes; those that have ended are left out."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def can(*command: str) -> bool:
    """Return whether a program is there, and this user may do this with it."""
    if shutil.which(command[0]) is None:
        return False
    return not subprocess.run(command, capture_output=True, check=False).returncode
