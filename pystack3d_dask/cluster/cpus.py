"""How many cores this process may use, and libraries that leave them to blocks."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping

# set by batch systems: Slurm, PBS, LSF, Grid Engine
BATCH_LIMITS = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NCPUS", "LSB_DJOB_NUMPROC", "NSLOTS")

# Linear algebra: its matrices are small here, threads that wait for each other take many times
# as long where cores have other work, and results stay the same.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def default_workers(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many worker processes to start: the cores that this process may use.

    Control groups, processor affinity and the limits of batch systems are respected.
    """
    from dask.system import CPU_COUNT  # not at the top: a look at a slice does without dask

    return _limited(int(CPU_COUNT), environment)


def default_threads(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many threads to compute in, for as long as a look takes.

    As `default_workers`, but for the shares that control groups give, which take dask to find
    out: above these threads wait for each other.
    """
    is_bound = hasattr(os, "sched_getaffinity")  # macOS and Windows bind no process this way
    count = len(os.sched_getaffinity(0)) if is_bound else os.cpu_count()
    return _limited(count or 1, environment)


def _limited(count: int, environment: Mapping[str, str]) -> int:
    limits = [int(value) for name in BATCH_LIMITS if (value := environment.get(name, "")).isdigit()]
    return max(1, min([count, *limits]))


def leave_cores_to_blocks(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have numpy compute in one thread, if nothing else is asked for; before it is imported."""
    for name, count in ONE_THREAD.items():
        environment.setdefault(name, count)
