"""Where blocks are computed: in this process, or on the workers of a distributed client."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Protocol
from uuid import uuid4

import dask
from distributed import Client, Future, KilledWorker, as_completed

from pystack3d_dask.core.gpu_policy import GPU, GpuUse
from pystack3d_dask.core.spec import shown_names
from pystack3d_dask.engine.placement import PATIENCE, Lane, Lanes, Watch, Workers
from pystack3d_dask.engine.task import Program, Receipt, run_task, run_tasks
from pystack3d_dask.engine.workers import seen_workers
from pystack3d_dask.errors import RunError, WorkersDiedError, WorkersStarvedError
from pystack3d_dask.kernels.backend import has_gpu

Block = tuple[int, int]
Outcome = tuple[Block, Receipt | BaseException]

LOG = logging.getLogger("pystack3d_dask")
ASKED_FOR = ("only", "share")  # uses of GPUs that nobody chooses who has none
POLL = 0.005  # seconds between looks for finished tasks
LOOK = 2.0  # seconds between looks at which workers there are
LONGEST_ALONE = 600.0  # seconds without any worker after which a run ends
ALONE = 20.0  # seconds without any worker after which it says so; a restart takes some ten
KILLED = "worker-restart-memory"  # events of nannies: a worker took more than its limit
KILLED_IN_VAIN = 10  # such ends for each worker, with nothing finished, after which a run ends
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
    data it is computed again if the workers that hold it die. Which workers take blocks is a
    matter of `pystack3d_dask.engine.placement`. A task is a block, or several small ones; if it
    fails, its blocks are run again one by one, so that only the culprit is told.

    Parameters
    ----------
    client : distributed.Client
        The cluster. The project must be on a file system that its workers share.
    gpu_use : {"only", "prefer", "share", "off"}
        What workers that carry the resource ``GPU`` are used for.
    """

    def __init__(self, client: Client, gpu_use: GpuUse = "prefer") -> None:
        self._client = client
        self._use = gpu_use
        self._watch = Watch(PATIENCE[gpu_use])

    def run(self, program: Program, blocks: Sequence[Block]) -> Iterator[Outcome]:
        lanes = Lanes(self._use, program.is_for_gpu)
        if program.is_for_gpu and self._use in ASKED_FOR and not self._watch.has_seen_some:
            LOG.warning("gpu = %r, and there is no GPU worker: CPU workers do it", self._use)
        yield from _Dispatch(self._client, program, blocks, lanes, self._watch).outcomes()

    def tell_missing_gpus(self) -> None:
        """Log which workers carry the resource ``GPU`` and find none: they use their CPUs."""
        workers = seen_workers(self._client)
        self._watch.expects(workers)
        labeled = list(workers.gpus) if self._use != "off" else []
        found = self._client.run(has_gpu, workers=labeled) if labeled else {}
        if missing := sorted(address for address, is_there in found.items() if not is_there):
            LOG.warning(
                "no GPU, or no CuPy, on %s of the %s workers that carry the resource %s, which "
                "will use their CPUs: %s",
                len(missing),
                len(labeled),
                GPU,
                ", ".join(missing),
            )


@dataclass(frozen=True)
class _Task:
    """Blocks on their way, in which lane, and who may take them: nobody else, if it says so."""

    blocks: list[Block]
    lane: Lane
    takers: frozenset[str] = frozenset()


