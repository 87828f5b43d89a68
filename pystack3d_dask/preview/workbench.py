"""A few slices of a project at hand: through its chain in threads, with what fits are known.

Previews and sweeps look at stacks through this. A fit that no run has found is estimated, by
the same `summarize` and `finalize` that a run calls, from the slices that the step names in
`Step.estimate_slices`. What was computed is kept while there is room, so that looking again,
with other parameters of a later step, computes no more than these change.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from threading import Lock
from typing import Any, TypeVar

import numpy as np

from pystack3d_dask.cluster.cpus import default_threads
from pystack3d_dask.core.chain import Chain, Gather, Work, demands
from pystack3d_dask.core.spec import Region
from pystack3d_dask.core.stack_fit import fitted_in_rounds, stack_fit
from pystack3d_dask.core.step import Step
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.engine.block import Partials, Read, run_block
from pystack3d_dask.errors import ParameterError, Problem
from pystack3d_dask.project.known import FitsByChannel, known_fits
from pystack3d_dask.project.project import Project, borrowed_fits, handed_out

KEPT_BYTES = 2**30  # of slices that are kept for the next look
AT_ONCE = 8  # slices of a sample that are held at least
Item = TypeVar("Item")
Value = TypeVar("Value")
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Estimate:
    """From what a fit was estimated.

    Parameters
    ----------
    slices : int
        How many slices were looked at.
    of : int
        How many there are.
    """

    slices: int
    of: int

    def __str__(self) -> str:
        return f"estimated from {self.slices} of {self.of} slices"


@dataclass(frozen=True)
class Fitted:
    """The chains of all channels with the fits that a look needs.

    Parameters
    ----------
    chains : tuple of Chain
        One per channel.
    estimates : mapping
        By step name, those of the fits that are estimated.
    samples : mapping
        By step name, the slices they are estimated from.
    """

    chains: tuple[Chain, ...]
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    samples: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def key(self, level: int) -> Key:
        """Return which of the fits before a level are estimated, and from what."""
        before = {step.name for step in self.chains[0].steps[:level]}
        return tuple((name, self.samples[name]) for name in self.samples if name in before)


class Memory:
    """Fits and slices that were computed; the slices that were used least are forgotten first.

    Parameters
    ----------
    nbytes : int
        What the slices may take.
    """

    def __init__(self, nbytes: int = KEPT_BYTES) -> None:
        self.fits: dict[Key, Arrays] = {}
        self._limit, self._used = nbytes, 0
        self._images: OrderedDict[Key, Array] = OrderedDict()
        self._lock = Lock()
        self._under_way: dict[Key, Lock] = {}

    def get(self, key: Key) -> Array | None:
        """Return a slice that is kept."""
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
            return self._images.get(key)

    @contextmanager
    def alone(self, key: Key) -> Iterator[None]:
        """Wait until nobody else computes a slice."""
        with self._lock:
            own = self._under_way.setdefault(key, Lock())
        try:
            with own:
                yield
        finally:
            with self._lock:
                self._under_way.pop(key, None)

    def put(self, key: Key, image: Array) -> None:
        """Keep a slice."""
        with self._lock:
            if key not in self._images:
                self._used += image.nbytes
            self._images[key] = image
            while self._used > self._limit and len(self._images) > 1:
                self._used -= self._images.popitem(last=False)[1].nbytes


@dataclass(frozen=True)
class Workbench:
    """Some slices of a project at hand.

    Parameters
    ----------
    project : Project
        The project.
    base : int
        The level whose slices are kept in memory, 0 for those of the acquisition. Fits of
        the steps before it are those that runs have found, where they have.
    from_records : bool
        Whether that holds for the steps behind it too; else their fits are estimated.
    memory : Memory
        What has been computed, by this workbench and those that it is shared with.
    """

    project: Project
    base: int = 0
    from_records: bool = True
    memory: Memory = field(default_factory=Memory)

    @cached_property
    def _known(self) -> FitsByChannel:
        found = known_fits(self.project) if self.project.directory else {}
        trusted = self.project.steps[: None if self.from_records else self.base]
        return {step.name: found[step.name] for step in trusted if step.name in found}

    def fitted(self, shown: Sequence[int], end: int) -> Fitted:
        """Return the chains with the fits that slices of a level need.

        Parameters
        ----------
        shown : sequence of int
            Slices of level ``end``.
        end : int
            The level.
        """
        steps = self.project.steps
        names = [step.name for step in steps]
        fits = dict(self._known)
        found = Fitted(self.project.chains(fits))
        for name in [name for step in steps[:end] for name in step.needs]:
            if name in fits:
                continue
            index = names.index(name)
            sample = _sample(found.chains[0], index, shown, end)
            fits[name] = self._estimated(found, index, sample)
            estimate = Estimate(len(sample), found.chains[0].levels[index].shape[0])
            found = Fitted(
                self.project.chains(fits),
                {**found.estimates, name: estimate},
                {**found.samples, name: sample},
            )
        return found

    def images(
        self, fitted: Fitted, end: int, regions: Sequence[Region]
    ) -> list[tuple[Array, ...]]:
        """Return parts of slices of a level, for each region one image per channel.

        Parameters
        ----------
        fitted : Fitted
            What `fitted` returned for these slices.
        end : int
            The level.
        regions : sequence of Region
            Of one slice each.

        Returns
        -------
        list of tuple of ndarray, each of shape (rows, columns)
            In the type of the level, float32 behind corrections.
        """
        count = len(fitted.chains)
        jobs = [(channel, region) for region in regions for channel in range(count)]
        flat = self._computed(fitted, end, jobs)
        return [tuple(flat[k : k + count]) for k in range(0, len(flat), count)]

    def image(self, fitted: Fitted, end: int, channel: int, region: Region) -> Array:
        """Return part of one slice of a level, of one channel; see `images`."""
        return self._computed(fitted, end, [(channel, region)])[0]

    def moved(self, fitted: Fitted, end: int, region: Region) -> tuple[Array, ...] | None:
        """Return part of a slice of a level as if steps had done no more than move it.

        Parameters
        ----------
        fitted : Fitted
            What `fitted` returned for this slice.
        end : int
            The level.
        region : Region
            Of one slice.

        Returns
        -------
        tuple of ndarray, each of shape (rows, columns), optional
            One image per channel. None where nothing is moved, or by a step that also
            changes gray levels.
        """
        whole = fitted.chains[0]
        steps = tuple(step for step in whole.steps[:end] if step.only_moves)
        chains = tuple(replace(chain, steps=steps) for chain in fitted.chains)
        there, wanted = chains[0].levels[-1], whole.levels[end]
        is_same_place = (there.shape, there.origin) == (wanted.shape, wanted.origin)
        if all(step.keeps_values for step in steps) or not is_same_place:
            return None
        (images,) = replace(self, base=0).images(Fitted(chains), len(steps), [region])
        return images

    def _computed(
        self, fitted: Fitted, end: int, jobs: Sequence[tuple[int, Region]]
    ) -> list[Array]:
        """Return parts of slices of a level, each of a channel."""
        base = max(min(self.base, end), _fan_in(fitted.chains[0], end, jobs[0][1]))
        work = Work(reads=base, end=end, from_source=False, stores=(end,))
        reads = self._reads(fitted, work, jobs)

        def computed(job: tuple[int, Region]) -> Array:
            channel, region = job
            return _one(fitted.chains[channel], work, region, reads[job])

        return in_threads(computed, jobs)

    def _estimated(self, fitted: Fitted, index: int, sample: tuple[int, ...]) -> list[Arrays]:
        """Return the fit of a step from some slices of the level before it, by channel."""
        project, step = self.project, self.project.steps[index]
        names, token = project.source.channels, project.tokens.fit(index)
        found = {}
        for channel in range(len(names)):
            if step.name not in borrowed_fits(project.steps, names, channel):
                key = (token, channel, sample, fitted.key(index))
                if key not in self.memory.fits:
                    self.memory.fits[key] = self._fit(fitted, channel, index, sample)
                found[channel] = self.memory.fits[key]
        return handed_out(found, len(names))

    def _fit(self, fitted: Fitted, channel: int, index: int, sample: tuple[int, ...]) -> Arrays:
        chain, base = fitted.chains[channel], min(self.base, index)
        step, spec = stack_fit(chain.steps[index]), chain.levels[index]
        jobs = [(channel, spec.region.with_z(z, z + 1)) for z in sample]

        def look(number: int, before: Arrays | None) -> dict[int, Arrays]:
            gathers = (Gather(index, number),)
            work = Work(reads=base, end=index, from_source=False, gathers=gathers)
            partials = {} if before is None else {step.name: before}
            found: dict[int, Arrays] = {}
            for first in range(0, len(jobs), AT_ONCE):
                some = jobs[first : first + AT_ONCE]
                reads = self._reads(fitted, work, some)
                for each in in_threads(partial(_summaries, chain, work, reads, partials), some):
                    found |= each
            return dict(sorted(found.items()))

        return fitted_in_rounds(step, spec, look)

    def _reads(
        self, fitted: Fitted, work: Work, jobs: Sequence[tuple[int, Region]]
    ) -> dict[tuple[int, Region], Read]:
        """Return, for each job, what reads the level at hand; its slices are there by then."""
        level = work.reads
        needed = {
            (channel, region): demands(fitted.chains[channel], work, region)[level].region
            for channel, region in jobs
        }
        slices = dict.fromkeys(
            (channel, region.with_z(z, z + 1))
            for (channel, _), region in needed.items()
            for z in region.z
        )
        at_hand = partial(self._slice, fitted, level)
        images = dict(zip(slices, in_threads(at_hand, list(slices)), strict=True))
        return {
            (channel, region): partial(
                _read,
                {z: images[channel, frame.with_z(z, z + 1)] for z in frame.z},
                frame,
            )
            for (channel, region), frame in needed.items()
        }

    def _slice(self, fitted: Fitted, level: int, job: tuple[int, Region]) -> Array:
        """Return a slice, or part of it, of the level at hand or another one."""
        channel, region = job
        chain = fitted.chains[channel]
        if level > self.base:
            work = Work(reads=self.base, end=level, from_source=False, stores=(level,))
            return _one(chain, work, region, self._reads(fitted, work, [job])[job])
        key = (self.project.tokens.levels[level], fitted.key(level), channel, region)
        with self.memory.alone(key):
            image = self.memory.get(key)
            if image is None:
                work = Work(reads=0, end=level, stores=(level,))
                image = _one(chain, work, region, partial(self.project.source.read, channel))
                self.memory.put(key, image)
        return image


def level_after(steps: Sequence[Step], step: str | None) -> int:
    """Return the level that a step leaves, the last one without a name.

    Raises
    ------
    ParameterError
        When there is no such step.
    """
    names = [each.name for each in steps]
    if step is None:
        return len(names)
    if step not in names:
        expected = ", ".join(names) or "nothing: process_steps is empty"
        raise ParameterError([Problem("step", f"one of {expected} expected, found {step!r}")])
    return names.index(step) + 1


def _sample(chain: Chain, index: int, shown: Sequence[int], end: int) -> tuple[int, ...]:
    """Return the slices of the level before a step that its fit is estimated from."""
    out = chain.levels[end].region
    needed = {k for z in shown for k in chain.pulled(out.with_z(z, z + 1), end, index).z}
    step = stack_fit(chain.steps[index])
    return tuple(sorted(step.estimate_slices(needed, chain.levels[index])))


def _fan_in(chain: Chain, end: int, region: Region) -> int:
    """Return the last level of which one slice needs several, to be computed side by side."""
    needed = demands(chain, Work(reads=0, end=end, stores=(end,)), region)
    return max((level for level in needed if needed[level].region.shape[0] > 1), default=0)


def _read(images: Mapping[int, Array], frame: Region, region: Region) -> Array:
    _, rows, columns = region.relative_to(frame).slices
    return np.stack([images[z][rows, columns] for z in region.z])


def _one(chain: Chain, work: Work, region: Region, read: Read) -> Array:
    """Return what a pass makes of one slice."""
    images: list[Array] = []
    run_block(
        chain, work, region, read, lambda level, z, image: images.append(image), measures=False
    )
    return images[0]


def _summaries(
    chain: Chain,
    work: Work,
    reads: Mapping[tuple[int, Region], Read],
    partials: Partials,
    job: tuple[int, Region],
) -> dict[int, Arrays]:
    report = run_block(chain, work, job[1], reads[job], _discard, partials)
    return report.summaries[chain.steps[work.end].name]


def _discard(level: int, z: int, image: Array) -> None:
    """Receive slices where only summaries are wanted."""


def in_threads(function: Callable[[Item], Value], items: Iterable[Item]) -> list[Value]:
    """Return what a function makes of each item, with as many threads as there are cores."""
    with ThreadPoolExecutor(default_threads()) as pool:
        return list(pool.map(function, items))
