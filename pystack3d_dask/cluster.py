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

from pystack3d_dask.access import LOOPBACK, Certificates, is_loopback, own_address
from pystack3d_dask.errors import StackError, explain
from pystack3d_dask.room import check_handles

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
    workers: int,
    threads_per_worker: int = 1,
    *,
    host: str = LOOPBACK,
    certificates: Certificates | None = None,
    debug: bool = False,
) -> Iterator[Client]:
    """Start worker processes on this machine, and stop them in the end.

    The dashboard, which is plain HTTP, listens on the loopback interface only.

    Parameters
    ----------
    workers : int
        Processes, at least 1.
    threads_per_worker : int
        Blocks that a process computes at once.
    host : str
        Name or address of this machine at which scheduler and workers listen.
    certificates : Certificates, optional
        With them connections are encrypted, and need a certificate.
    debug : bool
        Workers show the tracebacks of what fails.

    Yields
    ------
    distributed.Client

    Raises
    ------
    AccessError
        When this machine cannot listen there.
    RoomError
        When the limit of open files is too low.
    StackError
        When the workers cannot be started.
    """
    address = own_address(host)
    check_handles(workers)
    settings = {
        "distributed.nanny.pre-spawn-environ": ENVIRONMENT | ({} if debug else QUIET),
        "distributed.worker.daemon": True,
        **MEMORY,
    }
    if not is_loopback(address):
        settings["distributed.dashboard.link"] = f"{{scheme}}://{LOOPBACK}:{{port}}/status"
    with (
        dask.config.set(settings),
        _started(workers, threads_per_worker, address, certificates) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _started(
    workers: int, threads_per_worker: int, address: str, certificates: Certificates | None
) -> LocalCluster:
    """Return workers that Ctrl-C in the terminal does not reach: they are stopped in order."""
    handler = None
    if threading.current_thread() is threading.main_thread():
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # processes inherit it
    try:
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=threads_per_worker,
            processes=True,
            host=f"[{address}]" if ":" in address else address,
            dashboard_address=f"{LOOPBACK}:0",
            # else what a worker tells by HTTP is heard where it listens
            worker_dashboard_address=None if is_loopback(address) else f"{LOOPBACK}:0",
            security=certificates and certificates.security,
            preload=["pystack3d_dask.worker"],
        )
    except RuntimeError as error:
        message = f"the workers cannot be started: {_root(error)}"
        raise StackError(message) from error
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


def _root(error: BaseException) -> str:
    """Return what the operating system refused, if that is behind an error; else the error."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError):
            return explain(found)
        found = found.__cause__ or found.__context__
    return str(error)


@contextmanager
def remote_client(
    address: str | None, scheduler_file: Path | None, certificates: Certificates | None = None
) -> Iterator[Client]:
    """Join a running scheduler by its address, or by the file that it wrote.

    Parameters
    ----------
    address : str, optional
        Such as ``tcp://host:8786``, or ``tls://host:8786`` for one with TLS.
    scheduler_file : Path, optional
        In place of the address.
    certificates : Certificates, optional
        For a scheduler with TLS; one without is refused.

    Yields
    ------
    distributed.Client

    Raises
    ------
    StackError
        When nobody answers there, we are not let in, or there is no worker.
    """
    where = address or scheduler_file
    security = certificates and certificates.security
    try:
        client = Client(
            address,
            scheduler_file=scheduler_file,
            timeout="10s",
            security=security,
            set_as_default=False,  # else one that fails stays that of all that dask computes
        )
    except TypeError as error:  # dask misses a context of TLS
        message = f"the scheduler at {where} wants TLS: give certificates (--tls-ca-file and so on)"
        raise StackError(message) from error
    except (OSError, ValueError, RuntimeError) as error:
        message = f"no scheduler answers at {where}: {error}"
        raise StackError(message) from error
    with client, client.as_current():
        if not client.nthreads():
            message = f"the scheduler at {where} has no workers; start some"
            raise StackError(message)
        yield client
