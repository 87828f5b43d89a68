"""Joining a cluster that runs elsewhere: the workers of this machine, until they are not needed."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask

from pystack3d_dask.cluster.local import (
    joined,
    nannies,
    nanny_settings,
    root_of,
    unreached_by_interrupts,
)
from pystack3d_dask.cluster.tls import LOOPBACK, Certificates, own_address
from pystack3d_dask.errors import AccessError, StackError

LONGEST_START = "120s"  # until a worker that cannot reach the scheduler ends
LONGEST_STOP = 3  # seconds until a worker that computes a block is killed


def join(
    scheduler: str | None,
    scheduler_file: Path | None,
    *,
    gpus: tuple[str, ...],
    others: int,
    threads_per_worker: int = 1,
    host: str | None = None,
    certificates: Certificates | None = None,
    debug: bool = False,
    on_start: Callable[[str], None] = lambda *_: None,
) -> None:
    """Run workers for a scheduler until that is gone.

    Workers that die are started again. An interrupt stops them all.

    Parameters
    ----------
    scheduler : str, optional
        Its address, such as ``tcp://host:8786``.
    scheduler_file : Path, optional
        The file that it wrote, in place of the address.
    gpus : tuple of str
        GPUs, each for a worker of its own.
    others : int
        Workers that use the CPU.
    threads_per_worker : int
        Blocks that each of these computes at once.
    host : str, optional
        Name or address of this machine at which workers listen: loopback by default, which will
        do for a scheduler on this machine alone.
    certificates : Certificates, optional
        For a scheduler with TLS.
    debug : bool
        Workers show the tracebacks of what fails.
    on_start : callable
        Called with the scheduler's address once all workers are there.

    Raises
    ------
    StackError
        When no scheduler answers, or workers cannot be started.
    AccessError
        When this machine cannot listen there, or the scheduler could not reach it there.
    """
    with joined(scheduler, scheduler_file, certificates) as client:
        address = str(client.scheduler.address)
    specs = nannies(
        gpus,
        others,
        threads_per_worker,
        address=own_address(host) if host else _near(address),
        certificates=certificates,
        label=str(os.getpid()),  # another command may start workers on this host
        # that a worker and the scheduler are gone before a nanny is, is no error here
        log_level=logging.WARNING if debug else logging.CRITICAL,
    )
    with dask.config.set(nanny_settings(debug)), unreached_by_interrupts() as loop:
        serving = _serve(address, specs, on_start)
        asyncio.run_coroutine_threadsafe(serving, loop.asyncio_loop).result()


def _near(scheduler: str) -> str:
    """Return the loopback address, if a scheduler is on this machine."""
    host = urlsplit(scheduler).hostname or ""
    try:
        own_address(host)
    except AccessError as error:
        message = (
            f"the scheduler is on another machine ({host}), from which workers that listen on "
            "this one alone cannot be reached: give the address at which it can (--host)"
        )
        raise AccessError(message) from error
    return LOOPBACK


async def _serve(
    address: str, specs: Mapping[str, Mapping[str, Any]], on_start: Callable[[str], None]
) -> None:
    workers = [
        spec["cls"](address, name=name, death_timeout=LONGEST_START, **spec["options"])
        for name, spec in specs.items()
    ]
    try:
        try:
            await asyncio.gather(*workers)
        except Exception as error:
            message = f"the workers cannot be started: {root_of(error)}"
            raise StackError(message) from error
        on_start(address)
        await asyncio.gather(*(worker.finished() for worker in workers))
    finally:
        closing = (worker.close(timeout=LONGEST_STOP, reason="interrupt") for worker in workers)
        await asyncio.gather(*closing, return_exceptions=True)
