"""Steps in a row, and which region of every level between them a block needs.

*Level* 0 is the source, level i what comes out of the i-th step, the last level the
result. Everything here is arithmetic on shapes and indices: the planner counts with it,
the block runner and the lazy face compute by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from pystack3d_dask.core.spec import AXES, EMPTY, Region, StackSpec
from pystack3d_dask.core.stack_fit import stack_fit
from pystack3d_dask.core.step import Fits, Step
from pystack3d_dask.core.typing import Arrays

NEAR_MIDDLE = 8  # slices looked at: of those that resampling makes, some are copies of one


@dataclass(frozen=True)
class Chain:
    """The steps as one channel sees them.

    Parameters
    ----------
    steps : tuple of Step
        In the order of execution.
    source : StackSpec
        Level 0.
    fits : mapping
        The stack-wide fits that are known, by step name.
    borrowed : frozenset of str
        Steps whose fit is made on another channel.
    fill : tuple of float
        Gray levels that padding has: see `padding_level`.
    """

    steps: tuple[Step, ...]
    source: StackSpec
    fits: Fits = field(default_factory=dict)
    borrowed: frozenset[str] = frozenset()
    fill: tuple[float, ...] = ()

    @property
    def levels(self) -> tuple[StackSpec, ...]:
        """Spec of each level, ``len(steps) + 1`` of them."""
        return self._walk[0]

    @property
    def result_dtype(self) -> np.dtype[Any]:
        """Type in which the last level is stored: that of the acquisition."""
        return self.source.source_dtype

    @cached_property
    def looks_for_fill(self) -> int | None:
        """The level on which padding is looked for, in whole slices; None without ``fill``."""
        return padding_level(self.steps) if self.fill else None

    def fitted(self, index: int) -> Arrays | None:
        """Return what step ``index`` works with beside pixels, None while it is not known."""
        return self._walk[1][index]

    @cached_property
    def _walk(self) -> tuple[tuple[StackSpec, ...], tuple[Arrays | None, ...]]:
        levels: list[StackSpec] = [self.source]
        fitted: list[Arrays | None] = []
        for index, step in enumerate(self.steps):
            if index == self.looks_for_fill:
                levels[-1] = replace(levels[-1], fill=self.fill)
            found = None
            if self.is_applicable(index):
                found = step.prepare(self.fits, levels[-1]) or None
            fitted.append(found)
            out = step.output_spec(levels[-1], found)
            levels.append(replace(out, fill=self.fill).marked() if levels[-1].fill else out)
        return tuple(levels), tuple(fitted)

    def is_applicable(self, index: int) -> bool:
        """Whether all fits that step ``index`` needs are known."""
        return all(name in self.fits for name in self.steps[index].needs)

    def step_source(self, index: int, out: Region) -> Region:
        """Return the region of level ``index`` that step ``index`` needs for ``out``."""
        step, spec = self.steps[index], self.levels[index]
        region = step.source(out, spec, self.fitted(index))
        return _whole_axes(region, step.whole, spec) if region.size else EMPTY

    def pulled(self, out: Region, end: int, start: int) -> Region:
        """Return the region of level ``start`` that ``out``, on level ``end``, needs."""
        for index in reversed(range(start, end)):
            out = self.computed(index, self.step_source(index, out) if out.size else EMPTY)
        return out

    def computed(self, level: int, region: Region) -> Region:
        """Return the region of a level to compute: whole slices where padding is looked for."""
        is_whole = level == self.looks_for_fill and region.size
        return _whole_axes(region, ("y", "x"), self.levels[level]) if is_whole else region

    def owned(self, slices: range, end: int, level: int) -> range:
        """Return the slices of ``level`` that belong to ``slices`` of level ``end``.

        Blocks that partition level ``end`` partition every level above it, so that each
        slice is measured, summarized and stored by exactly one block.
        """
        return range(
            self._boundary(slices.start, end, level), self._boundary(slices.stop, end, level)
        )

    def own(self, work: Work) -> Work:
        """Return the pass without the fits that are made on another channel."""
        mine = (g for g in work.gathers if self.steps[g.index].name not in self.borrowed)
        return replace(work, gathers=tuple(mine))

    def is_gpu_work(self, work: Work) -> bool:
        """Whether a pass has heavy work that a GPU can do."""
        steps = self.steps[work.reads : work.end]
        return any(step.cost == "heavy" and "gpu" in step.devices for step in steps)

    def label(self, work: Work) -> str:
        """Return a few words for a pass: the steps applied, or what is fitted."""
        words = [step.name for step in self.steps[work.reads : work.end]]
        words += [f"fit of {self.steps[gather.index].name}" for gather in work.gathers]
        return ", ".join(words) or "reading"

    def with_fits(self, fits: Fits) -> Chain:
        """Return the chain that knows these fits too."""
        return replace(self, fits={**self.fits, **fits})

    def _boundary(self, z: int, end: int, level: int) -> int:
        for index in reversed(range(level, end)):
            spec, out = self.levels[index], self.levels[index + 1]
            if z >= out.shape[0]:
                z = spec.shape[0]
            elif z > 0 and not self.steps[index].keeps_slices:
                z = self.step_source(index, out.region.with_z(z, z + 1)).start[0]
        return z


@dataclass(frozen=True)
class Gather:
    """The summaries of one fit, collected on the level before its step."""

    index: int
    round: int = 0


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one pass does: from which level to which, what it stores and gathers.

    Parameters
    ----------
    reads, end : int
        Level that is read, and the deepest one that is computed.
    from_source : bool
        Whether it reads the source itself, not a stored level.
    stores : tuple of int
        Levels that are stored.
    gathers : tuple of Gather
        Fits whose summaries ride along.
    finishes : bool
        Whether its last level is the result, and leaves in the type of the acquisition.
    """

    reads: int
    end: int
    from_source: bool = True
    stores: tuple[int, ...] = ()
    gathers: tuple[Gather, ...] = ()
    finishes: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to store and nothing to gather."""
        return not self.stores and not self.gathers


@dataclass(frozen=True)
class Demand:
    """What a block needs of one level: the slices it owns, and the region to compute."""

    owned: range
    region: Region


def demands(chain: Chain, work: Work, block: Region) -> dict[int, Demand]:
    """Return what a block needs of every level that its pass goes through.

    Parameters
    ----------
    chain : Chain
        The steps.
    work : Work
        The pass.
    block : Region
        The part of level ``work.end`` that the block owns: usually whole slices.

    Returns
    -------
    dict
        By level, from ``work.reads`` to ``work.end``. A level of which nothing is needed
        has an empty region.
    """
    needed: dict[int, Demand] = {}
    below = EMPTY
    for level in reversed(range(work.reads, work.end + 1)):
        spec = chain.levels[level]
        owned = chain.owned(block.z, work.end, level)
        frame = block if level == work.end else spec.region
        mine = frame.with_z(owned.start, owned.stop)
        region = chain.step_source(level, below) if below.size else EMPTY
        if level in work.stores:
            region = region.joined(mine)
        for gather in work.gathers:
            if gather.index == level:
                region = region.joined(stack_fit(chain.steps[level]).summary_source(mine, spec))
        below = chain.computed(level, region)
        needed[level] = Demand(owned, below)
    return needed


def padding_level(steps: Sequence[Step]) -> int | None:
    """Return the level on which padding is looked for: what the croppings at the start leave.

    Returns
    -------
    int, optional
        None where there are no steps but croppings, which need not know.
    """
    only_crop = (each.keeps_values and each.only_moves and not each.fit_scope for each in steps)
    return next((level for level, is_crop in enumerate(only_crop) if not is_crop), None)


def slabs(count: int, thickness: int) -> tuple[range, ...]:
    """Return ``count`` slices cut into slabs of ``thickness``, the last may be thinner."""
    return tuple(
        range(start, min(start + thickness, count)) for start in range(0, count, thickness)
    )


def halo_depth(chain: Chain, work: Work) -> int:
    """Return how many input slices beyond one the deepest step of a pass needs at once."""
    return max([0, *(_depth(chain, index) - 1 for index in range(work.reads, work.end))])


def overlap(chain: Chain, index: int) -> int:
    """Return how many slices beyond its own step ``index`` needs, for its fit or its pixels."""
    step, spec = chain.steps[index], chain.levels[index]
    depth = _depth(chain, index)
    if step.fit_scope == "stack":
        middle = spec.shape[0] // 2
        own = spec.region.with_z(middle, middle + 1)
        depth = max(depth, stack_fit(step).summary_source(own, spec).shape[0])
    return max(depth - 1, 0)


def _depth(chain: Chain, index: int) -> int:
    """Return how many slices step ``index`` needs for one."""
    out = chain.levels[index + 1]
    first = max(out.shape[0] // 2 - NEAR_MIDDLE // 2, 0)
    some = range(first, min(first + NEAR_MIDDLE, out.shape[0]))
    regions = (chain.step_source(index, out.region.with_z(z, z + 1)) for z in some)
    return max((region.shape[0] for region in regions), default=0)


def source_slice(chain: Chain, end: int, region: Region) -> Region:
    """Return the part of the acquisition that a region of a level shows."""
    first, last, z = chain.source, chain.levels[end], region.start[0]
    for index in reversed(range(end)):
        if not chain.steps[index].keeps_slices:
            one = chain.levels[index + 1].region.with_z(z, z + 1)
            z = _nearest(chain.step_source(index, one).z, chain.levels[index].z, last.z, region)
    shift = [a - b for a, b in zip(last.origin, first.origin, strict=True)]
    return region.shifted((0, *shift)).with_z(z, z + 1)


def _whole_axes(region: Region, whole: Sequence[str], spec: StackSpec) -> Region:
    start, stop = list(region.start), list(region.stop)
    for axis in whole:
        index = AXES.index(axis)
        start[index], stop[index] = 0, spec.shape[index]
    return Region((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _nearest(
    candidates: range,
    z: tuple[float, ...] | None,
    wanted: tuple[float, ...] | None,
    region: Region,
) -> int:
    """Return the slice that is nearest to the one shown, the first if positions are not known."""
    if not z or not wanted:
        return candidates[0]
    return min(candidates, key=lambda k: abs(z[k] - wanted[region.start[0]]))
