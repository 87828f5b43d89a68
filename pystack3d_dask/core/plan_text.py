"""A plan in words, for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pystack3d_dask.core.formatting import counted, duration, extent, in_units

START_UP = (5.0, 40.0)  # seconds until all is imported and compiled: warm files, and a slow disk

if TYPE_CHECKING:
    from pystack3d_dask.core.planner import Pass, Plan


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
        f"{channels}: {extent(chain.levels[0])} {chain.levels[0].dtype} -> "
        f"{bound}{extent(chain.levels[-1])} {chain.result_dtype}\nsteps   {steps}"
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
