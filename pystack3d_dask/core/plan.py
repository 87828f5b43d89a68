"""Plans: passes over the stack, what they need, and as text and HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pystack3d_dask.core.cards import Share, card, pairs, table
from pystack3d_dask.core.chain import Chain, Work
from pystack3d_dask.core.formatting import counted, duration, extent, in_units

MIB = 2**20
WORKER_BASE = 225 * MIB  # a worker process with everything imported, before its first block
START_UP = (5.0, 40.0)  # seconds until all is imported and compiled: warm files, and a slow disk


@dataclass(frozen=True, kw_only=True)
class Known:
    """Stored state of earlier runs that is still valid.

    Parameters
    ----------
    stored : frozenset of int
        Levels that are on disk, complete.
    fits : frozenset of str
        Steps whose stack-wide fits are known.
    rounds : mapping of str to int
        Rounds that are done of fits that take several.
    slab : int, optional
        Slices per block of the result, where one was begun.
    """

    stored: frozenset[int] = frozenset()
    fits: frozenset[str] = frozenset()
    rounds: Mapping[str, int] = field(default_factory=dict)
    slab: int | None = None


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One task per block over the whole stack.

    Parameters
    ----------
    work : Work
        Levels read, computed, stored; fits gathered.
    slab : int
        Slices per block, counted on level ``work.end``.
    blocks : tuple of range
        The slices of each block.
    channels : tuple of int
        The channels that take part; there is a task for each block of each of them.
    is_bound : bool
        True when a fit of an earlier pass may make it smaller.
    is_gpu_work : bool
        Whether it has heavy work that a GPU can do.
    bytes_read, bytes_written : int
        Pixels, before compression, over all channels.
    bytes_on_disk : int
        What the stored levels take, the coarser copies of the result included.
    memory : int
        Largest resident size of a worker that runs one block at a time.
    seconds : float
        Rough time on one core.
    """

    work: Work
    slab: int
    blocks: tuple[range, ...]
    channels: tuple[int, ...]
    is_bound: bool
    is_gpu_work: bool
    bytes_read: int
    bytes_written: int
    bytes_on_disk: int
    memory: int
    seconds: float

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.blocks) * len(self.channels)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The passes that are left to do.

    Parameters
    ----------
    chains : tuple of Chain
        One per channel.
    channels : tuple of str
        Their names.
    passes : tuple of Pass
        In order; empty when the result is there.
    """

    chains: tuple[Chain, ...]
    channels: tuple[str, ...]
    passes: tuple[Pass, ...]

    @property
    def reads(self) -> int:
        """Number of times that the stack is read, ingestion included."""
        return sum(1 for item in self.passes if item.bytes_read)

    @property
    def writes(self) -> int:
        """Number of times that the stack is written, ingestion included."""
        return sum(len(item.work.stores) for item in self.passes)

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return sum(item.tasks for item in self.passes)

    @property
    def memory(self) -> int:
        """Largest resident size of a worker."""
        return max((item.memory for item in self.passes), default=0)

    def memory_of(self, threads: int) -> int:
        """Return the largest resident size of a worker that runs as many blocks at once."""
        return WORKER_BASE + threads * (self.memory - WORKER_BASE) if self.passes else 0

    @property
    def peak_disk(self) -> int:
        """Bytes that all stored levels take, before compression, coarser copies included."""
        return sum(item.bytes_on_disk for item in self.passes)

    @property
    def seconds(self) -> float:
        """Rough time on one core."""
        return sum(item.seconds for item in self.passes)

    def __str__(self) -> str:
        return describe(self)

    def _repr_html_(self) -> str:
        return plan_card(self)


def describe(
    plan: Plan,
    where: Callable[[bool], str] | None = None,
    done: Callable[[Pass], int] | None = None,
) -> str:
    """Return a plan in words.

    Parameters
    ----------
    plan : Plan
        The plan.
    where : callable, optional
        Tells of a pass that has, or has not, work for GPUs where it runs, if there is something
        to say: see `pystack3d_dask.engine.placement.whereabouts`.
    done : callable, optional
        Tells how many tasks of a pass are done, by a run that was interrupted.
    """
    lines = [_headline(plan)]
    for number, item in enumerate(plan.passes, start=1):
        lines.append(f"pass {number}  {sentence(plan, item)}")
        bound = "<= " if item.is_bound else ""
        lines.append(
            f"        {counted(item.tasks, 'task')} of up to {counted(item.slab, 'slice')}, "
            f"reads {bound}{in_units(item.bytes_read)}, "
            f"writes {bound}{in_units(item.bytes_written)}, "
            f"{in_units(item.memory)} per worker"
        )
        if where is not None and (place := where(item.is_gpu_work)):
            lines.append(f"        runs {place}")
        if done is not None and (finished := done(item)):
            lines.append(f"        goes on where a run ended: {finished} of these are done")
    if not plan.passes:
        lines.append("nothing to do: the result is complete")
        return "\n".join(lines)
    lines.append(
        f"in all  {counted(plan.reads, 'read')} and {counted(plan.writes, 'write')} of the stack, "
        f"{counted(plan.tasks, 'task')}, at most {in_units(plan.memory)} per worker, "
        f"{in_units(plan.peak_disk)} of disk before compression"
    )
    lines.append(
        f"        about {duration(plan.seconds)} on one core (from each step's typical time per "
        "pixel, not measured here)"
    )
    low, high = (duration(plan.seconds + seconds) for seconds in START_UP)
    lines.append(f"        {low} to {high} with the start of workers")
    return "\n".join(lines)


def _headline(plan: Plan) -> str:
    chain = plan.chains[0]
    channels = f"{counted(len(plan.channels), 'channel')} ({', '.join(plan.channels)})"
    steps = ", ".join(step.name for step in chain.steps) or "no steps"
    bound = "<= " if chain.levels[-1].is_bound else ""
    return (
        f"{channels}: {extent(chain.levels[0].shape)} {chain.levels[0].dtype} -> "
        f"{bound}{extent(chain.levels[-1].shape)} {chain.result_dtype}\nsteps   {steps}"
    )


def sentence(plan: Plan, item: Pass) -> str:
    """Return what a pass does, in words."""
    work, steps = item.work, plan.chains[0].steps
    source = "the source" if work.from_source else _level_name(plan, work.reads)
    parts = [f"reads {source}"]
    if work.end > work.reads:
        parts.append("applies " + ", ".join(step.name for step in steps[work.reads : work.end]))
    if work.gathers:
        parts.append("fits " + ", ".join(steps[gather.index].name for gather in work.gathers))
    if work.stores:
        parts.append("stores " + ", ".join(_level_name(plan, level) for level in work.stores))
    return "; ".join(parts)


def _level_name(plan: Plan, level: int) -> str:
    if level == len(plan.chains[0].steps):
        return "the result"
    return (
        "the ingested source"
        if level == 0
        else f"what {plan.chains[0].steps[level - 1].name} leaves"
    )


def plan_card(plan: Plan) -> str:
    """Return what is left to do, pass by pass."""
    if not plan.passes:
        return card("Plan", "<p>Nothing to do: the result is complete.</p>")
    facts = {
        "slices": f"{extent(plan.chains[0].levels[0].shape)} pixels, to "
        f"{_bound(plan.chains[0].levels[-1].is_bound)}{extent(plan.chains[0].levels[-1].shape)}",
        "the stack is": f"read {plan.reads} times, written {plan.writes} times",
        "memory": f"{in_units(plan.memory)} for each worker at most",
        "disk": f"{in_units(plan.peak_disk)} before compression",
        "time": f"about {duration(plan.seconds)} on one core",
    }
    longest = max(item.seconds for item in plan.passes)
    rows: list[list[str | Share]] = [
        [
            str(number),
            sentence(plan, item),
            f"{item.tasks:,}",
            _bound(item.is_bound) + in_units(item.bytes_read),
            _bound(item.is_bound) + in_units(item.bytes_written),
            Share(item.seconds / longest, f"about {duration(item.seconds)} on one core"),
        ]
        for number, item in enumerate(plan.passes, start=1)
    ]
    head = ["pass", "", "tasks", "reads", "writes", "share of the time"]
    return card("Plan", pairs(facts) + table(head, rows))


def _bound(is_bound: bool) -> str:
    return "<= " if is_bound else ""
