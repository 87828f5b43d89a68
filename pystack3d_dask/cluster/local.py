"""Clusters: how many workers this machine has room for, starting them, joining others."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.system import MEMORY_LIMIT
from distributed.versions import VersionMismatchWarning
from tornado.ioloop import IOLoop
from tornado.platform.asyncio import BaseAsyncIOLoop

from pystack3d_dask.cluster.cpus import ONE_THREAD
from pystack3d_dask.cluster.gpus import VISIBLE
from pystack3d_dask.cluster.limits import check_handles
from pystack3d_dask.cluster.tls import LOOPBACK, Certificates, is_loopback, own_address
from pystack3d_dask.core.gpu_policy import GPU
from pystack3d_dask.errors import StackError, explain

# One thread per worker thread: blocks are the parallelism, and results stay the same. And
# freed memory is kept for the next slice: with the defaults of the C library, and more so with
# those of dask, every array is mapped and cleared page by page. One arena, since those of
# threads hold no more than 64 MiB.
ENVIRONMENT = {
    **ONE_THREAD,
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


def nanny_settings(debug: bool = False) -> dict[str, Any]:
    """Return the settings of dask under which nannies start workers that suit blocks.

    Parameters
    ----------
    debug : bool
        Workers show the tracebacks of what fails.
    """
    return {
        "distributed.nanny.pre-spawn-environ": ENVIRONMENT | ({} if debug else QUIET),
        "distributed.worker.daemon": True,
        **MEMORY,
    }


def nannies(
    gpus: Sequence[str],
    others: int,
    threads_per_worker: int = 1,
    *,
    address: str = LOOPBACK,
    certificates: Certificates | None = None,
    label: str = "",
    log_level: int = logging.WARNING,
) -> dict[str, dict[str, Any]]:
    """Return the workers of a machine, by name, as `distributed.SpecCluster` takes them.

    Parameters
    ----------
    gpus : sequence of str
        A worker with one thread for each of these, as ``CUDA_VISIBLE_DEVICES`` names them. It
        sees no other one, and carries the resource ``GPU``.
    others : int
        Workers that use the CPU.
    threads_per_worker : int
        Blocks that each of these computes at once.
    address : str
        Where they listen.
    certificates : Certificates, optional
        With them connections are encrypted.
    label : str
        Tells them from others of this host. Names are ``gpu-HOST-0`` and so on, with a label
        ``gpu-HOST-LABEL-0``.
    log_level : int
        The least of what nannies log.
    """
    common = {
        "host": f"[{address}]" if ":" in address else address,
        "security": certificates and certificates.security,
        "memory_limit": MEMORY_LIMIT // max(1, len(gpus) + others),
        "preload": ["pystack3d_dask.worker"],
        "dashboard_address": f"{LOOPBACK}:0",  # HTTP is never encrypted
        "silence_logs": log_level,
    }
    where = "-".join(filter(None, (socket.gethostname(), label)))
    specs = {
        f"gpu-{where}-{number}": {"nthreads": 1, "resources": {GPU: 1}, "env": {VISIBLE: gpu}}
        for number, gpu in enumerate(gpus)
    }
    specs |= {f"cpu-{where}-{n}": {"nthreads": threads_per_worker} for n in range(others)}
    return {name: {"cls": Nanny, "options": common | own} for name, own in specs.items()}


@contextmanager
def local_client(
    workers: int,
    threads_per_worker: int = 1,
    *,
    gpus: Sequence[str] = (),
    host: str = LOOPBACK,
    certificates: Certificates | None = None,
    debug: bool = False,
) -> Iterator[Client]:
    """Start worker processes on this machine, and stop them in the end.

    The dashboard, which is plain HTTP, listens on the loopback interface only.

    Parameters
    ----------
    workers : int
        Processes, at least 1, those with a GPU included.
    threads_per_worker : int
        Blocks that a process computes at once; one with a GPU computes one.
    gpus : sequence of str
        GPUs, each for a process of its own; `pystack3d_dask.cluster.gpus.find_gpus` finds them.
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
    used = gpus[:workers]
    specs = nannies(
        used,
        workers - len(used),
        threads_per_worker,
        address=address,
        certificates=certificates,
    )
    # a worker that takes long to start again, on a busy machine, would be given up else
    settings = nanny_settings(debug) | {"distributed.deploy.lost-worker-timeout": "1 hour"}
    if not is_loopback(address):
        settings["distributed.dashboard.link"] = f"{{scheme}}://{LOOPBACK}:{{port}}/status"
    with (
        dask.config.set(settings),
        unreached_by_interrupts() as loop,
        _started(specs, address, certificates, loop) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _started(
    specs: Mapping[str, dict[str, Any]],
    address: str,
    certificates: Certificates | None,
    loop: IOLoop,
) -> SpecCluster:
    security = certificates and certificates.security
    scheduler = {
        "host": f"[{address}]" if ":" in address else address,
        "protocol": "tls://" if certificates else "tcp://",
        "port": 0,
        "dashboard": True,
        "dashboard_address": f"{LOOPBACK}:0",
        "security": security,
    }
    try:
        return SpecCluster(
            scheduler={"cls": Scheduler, "options": scheduler},
            workers=specs,
            security=security,
            silence_logs=logging.WARNING,
            loop=loop,
        )
    except RuntimeError as error:
        message = f"the workers cannot be started: {root_of(error)}"
        raise StackError(message) from error


@contextmanager
def unreached_by_interrupts() -> Iterator[BaseAsyncIOLoop]:
    """Run an event loop in a thread of its own; Ctrl-C does not reach processes that it starts.

    A terminal sends the signal to all of them: this process is to stop the others in order. They
    inherit the signals that their thread does not take. What the loop still does in the end is
    cancelled, and waited for.
    """
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # the first to need it would take the signals again
    found: Future[tuple[Any, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        found.set_result((IOLoop.current(), stop))
        await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True, name="IO loop")
    with _without_interrupts():
        thread.start()
    loop, stop = found.result()
    try:
        yield loop
    finally:
        loop.add_callback(stop.set)
        thread.join()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let the threads that are started in this context never take the signal of Ctrl-C."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def root_of(error: BaseException) -> str:
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
    with joined(address, scheduler_file, certificates) as client, client.as_current():
        if not client.nthreads():
            where = address or scheduler_file
            message = f"the scheduler at {where} has no workers; start some"
            raise StackError(message)
        yield client


def joined(
    address: str | None, scheduler_file: Path | None, certificates: Certificates | None = None
) -> Client:
    """Return a client of a running scheduler, with workers or without.

    Parameters and errors are those of `remote_client`.
    """
    where = address or scheduler_file
    security = certificates and certificates.security
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VersionMismatchWarning)  # a run tells what matters
            return Client(
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
