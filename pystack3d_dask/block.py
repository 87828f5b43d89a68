"""One pass on one block: slices stream through the steps in a rolling window.

Arrays come in through ``read`` and go out through ``emit``; there is no other input or
output here, and no scheduling. The engine and the lazy face both run this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from pystack3d_dask.backend import NoRoomError, Send, namespace, to_host
from pystack3d_dask.chain import Chain, Gather, Work, demands, halo_depth
from pystack3d_dask.errors import StackError
from pystack3d_dask.spec import Array, Arrays, Region
from pystack3d_dask.values import cast_level, cast_measured, repair

LOG = logging.getLogger("pystack3d_dask")
Result = TypeVar("Result")
Read = Callable[[Region], Array]
Emit = Callable[[int, int, Array], None]
Place = Callable[[Callable[[Send], Any]], Any]
Partials = dict[str, Arrays]


@dataclass
class BlockReport:
    """What a block found out beside its pixels.

    Parameters
    ----------
    figures : dict
        By level and slice: ``raw`` and ``cast``, the statistics before and after casting,
        ``bad_pixels`` on level 0, and the figures of the step that made the level.
    summaries : dict
        By step name and slice: what the step's `summarise` returned.
    """

    figures: dict[int, dict[int, Arrays]] = field(default_factory=dict)
    summaries: dict[str, dict[int, Arrays]] = field(default_factory=dict)


def run_block(
    chain: Chain,
    work: Work,
    block: Region,
    read: Read,
    emit: Emit,
    partials: Partials | None = None,
    place: Place | None = None,
) -> BlockReport:
    """Run one pass on one block.

    Parameters
    ----------
    chain : Chain
        The steps, with every fit that they need.
    work : Work
        The pass.
    block : Region
        The part of level ``work.end`` that the block owns: usually whole slices.
    read : callable
        ``read(region)`` returns the pixels of a region of level ``work.reads``.
    emit : callable
        ``emit(level, z, image)`` receives each stored slice, once and in order per
        level; the last level comes in the type of the result. The image may be read-only.
    partials : dict, optional
        Partial fits of earlier rounds, by step name.
    place : callable, optional
        ``place(compute)`` has steps that can run on a GPU compute there, see
        `pystack3d_dask.backend.compute_on_gpu`. What they return stays there until a step that
        cannot, a fit or ``emit`` needs it. Where there is no room for several slices at once
        they are halved, and where there is none for one, it is computed on the CPU.

    Returns
    -------
    BlockReport
    """
    stream = _Stream(chain, work, block, read, place)
    report = BlockReport(summaries={chain.steps[g.index].name: {} for g in work.gathers})
    batch = max(1, halo_depth(chain, work))
    start, stop = block.z.start, block.z.stop
    for first in range(start, stop, batch):
        part = block.with_z(first, min(first + batch, stop))
        wanted = demands(chain, work, part)
        for level in work.stores:
            frame = block if level == work.end else chain.levels[level].region
            _emit(stream, level, frame, wanted[level].owned, emit)
        for gather in work.gathers:
            found = _summarise(stream, gather, wanted[gather.index].owned, partials or {})
            report.summaries[chain.steps[gather.index].name].update(found)
        stream.forget(block.with_z(part.z.stop, stop))
    if work.stores:
        report.figures = stream.figures
    return report


def _emit(stream: _Stream, level: int, frame: Region, slices: range, emit: Emit) -> None:
    chain = stream.chain
    spec = chain.levels[level]
    is_result = stream.work.finishes and level == stream.work.end
    for z in slices:
        image = stream.take(level, frame.with_z(z, z + 1))[0]
        if is_result and spec.dtype != chain.result_dtype:
            image, _, measured = stream.where_it_is(
                image, partial(cast_measured, dtype=chain.result_dtype, precision=spec.precision)
            )
            stream.figures[level][z]["cast"] = measured
        emit(level, z, to_host(image))


def _summarise(
    stream: _Stream, gather: Gather, slices: range, partials: Partials
) -> dict[int, Arrays]:
    step, spec = stream.chain.steps[gather.index], stream.chain.levels[gather.index]
    found: dict[int, Arrays] = {}
    for z in slices:
        out = spec.region.with_z(z, z + 1)
        source = step.summary_source(out, spec)
        if source.size:
            block = to_host(stream.take(gather.index, source))
            found |= step.summarise(block, source, out, spec, partials.get(step.name))
    return found


class _Stream:
    """The rolling windows of one block: computes slices when asked, keeps those still needed."""

    def __init__(
        self, chain: Chain, work: Work, block: Region, read: Read, place: Place | None
    ) -> None:
        self.chain = chain
        self.work = work
        self._place = place
        self.figures: dict[int, dict[int, Arrays]] = {}
        self._read = read
        self._block = demands(chain, work, block)
        self._windows: dict[int, dict[int, Array]] = {level: {} for level in self._block}
        first = work.reads if work.from_source else work.reads + 1
        self._measured = range(first, max(work.stores, default=-1) + 1)

    def take(self, level: int, region: Region) -> Array:
        """Return a region of a level, computing the slices that are not there yet."""
        window = self._windows[level]
        missing = [z for z in region.z if z not in window]
        if missing:
            self._compute(level, range(missing[0], missing[-1] + 1))
        frame = self._block[level].region
        _, rows, columns = region.relative_to(frame).slices
        images = [window[z][rows, columns] for z in region.z]
        if len(images) == 1:
            return images[0][np.newaxis]
        kinds = {namespace(image) for image in images}
        if len(kinds) > 1:  # the GPU had no room for some
            images = [to_host(image) for image in images]
        stacked: Array = namespace(images[0]).stack(images)
        return stacked

    def where_it_is(self, image: Any, compute: Callable[[Any], Result]) -> Result:
        """Compute from an image on the GPU, if it is there and that has room for it."""
        if self._place is None or namespace(image) is np:
            return compute(image)
        try:
            found: Result = self._place(lambda send: compute(send(image)))
        except NoRoomError as error:
            _tell(f"a slice of {image.shape}", error)
            return compute(to_host(image))
        return found

    def forget(self, rest: Region) -> None:
        """Drop the slices that the ``rest`` of the block does not need."""
        wanted = demands(self.chain, self.work, rest) if rest.size else {}
        for level, window in self._windows.items():
            region = wanted[level].region if level in wanted else None
            for z in [z for z in window if region is None or z < region.start[0]]:
                del window[z]

    def _compute(self, level: int, slices: range) -> None:
        out = self._block[level].region.with_z(slices.start, slices.stop)
        if level == self.work.reads:
            self._keep(level, slices, *self._input(out))
            return
        step = self.chain.steps[level - 1]
        apply = partial(self._apply, level, out)
        if self._place is None or "gpu" not in step.devices:
            apply(to_host)
            return
        try:
            self._place(apply)
        except NoRoomError as error:
            if half := len(slices) // 2:
                self._compute(level, slices[:half])
                self._compute(level, slices[half:])
            else:
                _tell(f"{step.name} of slice {slices.start}", error)
                apply(to_host)

    def _input(self, region: Region) -> tuple[Array, Arrays]:
        values = self._read(region)
        if values.dtype.kind != "f" or not self.work.from_source:
            return values, {}
        repaired = [repair(image) for image in values]
        counts = np.array([count for _, count in repaired])
        if counts.any():
            values = np.stack([image for image, _ in repaired])
        return values, {"bad_pixels": counts}

    def _apply(self, level: int, out: Region, send: Send) -> None:
        """Compute slices of a level where ``send`` sends their input."""
        index = level - 1
        source = self.chain.step_source(index, out)
        block = send(self.take(index, source))
        if isinstance(block, np.ndarray):
            block = block.view()
            block.flags.writeable = False
        step, spec = self.chain.steps[index], self.chain.levels[index]
        values, figures = step.apply(block, source, out, spec, self.chain.fitted(index))
        if values.shape != out.shape:
            message = f"{step.name} gave {values.shape} voxels where {out.shape} were asked for"
            raise StackError(message)
        self._keep(level, out.z, values, figures)

    def _keep(self, level: int, slices: range, values: Array, figures: Arrays) -> None:
        spec = self.chain.levels[level]
        for offset, z in enumerate(slices):
            raw = values[offset]
            if level in self._measured and z in self._block[level].owned:
                own = {name: array[offset] for name, array in figures.items()}
                image, own["raw"], own["cast"] = cast_measured(raw, spec.dtype, spec.precision)
                self.figures.setdefault(level, {})[z] = own
            else:
                image = cast_level(raw, spec)
            self._windows[level][z] = image


def _tell(what: str, error: NoRoomError) -> None:
    LOG.warning("%s: computed on the CPU, for the GPU has no room for it: %s", what, error)
