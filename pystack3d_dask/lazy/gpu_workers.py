"""Blocks of lazy arrays, computed by the workers of a cluster that carry the resource ``GPU``.

Dask's own way to place tasks, annotations of a collection, does not last: the optimization of
array graphs drops them, unless ``optimization.fuse.active`` is False. So each task looks where it
is: on any other worker it hands its block on to one that carries the resource, and waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from distributed import Client, Future, TimeoutError, get_worker, wait, worker_client

from pystack3d_dask.core.gpu_policy import GPU
from pystack3d_dask.engine.block import Place
from pystack3d_dask.engine.placement import PATIENCE, Watch
from pystack3d_dask.engine.workers import seen_workers
from pystack3d_dask.kernels.backend import compute_on_gpu, has_gpu

Result = TypeVar("Result")
SECONDS_BETWEEN_CHECKS = 5.0  # of whether there still are such workers


def carries_gpu() -> bool:
    """Return whether this is a task on a worker that carries the resource ``GPU``."""
    try:
        return bool(get_worker().state.total_resources.get(GPU))
    except ValueError:  # no worker: Dask's own schedulers, or no task at all
        return False


def own_gpu() -> Place | None:
    """Return what computes on the GPU that this worker carries; None if it does not, or cannot."""
    return compute_on_gpu if carries_gpu() and has_gpu() else None


def on_gpu_worker(function: Callable[..., Result], *arguments: Any) -> Result:
    """Compute on a worker that carries the resource ``GPU``, or here where there is none.

    A thread of this worker waits for it, so that no worker holds more blocks than it has threads.

    Parameters
    ----------
    function : callable
        What to compute.
    *arguments
        Arrays of NumPy go from worker to worker, not through the scheduler.
    """
    if not _is_on_worker() or carries_gpu():
        return function(*arguments)
    with worker_client(separate_thread=False) as client:
        if not seen_workers(client).gpus:
            return function(*arguments)
        sent = [_sent(client, each) for each in arguments]
        future = client.submit(function, *sent, resources={GPU: 1}, pure=False)
        if _is_finished(future, client):
            return future.result()  # type: ignore[no-any-return]
        future.cancel()
    return function(*arguments)


def _is_on_worker() -> bool:
    try:
        get_worker()
    except ValueError:
        return False
    return True


def _sent(client: Client, argument: Any) -> Any:
    return client.scatter(argument, hash=False) if isinstance(argument, np.ndarray) else argument


def _is_finished(future: Future, client: Client) -> bool:
    """Wait for a block; return False when there have been no GPU workers for long."""
    watch = Watch(PATIENCE["prefer"])
    while watch.expects(seen_workers(client)):
        try:
            wait(future, timeout=SECONDS_BETWEEN_CHECKS)
        except TimeoutError:
            continue
        return True
    return False
