"""The same project has the same values wherever, and by however many, it is computed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from clusters import dask, running
from conftest import result
from processes import LONGEST, RUN, can
from stacks import WHOLE_CHAIN, images, make_project

from pystack3d_dask.pipeline import Pipeline


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("template") / "project"
    return make_project(directory, WHOLE_CHAIN, images((40, 110, 120)))


@pytest.fixture(scope="module")
def expected(template) -> np.ndarray:
    """Return the values that one thread finds."""
    project = shutil.copytree(template, template.with_name("alone"))
    Pipeline.from_toml(project).run()
    return result(project)


@pytest.fixture
def project(template, tmp_path) -> Path:
    return shutil.copytree(template, tmp_path / "project")


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
    np.testing.assert_array_equal(result(project), expected)


@pytest.fixture
def hosts() -> Iterator[dict[str, tuple[str, ...]]]:
    """Make two hosts on one cable; return addresses, and what runs a program on each."""
    tag = os.getpid()
    if not (can("ip", "netns", "add", f"try-{tag}") and can("ip", "netns", "del", f"try-{tag}")):
        pytest.skip("needs a second host: only root may make one, on Linux with the command ip")
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


@pytest.mark.slow
@pytest.mark.parametrize("label", [(), ("--resources", "GPU=1")], ids=["alike", "one labeled"])
def test_two_hosts(project, expected, hosts, tmp_path, label):
    file = tmp_path / "scheduler.json"
    (first, on_first), (second, on_second) = hosts.items()
    worker = ("worker", "--nthreads", "1", "--host")
    with running(
        file,
        dask("scheduler", "--port", "0", "--host", first, on=on_first),
        dask(*worker, first, on=on_first),
        dask(*worker, second, *label, on=on_second),
    ):
        wait_for_workers(on_second, file)
        run(project, "--scheduler-file", str(file), prefix=on_second)
    np.testing.assert_array_equal(result(project), expected)
    records = project.glob("process/work.zarr/records/*/*.json")
    workers = {json.loads(path.read_text())["record"]["receipt"]["worker"] for path in records}
    assert len(workers) == 2  # both have worked


def wait_for_workers(prefix: tuple[str, ...], file: Path) -> None:
    code = (
        "import sys; from distributed import Client\n"
        "with Client(scheduler_file=sys.argv[1], timeout='60s') as client:\n"
        "    client.wait_for_workers(2, timeout=60)"
    )
    subprocess.run([*prefix, sys.executable, "-c", code, str(file)], check=True, timeout=LONGEST)
