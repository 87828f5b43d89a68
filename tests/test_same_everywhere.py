"""The same project has the same values wherever, and by however many, it is computed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from stacks import STEPS, images, make_project

from pystack3d_dask import open_result
from pystack3d_dask.pipeline import Pipeline

NAMES = (
    "cropping",
    "bkg_removal",
    "intensity_rescaling",
    "registration_calculation",
    "registration_transformation",
    "destriping",
    "resampling",
)
RUN = [sys.executable, "-m", "pystack3d_dask", "run", "."]
LONGEST = 120  # seconds until something is thought to hang


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    chain = {name: STEPS[name] for name in NAMES}
    stack = images((40, 110, 120))
    return make_project(tmp_path_factory.mktemp("template") / "project", chain, stack)


@pytest.fixture(scope="module")
def expected(template) -> np.ndarray:
    """Return the values that one thread finds."""
    project = shutil.copytree(template, template.with_name("alone"))
    Pipeline.from_toml(project).run()
    return values(project)


@pytest.fixture
def project(template, tmp_path) -> Path:
    return shutil.copytree(template, tmp_path / "project")


def values(project: Path) -> np.ndarray:
    return np.asarray(open_result(project).values)


def run(project: Path, *options: str, prefix: tuple[str, ...] = ()) -> None:
    done = subprocess.run(
        [*prefix, *RUN, *options],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("options", [("4", "1"), ("1", "3"), ("2", "2")], ids="x".join)
def test_processes_and_threads(project, expected, options):
    run(project, "--workers", options[0], "--threads-per-worker", options[1])
    np.testing.assert_array_equal(values(project), expected)


def may_make_hosts() -> bool:
    """Return whether this user can make network namespaces."""
    if shutil.which("ip") is None or not hasattr(os, "geteuid") or os.geteuid():
        return False
    name = f"probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return False
    return not subprocess.run(["ip", "netns", "del", name], check=False).returncode


@pytest.fixture
def hosts() -> Iterator[dict[str, tuple[str, ...]]]:
    """Make two hosts on one cable; return addresses, and what runs a program on each."""
    if not may_make_hosts():
        pytest.skip("only root can make network namespaces, with the program ip of Linux")
    tag = os.getpid()
    names, cable = [f"host-{k}-{tag}" for k in "ab"], [f"c{k}{tag}" for k in "ab"]
    addresses = ["10.77.0.1", "10.77.0.2"]

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    with ExitStack() as undo:
        for name in names:
            ip("netns", "add", name)
            undo.callback(ip, "netns", "del", name)
        ip("link", "add", cable[0], "type", "veth", "peer", "name", cable[1])
        for name, end, address in zip(names, cable, addresses, strict=True):
            ip("link", "set", end, "netns", name)
            for words in (["addr", "add", f"{address}/24", "dev", end], ["link", "set", end, "up"]):
                ip("-n", name, *words)
            ip("-n", name, "link", "set", "lo", "up")
        yield {
            address: ("ip", "netns", "exec", name)
            for name, address in zip(names, addresses, strict=True)
        }


@contextmanager
def program(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("label", [(), ("--resources", "GPU=1")], ids=["alike", "one labelled"])
def test_two_hosts(project, expected, hosts, tmp_path, label):
    file = tmp_path / "scheduler.json"
    (first, on_first), (second, on_second) = hosts.items()
    dask = (sys.executable, "-m", "dask")
    with ExitStack() as running:
        start = ["scheduler", "--host", first, "--port", "0", "--no-dashboard"]
        scheduler = running.enter_context(
            program(*on_first, *dask, *start, "--scheduler-file", str(file))
        )
        deadline = time.monotonic() + LONGEST
        while not file.exists():
            assert scheduler.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for host, prefix, more in ((first, on_first, ()), (second, on_second, label)):
            start = ["worker", "--host", host, "--nthreads", "1", "--no-dashboard", *more]
            running.enter_context(program(*prefix, *dask, *start, "--scheduler-file", str(file)))
        wait_for_workers(on_second, file)
        run(project, "--scheduler-file", str(file), prefix=on_second)
    np.testing.assert_array_equal(values(project), expected)
    seen = {
        line.split('"worker": "')[1].split('"')[0]
        for path in project.glob("process/work.zarr/records/*/*.json")
        for line in [path.read_text()]
    }
    assert len(seen) == 2  # both have worked


def wait_for_workers(prefix: tuple[str, ...], file: Path) -> None:
    code = (
        "import sys; from distributed import Client\n"
        "with Client(scheduler_file=sys.argv[1], timeout='60s') as client:\n"
        "    client.wait_for_workers(2, timeout=60)"
    )
    subprocess.run([*prefix, sys.executable, "-c", code, str(file)], check=True, timeout=LONGEST)