class _Dispatch:
    """The blocks of a pass, on their way to workers and back."""

    def __init__(
        self,
        client: Client,
        program: Program,
        blocks: Sequence[Block],
        lanes: Lanes,
        watch: Watch,
    ) -> None:
        self._client, self._program = client, program
        self._lanes, self._watch = lanes, watch
        self._waiting = _Waiting(blocks)
        self._pending: dict[Future, _Task] = {}
        self._finished = as_completed(loop=client.loop)  # it may not be the default one
        self._unique = uuid4().hex[:8]  # two runs may share a token, but no keys
        self._count = 0
        self._looked = 0.0
        self._company = _Company(client)
        self._gave_up = False

    def outcomes(self) -> Iterator[Outcome]:
        """Yield each block with its receipt or what went wrong."""
        shared = self._share_program()
        try:
            while self._waiting or self._pending:
                self._look()
                self._submit(shared)
                if self._is_so(self._finished.has_ready):
                    yield from self._outcomes_of(next(self._finished))
        finally:
            if self._is_connected():
                self._client.cancel(list(self._pending))

    def _share_program(self) -> Future:
        self._check_connected()
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GiB"}):
            key = f"program-{self._unique}"
            shared = self._client.submit(_same, self._program, key=key, pure=False)
        while not self._is_so(shared.done):  # workers may be killed while they start
            self._look()
        if shared.cancelled():
            raise _gone()
        # else the first blocks would queue up where the program is, beside idle workers
        with suppress(ValueError):  # of dask, when all workers are being started again
            self._client.replicate([shared])
        return shared

    def _submit(self, shared: Future) -> None:
        """Give blocks to lanes that have room."""
        while self._waiting and (lane := self._lanes.next(len(self._waiting))):
            self._check_connected()
            blocks = self._waiting.take(lane.seconds, self._lanes.limit)
            on_gpu = lane is self._lanes.gpu
            takers = frozenset(lane.places) if lane is self._lanes.cpu else frozenset[str]()
            self._count += 1
            future = self._client.submit(
                run_tasks,
                shared,
                blocks,
                on_gpu,
                key=f"{_task_name(self._program, blocks)}-{self._unique}-{self._count}",
                pure=False,
                resources={GPU: 1} if on_gpu else None,
                workers=sorted(takers) or None,
            )
            lane.give(len(blocks))
            self._pending[future] = _Task(blocks, lane, takers)
            self._finished.add(future)

    def _is_so(self, is_so: Callable[[], bool]) -> bool:
        """Wait until something is so, or until it is time to look at the workers again.

        What a lost scheduler knew of may never be finished.
        """
        while self._is_connected():
            if is_so():
                return True
            sleep(POLL)
            if monotonic() - self._looked > LOOK:
                return False
        raise _gone()

    def _check_connected(self) -> None:
        if not self._is_connected():
            raise _gone()

    def _is_connected(self) -> bool:
        return self._client.status in ("running", "connecting")

    def _outcomes_of(self, future: Future) -> Iterator[Outcome]:
        task = self._pending.pop(future, None)
        if task is None:
            return  # it was taken back
        task.lane.take(len(task.blocks))
        outcome = _outcome(future)
        self._company.was_of_use()  # even if workers died of this block: others may be finished
        if not isinstance(outcome, BaseException):
            task.lane.learn([receipt.seconds for receipt in outcome])
            yield from zip(task.blocks, outcome, strict=True)
        elif len(task.blocks) == 1:
            yield task.blocks[0], outcome
        else:
            self._waiting.take_back(task.blocks)

    def _look(self) -> None:
        """See which workers there are; take back what was given to those that are no more."""
        if self._looked and monotonic() - self._looked <= LOOK:
            return
        if self._client.status != "running":
            return  # asking would wait for a scheduler that may be gone
        with suppress(OSError):  # the connection is lost: the next wait tells
            workers = seen_workers(self._client)
            self._company.look(workers)
            are_expected = self._watch.expects(workers)
            self._lanes.update(workers, are_expected)
            if self._lanes.uses_gpus and self._watch.has_seen_some:
                self._tell_gone(not are_expected)
            self._take_back(workers)
        self._looked = monotonic()

    def _tell_gone(self, is_gone: bool) -> None:
        if is_gone and not self._gave_up:
            LOG.warning(
                "no GPU worker for %g s: the CPU workers take their blocks", self._watch.patience
            )
        self._gave_up = is_gone

    def _take_back(self, workers: Workers) -> None:
        is_given_up = self._lanes.gpu not in self._lanes.open
        lost = [
            future
            for future, task in self._pending.items()
            if not future.done()
            and (
                (task.lane is self._lanes.gpu and is_given_up)
                or (task.takers and not task.takers & workers.threads.keys())
            )
        ]
        for future in lost:
            task = self._pending.pop(future)
            task.lane.take(len(task.blocks))
            self._waiting.take_back(task.blocks)
        if lost:
            self._client.cancel(lost)


