"""Where blocks are computed: in this process, or on the workers of a distributed client."""

from __future__ import annotations

import logging
import time
from asyncio import CancelledError
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol
from uuid import uuid4

import dask
from distributed import Client, Future, KilledWorker, as_completed

from pystack3d_dask.backend import has_gpu
from pystack3d_dask.errors import RunError, WorkersDiedError
from pystack3d_dask.task import Program, Receipt, run_task, run_tasks

Block = tuple[int, int]
Outcome = tuple[Block, Receipt | BaseException]

LOG = logging.getLogger("pystack3d_dask")
GPU = "GPU"  # the resource that workers with a GPU carry
TASKS_PER_THREAD = 2  # in flight: one computing, one waiting at the worker
POLL = 0.005  # seconds between looks for finished tasks
TASK_SECONDS = 0.1  # blocks that take less share a task: dask needs 3 ms for each


class Runner(Protocol):
    """Runs blocks of a pass, in any order."""

    def run(self, program: Program, blocks: Sequence[Block]) -> Iterator[Outcome]:
        """Yield each block, (channel, number), with its receipt or what went wrong."""
        ...


class InProcess:
    """Runs blocks one after the other, here."""

    def run(self, program: Program, blocks: Sequence[Block]) -> Iterator[Outcome]:
        for block in blocks:
            try:
                yield block, run_task(program, *block)
            except Exception as error:
                yield block, error


class OnClient:
    """Runs blocks on a distributed cluster, a bounded number at a time.

    The program travels once, as a task that every block depends on: unlike scattered
    data it is computed again if the workers that hold it die. A pass with heavy work that
    a GPU can do goes to the workers that carry the resource ``GPU``, where there are any,
    and nowhere else. Other passes go to all. A task is a block, or several small ones; if it
    fails, its blocks are run again one by one, so that only the culprit is told.

    Parameters
    ----------
    client : distributed.Client
        The cluster. The project must be on a file system that its workers share.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def run(self, program: Program, blocks: Sequence[Block]) -> Iterator[Outcome]:
        unique = uuid4().hex[:8]  # two runs may share a token, but no keys: they are of two stores
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GiB"}):
            shared = self._client.submit(_same, program, key=f"program-{unique}", pure=False)
        # else the first blocks would queue up where the program is, beside idle workers
        self._client.replicate([shared])
        gpus = self._gpus() if program.is_for_gpu else 0
        resources = {GPU: 1} if gpus else None
        in_flight = TASKS_PER_THREAD * (gpus or max(1, sum(self._client.nthreads().values())))
        waiting = _Waiting(blocks, in_flight)
        pending: dict[Future, list[Block]] = {}
        finished = as_completed()

        def submit_next() -> None:
            if group := waiting.take():
                key = f"{_task_name(program, group)}-{unique}"
                future = self._client.submit(
                    run_tasks, shared, group, bool(gpus), key=key, pure=False, resources=resources
                )
                pending[future] = group
                finished.add(future)

        try:
            for _ in range(in_flight):
                submit_next()
            while pending:
                self._wait_for(finished)
                future = next(finished)
                group = pending.pop(future)
                outcome = _outcome(future)
                if not isinstance(outcome, BaseException):
                    waiting.learn(outcome)
                    yield from zip(group, outcome, strict=True)
                elif len(group) == 1:
                    yield group[0], outcome
                else:
                    waiting.take_back(group)
                while waiting and len(pending) < in_flight:
                    submit_next()
        finally:
            if self._is_connected():
                self._client.cancel(list(pending))

    def _wait_for(self, finished: as_completed) -> None:
        """Wait until a task is finished: one that a lost scheduler knew of may never be."""
        while self._is_connected() and not finished.has_ready():
            time.sleep(POLL)
        if not self._is_connected():
            message = "the scheduler is gone; with another one the same command continues"
            raise RunError(message)

    def _is_connected(self) -> bool:
        return self._client.status in ("running", "connecting")

    def tell_missing_gpus(self) -> None:
        """Log which workers carry the resource ``GPU`` and find none: they use their CPUs."""
        labelled = [address for address, count in self._labelled().items() if count]
        found = self._client.run(has_gpu, workers=labelled) if labelled else {}
        if missing := sorted(address for address, is_there in found.items() if not is_there):
            LOG.warning(
                "no GPU, or no CuPy, on %s of the %s workers that carry the resource %s, which "
                "will use their CPUs: %s",
                len(missing),
                len(labelled),
                GPU,
                ", ".join(missing),
            )

    def _gpus(self) -> int:
        """Return how many blocks at once the workers that carry GPUs can take."""
        return int(sum(self._labelled().values()))

    def _labelled(self) -> dict[str, float]:
        """Return how many GPUs each worker says to carry."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        return {address: worker["resources"].get(GPU, 0) for address, worker in workers.items()}


class _Waiting:
    """The blocks that nobody has yet, given out in tasks of about `TASK_SECONDS`.

    Parameters
    ----------
    blocks : sequence of tuple
        All blocks of a pass, in order.
    takers : int
        Tasks in flight. Towards the end tasks are smaller, so that all have work.
    """

    def __init__(self, blocks: Sequence[Block], takers: int) -> None:
        self._blocks, self._alone = deque(blocks), deque[Block]()
        self._takers = takers
        self._seconds = float("inf")  # that a block takes

    def __bool__(self) -> bool:
        return bool(self._alone or self._blocks)

    def take(self) -> list[Block]:
        """Return the blocks of the next task; none if there are none."""
        if self._alone:
            return [self._alone.popleft()]
        count = min(TASK_SECONDS / self._seconds, len(self._blocks) / self._takers)
        return [self._blocks.popleft() for _ in range(min(max(1, int(count)), len(self._blocks)))]

    def take_back(self, blocks: Sequence[Block]) -> None:
        """Give these out again, one by one."""
        self._alone.extend(blocks)

    def learn(self, receipts: Sequence[Receipt]) -> None:
        """Note how long blocks take."""
        self._seconds = sum(receipt.seconds for receipt in receipts) / len(receipts)


def _outcome(future: Future) -> list[Receipt] | BaseException:
    try:
        receipts: list[Receipt] = future.result()
    except KilledWorker as error:
        return WorkersDiedError(error.allowed_failures + 1)
    except (Exception, CancelledError) as error:
        return error
    return receipts


def _same(program: Program) -> Program:
    return program


def _task_name(program: Program, blocks: Sequence[Block]) -> str:
    """Return what the dashboard shows: steps, channels, slices."""
    work = program.work
    steps = program.chains[blocks[0][0]].steps[work.reads : work.end]
    names = "+".join(step.name for step in steps) or "read"
    channels = "+".join(dict.fromkeys(program.source.channels[channel] for channel, _ in blocks))
    first, last = (program.blocks[number] for _, number in (blocks[0], blocks[-1]))
    return f"{names}-{channels}-z{first.start}..{last.stop - 1}"
