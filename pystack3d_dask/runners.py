"""Where blocks are computed: in this process, or on the workers of a distributed client."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterator, Sequence
from typing import Protocol
from uuid import uuid4

import dask
from distributed import Client, Future, as_completed

from pystack3d_dask.task import Program, Receipt, run_task

Block = tuple[int, int]
Outcome = tuple[Block, Receipt | BaseException]

GPU = "GPU"  # the resource that workers with a GPU carry
BLOCKS_PER_THREAD = 2  # in flight: one computing, one waiting at the worker


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
    and nowhere else. Other passes go to all.

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
        slots = gpus or max(1, sum(self._client.nthreads().values()))
        waiting = iter(blocks)
        pending: dict[Future, Block] = {}
        finished = as_completed()

        def submit_next() -> None:
            block = next(waiting, None)
            if block is not None:
                key = f"{_task_name(program, block)}-{unique}"
                future = self._client.submit(
                    run_task, shared, *block, bool(gpus), key=key, pure=False, resources=resources
                )
                pending[future] = block
                finished.add(future)

        try:
            for _ in range(BLOCKS_PER_THREAD * slots):
                submit_next()
            for future in finished:
                block = pending.pop(future)
                yield block, _outcome(future)
                submit_next()
        finally:
            self._client.cancel(list(pending))

    def _gpus(self) -> int:
        """Return how many blocks at once the workers that carry GPUs can take."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return int(sum(worker["resources"].get(GPU, 0) for worker in workers))


def _outcome(future: Future) -> Receipt | BaseException:
    try:
        receipt: Receipt = future.result()
    except (Exception, CancelledError) as error:
        return error
    return receipt


def _same(program: Program) -> Program:
    return program


def _task_name(program: Program, block: Block) -> str:
    """Return what the dashboard shows: steps, channel, slices."""
    channel, number = block
    work, chain = program.work, program.chains[channel]
    steps = "+".join(step.name for step in chain.steps[work.reads : work.end]) or "read"
    slices = program.blocks[number]
    name = program.source.channels[channel]
    return f"{steps}-{name}-z{slices.start}..{slices.stop - 1}"
