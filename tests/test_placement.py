"""Heavy work that a GPU can do goes to the workers that carry GPUs, and nowhere else.

The workers here are processes of their own, as is the scheduler; the label is what places
the work, so that no GPU is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from clusters import LOCAL, dask, running
from distributed import Client
from stacks import images, make_project

from pystack3d_dask import open_result
from pystack3d_dask.backend import has_gpu
from pystack3d_dask.pipeline import Pipeline

PARAMETERS = """\
process_steps = ["bkg_removal", "destriping"]
[bkg_removal]
orders = [1, 1, 1]
skip_factors = [3, 3, 2]
[destriping]
maxit = 4
filters = [{ name = "Gabor", noise_level = 20, sigma = [1, 10], theta = 0 }]
"""


@pytest.fixture
def cluster(tmp_path) -> Iterator[Client]:
    """Start a scheduler, a worker that carries a GPU and one that does not."""
    file, worker = tmp_path / "scheduler.json", ("worker", "--nthreads", "1", "--name")
    scheduler = dask("scheduler", *LOCAL, "--port", "0")
    labelled = dask(*worker, "labelled", "--resources", "GPU=1")
    with (
        running(file, scheduler, labelled, dask(*worker, "plain")),
        Client(scheduler_file=str(file), timeout="60s") as client,
    ):
        client.wait_for_workers(2, timeout=60)
        yield client


def test_destriping_runs_where_a_gpu_is_and_other_passes_everywhere(tmp_path, cluster, caplog):
    directory = make_project(tmp_path / "project", [], images((48, 50, 64)))
    (directory / "params.toml").write_text(PARAMETERS)
    pids, info = cluster.run(os.getpid), cluster.scheduler_info(n_workers=-1)["workers"]
    workers = {info[address]["name"]: pid for address, pid in pids.items()}
    receipts = []
    Pipeline.from_toml(directory).run(cluster, lambda event: receipts.append(event))
    used = {
        number: {
            int(event.receipt.worker.split(":")[1]) for event in receipts if event.number == number
        }
        for number in (1, 2)
    }
    if not has_gpu():
        (line,) = [each.getMessage() for each in caplog.records if each.name == "pystack3d_dask"]
        assert line.startswith("no GPU, or no CuPy, on 1 of the 1 workers that carry the resource")
    assert used[1] == set(workers.values())
    assert used[2] == {workers["labelled"]}
    alone = make_project(tmp_path / "alone", [], images((48, 50, 64)))
    (alone / "params.toml").write_text(PARAMETERS)
    Pipeline.from_toml(alone).run()
    np.testing.assert_array_equal(open_result(directory).values, open_result(alone).values)