class _Company:
    """Whether there are workers who can go on; if not, the run is ended with the reason."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._alone_since: float | None = None
        self._is_told = False
        self._most = 1  # workers at once
        self._killed = 0  # for their memory, since the last look before which a task came to an end
        self._is_of_use = False
        self._last_kill: float | None = None  # before that, others may have been killed

    def look(self, workers: Workers) -> None:
        """Judge by the workers that there are now."""
        self._most = max(self._most, len(workers.threads))
        self._count_kills()
        if self._is_of_use:
            self._killed, self._is_of_use = 0, False
        if self._killed > KILLED_IN_VAIN * self._most:
            raise WorkersStarvedError(self._killed)
        if workers.threads:
            self._alone_since, self._is_told = None, False
            return
        if self._alone_since is None:  # the last look at some may have been long ago
            self._alone_since = monotonic()
        alone = monotonic() - self._alone_since
        if alone > LONGEST_ALONE:
            message = (
                f"there has been no worker for {LONGEST_ALONE:g} s; start some, and the same "
                "command continues"
            )
            raise RunError(message)
        if alone >= ALONE and not self._is_told:
            LOG.warning("there is no worker: waiting for one, for %g s at most", LONGEST_ALONE)
            self._is_told = True

    def was_of_use(self) -> None:
        """Note that a task came to an end."""
        self._is_of_use = True

    def _count_kills(self) -> None:
        stamps = [stamp for stamp, _ in self._client.get_events(KILLED)]
        if self._last_kill is not None:
            self._killed += sum(stamp > self._last_kill for stamp in stamps)
        self._last_kill = max(stamps, default=0.0)


class _Waiting:
    """The blocks that nobody has yet, given out in tasks of about `TASK_SECONDS`."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks, self._alone = deque(blocks), deque[Block]()

    def __len__(self) -> int:
        return len(self._alone) + len(self._blocks)

    def take(self, seconds: float, takers: int) -> list[Block]:
        """Return the blocks of the next task.

        Parameters
        ----------
        seconds : float
            That a block takes; NaN while this is not known.
        takers : int
            Tasks in flight. Toward the end tasks are smaller, so that all have work.
        """
        if self._alone:
            return [self._alone.popleft()]
        wanted = TASK_SECONDS / seconds if seconds > 0 else 1
        size = max(1, int(min(wanted, len(self._blocks) / takers)))
        return [self._blocks.popleft() for _ in range(size)]

    def take_back(self, blocks: Sequence[Block]) -> None:
        """Give these out again, one by one."""
        self._alone.extend(blocks)


def _outcome(future: Future) -> list[Receipt] | BaseException:
    try:
        receipts: list[Receipt] = future.result()
    except KilledWorker as error:
        return WorkersDiedError(error.allowed_failures + 1)
    except (Exception, CancelledError) as error:
        return error
    return receipts


def _gone() -> RunError:
    return RunError("the scheduler is gone; with another one the same command continues")


def _same(program: Program) -> Program:
    return program


def _task_name(program: Program, blocks: Sequence[Block]) -> str:
    """Return what the dashboard shows: steps, channels, slices."""
    work = program.work
    steps = program.chains[blocks[0][0]].steps[work.reads : work.end]
    names = "+".join(step.name for step in steps) or "read"
    shown = shown_names(program.source.channels, program.chains[0].source)
    channels = "+".join(dict.fromkeys(shown[channel] for channel, _ in blocks))
    first, last = (program.blocks[number] for _, number in (blocks[0], blocks[-1]))
    return f"{names}-{channels}-z{first.start}..{last.stop - 1}"
