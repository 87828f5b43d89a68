"""Which workers take the blocks of a pass. Pure: it is told what workers there are.

A *lane* is a set of workers and how tasks are sent to them, with a bounded number in flight. A
pass without work for GPUs has one lane, of all workers. One with such work has a lane of those
that carry the resource ``GPU``, and beside it, if they share the pass, a lane of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from time import monotonic
from typing import Any

from pystack3d_dask.core.formatting import counted
from pystack3d_dask.core.gpu_policy import GPU, GpuUse

QUEUED = 2  # tasks in flight for each that is computed: the next one is there at once
# seconds without any GPU worker after which their blocks go to the others; a nanny restarts a
# worker within some ten seconds
PATIENCE: dict[GpuUse, float] = {"only": 600.0, "prefer": 60.0, "share": 60.0, "off": 0.0}


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The workers of a cluster, at one time.

    Parameters
    ----------
    threads : mapping
        Blocks that each computes at once, by address.
    gpus : mapping
        Those that carry the resource ``GPU``, and how many blocks it is for at once.
    """

    threads: Mapping[str, int]
    gpus: Mapping[str, int]

    @classmethod
    def of(cls, told: Mapping[str, Mapping[str, Any]]) -> Workers:
        """Return them as the scheduler tells of them."""
        gpus = {address: int(worker["resources"].get(GPU, 0)) for address, worker in told.items()}
        return cls(
            threads={address: worker["nthreads"] for address, worker in told.items()},
            gpus={address: count for address, count in gpus.items() if count},
        )

    @property
    def others(self) -> dict[str, int]:
        """Threads of those without a GPU."""
        return {name: count for name, count in self.threads.items() if name not in self.gpus}


@dataclass
class Lane:
    """Workers that take blocks in the same way.

    Parameters
    ----------
    queued : int
        Tasks in flight for each that is computed.
    is_tried : bool
        Whether it gets a single task until that tells how fast it is.
    """

    queued: int = QUEUED
    is_tried: bool = False
    places: Mapping[str, int] = field(default_factory=dict)  # tasks computed at once, by address
    seconds: float = nan  # that a block takes, of late
    tasks: int = 0  # in flight
    blocks: int = 0  # in them

    @property
    def size(self) -> int:
        """Tasks that are computed at once."""
        return sum(self.places.values())

    @property
    def limit(self) -> int:
        """Tasks that may be in flight."""
        if self.is_tried and isnan(self.seconds):
            return min(1, self.size)
        return self.queued * self.size

    def give(self, blocks: int) -> None:
        """Note a task on its way."""
        self.tasks += 1
        self.blocks += blocks

    def take(self, blocks: int) -> None:
        """Note the end of a task."""
        self.tasks -= 1
        self.blocks -= blocks

    def learn(self, seconds: Sequence[float]) -> None:
        """Note how long blocks took; what a first block compiles is soon forgotten."""
        found = sum(seconds) / len(seconds)
        self.seconds = found if isnan(self.seconds) else (self.seconds + found) / 2


class Lanes:
    """The lanes of a pass.

    Parameters
    ----------
    use : {"only", "prefer", "share", "off"}
        What GPU workers are used for, if it is work for them.
    is_gpu_work : bool
        Whether it is.
    """

    def __init__(self, use: GpuUse, is_gpu_work: bool) -> None:
        # a CPU gets one block at a time, so that it is known when that will be finished
        self.gpu, self.cpu, self.all = Lane(), Lane(queued=1, is_tried=True), Lane()
        self.open: tuple[Lane, ...] = ()
        self.uses_gpus = is_gpu_work and use != "off"
        self._shares = use == "share"

    def update(self, workers: Workers, are_gpus_expected: bool) -> None:
        """Take note of the workers that there are, and whether some with GPUs are or will be."""
        self.gpu.places, self.cpu.places = workers.gpus, workers.others
        self.all.places = workers.threads
        if self.uses_gpus and are_gpus_expected:
            self.open = (self.gpu, self.cpu) if self._shares else (self.gpu,)
        else:
            self.open = (self.all,)

    def next(self, waiting: int) -> Lane | None:
        """Return the lane that takes one of the blocks that wait, if any has room for it."""
        for lane in self.open:
            if lane.tasks < lane.limit and (lane is not self.cpu or self._is_in_time(waiting)):
                return lane
        return None

    @property
    def limit(self) -> int:
        """Tasks that may be in flight."""
        return sum(lane.limit for lane in self.open)

    def _is_in_time(self, waiting: int) -> bool:
        """Return whether a CPU would end with a block before the GPUs with all that is left."""
        if not self.gpu.size:
            return True
        others = (waiting + self.gpu.blocks) * self.gpu.seconds / self.gpu.size
        return not self.cpu.seconds > others  # nor while one of them is not known


class Watch:
    """Remembers GPU workers, so that one that is started again is waited for.

    Parameters
    ----------
    patience : float
        Seconds after which they are not expected back.
    clock : callable
        What tells the time, in seconds.
    """

    def __init__(self, patience: float, clock: Callable[[], float] = monotonic) -> None:
        self.patience = patience
        self._clock = clock
        self._seen: float | None = None

    def expects(self, workers: Workers) -> bool:
        """Return whether there are GPU workers, or were a short while ago."""
        now = self._clock()
        if workers.gpus:
            self._seen = now
        return self._seen is not None and now - self._seen <= self.patience

    @property
    def has_seen_some(self) -> bool:
        """Whether there ever were GPU workers."""
        return self._seen is not None


def whereabouts(use: GpuUse, is_gpu_work: bool, workers: Workers | None = None) -> str:
    """Return where a pass runs, in words; nothing where there is nothing to say.

    Parameters
    ----------
    use : {"only", "prefer", "share", "off"}
        What GPU workers are used for.
    is_gpu_work : bool
        Whether the pass has heavy work that a GPU can do.
    workers : Workers, optional
        Those of the cluster, if it is known; none of them stand for this process.
    """
    if workers is not None and not workers.threads:
        return "in this process"
    every = "" if workers is None else counted(len(workers.threads), "worker")
    if not is_gpu_work:
        return f"on {every}" if every else ""
    if use == "off":
        return 'on CPUs (gpu = "off")' + (f", of {every}" if every else "")
    if workers is None:
        others = ", with CPU workers, by speed" if use == "share" else ""
        return f"on GPU workers{others}; on CPU workers, if there are no GPU workers"
    others = counted(len(workers.others), "CPU worker")
    if not workers.gpus:
        return f"on {others}: there are no GPU workers"
    where = f"on {counted(len(workers.gpus), 'GPU worker')}"
    return f"{where} and {others}, by speed" if use == "share" and workers.others else where
