"""Whether the disk and the workers have room for a plan; looked at before anything is computed."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from typing import Any

import dask

from pystack3d_dask.errors import StackError
from pystack3d_dask.plan import Plan, in_units
from pystack3d_dask.project import Project

LEAST = 0.25  # of the pixels are left by compression in any but very smooth stacks


class RoomError(StackError):
    """The disk, or a worker, has no room for what was planned."""


def check_disk(project: Project, plan: Plan) -> None:
    """Compare what a plan stores, less what is there of it already, with what is free.

    Warns when it fits only if compression helps.

    Raises
    ------
    RoomError
        When not even a quarter of it fits.
    """
    workspace, last = project.workspace, len(project.steps)
    levels = {level for item in plan.passes for level in item.work.stores}
    there = sum(
        workspace.size(workspace.result if k == last else workspace.level(project.steps, k))
        for k in levels
    )
    needed, free = plan.peak_disk - there, shutil.disk_usage(workspace.process).free
    if needed <= free:
        return
    message = (
        f"{workspace.process}: {in_units(needed)} are to be written, before compression, "
        f"and {in_units(free)} are free; make room, or give the project another disk "
        "(project_dir)"
    )
    if needed * LEAST > free:
        raise RoomError(message)
    warnings.warn(message, stacklevel=2)


def check_memory(plan: Plan, workers: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare what a block takes with what workers may use.

    Parameters
    ----------
    plan : Plan
        The plan.
    workers : mapping
        What the scheduler says of each: ``memory_limit`` in bytes, 0 for none, and ``nthreads``.
        Above a share of the limit (80 % by default) dask pauses a worker or ends it.

    Raises
    ------
    RoomError
        When a worker's threads, a block each, take more than it has.
    """
    share = _usable()
    for name, worker in workers.items():
        limit, threads = round(share * (worker["memory_limit"] or 0)), int(worker["nthreads"])
        needed = plan.memory_of(threads)
        if 0 < limit < needed:
            message = (
                f"a worker with {threads} thread{'s' * (threads > 1)} needs {in_units(needed)} "
                f"for this stack, and {worker.get('name', name)} may use {in_units(limit)}; "
                "start fewer workers (--workers), or workers with more memory (--memory-limit of "
                "dask worker), or crop the slices first"
            )
            raise RoomError(message)


def _usable() -> float:
    """Return the share of its limit that a worker may take before dask does something."""
    names = ("pause", "terminate")
    shares = [dask.config.get(f"distributed.worker.memory.{name}", False) for name in names]
    return float(min([share for share in shares if share], default=1.0))
