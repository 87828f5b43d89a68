"""Workers: how many this machine has room for, and starting them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster

from pystack3d_dask.errors import StackError

# set by batch systems: Slurm, PBS, LSF, Grid Engine
BATCH_LIMITS = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NCPUS", "LSB_DJOB_NUMPROC", "NSLOTS")

# One thread per worker thread: blocks are the parallelism, and results stay the same. And
# freed memory is kept for the next slice: with the defaults of the C library, and more so with
# those of dask, every array is mapped and cleared page by page. One arena, since those of
# threads hold no more than 64 MiB.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "TIFFFILE_NUM_THREADS": "1",
    "ZARR_ASYNC__CONCURRENCY": "1",
    "ZARR_THREADING__MAX_WORKERS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}

# Workers hold nothing that could be spilled: one that were paused for the memory of its last block
# would wait for ever. What a block takes is compared with the limit before.
MEMORY = {f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause")}

# what fails in a block is told once, by the run, and not with a traceback by each worker
QUIET = {"DASK_LOGGING": "{'distributed.worker': 'critical', 'distributed.worker.memory': 'info'}"}


def default_workers(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many worker processes to start: the cores that this process may use.

    Control groups, processor affinity and the limits of batch systems are respected.
    """
    limits = [int(value) for name in BATCH_LIMITS if (value := environment.get(name, "")).isdigit()]
    return max(1, min([int(CPU_COUNT), *limits]))


@contextmanager
def local_client(
    workers: int, threads_per_worker: int = 1, *, debug: bool = False
) -> Iterator[Client]:
    """Start worker processes on this machine, and stop them in the end.

    Scheduler and dashboard listen on the loopback interface only.

    Parameters
    ----------
    workers : int
        Processes, at least 1.
    threads_per_worker : int
        Blocks that a process computes at once.
    debug : bool
        Workers show the tracebacks of what fails.

    Yields
    ------
    distributed.Client
    """
    settings = {
        "distributed.nanny.pre-spawn-environ": ENVIRONMENT | ({} if debug else QUIET),
        "distributed.worker.daemon": True,
        **MEMORY,
    }
    with (
        dask.config.set(settings),
        _started(workers, threads_per_worker) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _started(workers: int, threads_per_worker: int) -> LocalCluster:
    """Return workers that Ctrl-C in the terminal does not reach: they are stopped in order."""
    handler = None
    if threading.current_thread() is threading.main_thread():
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # processes inherit it
    try:
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=threads_per_worker,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            preload=["pystack3d_dask.worker"],
        )
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def remote_client(address: str | None, scheduler_file: Path | None) -> Iterator[Client]:
    """Join a running scheduler by its address, or by the file that it wrote.

    Yields
    ------
    distributed.Client

    Raises
    ------
    StackError
        When nobody answers there, or there is no worker.
    """
    try:
        client = Client(address, scheduler_file=scheduler_file, timeout="10s")
    except (OSError, ValueError) as error:
        message = f"no scheduler answers at {address or scheduler_file}: {error}"
        raise StackError(message) from error
    with client:
        if not client.nthreads():
            message = f"the scheduler at {address or scheduler_file} has no workers; start some"
            raise StackError(message)
        yield client
