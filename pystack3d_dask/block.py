"""One pass on one block: slices stream through the steps in a rolling window.

Arrays come in through ``read`` and go out through ``emit``; there is no other input or
output here, and no scheduling. The engine and the lazy face both run this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pystack3d_dask.backend import to_host
from pystack3d_dask.chain import Chain, Gather, Work, demands, halo_depth
from pystack3d_dask.errors import StackError
from pystack3d_dask.spec import Array, Arrays, Region
from pystack3d_dask.values import cast_level, cast_measured, repair

Read = Callable[[Region], Array]
Emit = Callable[[int, int, Array], None]
Compute = Callable[[Any], tuple[Array, Arrays]]
Place = Callable[[Compute, Array], tuple[Array, Arrays]]
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
        ``place(compute, pixels)`` computes steps that can run on a GPU there.

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
            image, _, measured = cast_measured(image, chain.result_dtype, spec.precision)
            stream.figures[level][z]["cast"] = measured
        emit(level, z, image)


def _summarise(
    stream: _Stream, gather: Gather, slices: range, partials: Partials
) -> dict[int, Arrays]:
    step, spec = stream.chain.steps[gather.index], stream.chain.levels[gather.index]
    found: dict[int, Arrays] = {}
    for z in slices:
        out = spec.region.with_z(z, z + 1)
        source = step.summary_source(out, spec)
        if source.size:
            block = stream.take(gather.index, source)
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
        return images[0][np.newaxis] if len(images) == 1 else np.stack(images)

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
            values, figures = self._input(out)
        else:
            values, figures = self._apply(level, out)
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

    def _input(self, region: Region) -> tuple[Array, Arrays]:
        values = self._read(region)
        if values.dtype.kind != "f" or not self.work.from_source:
            return values, {}
        repaired = [repair(image) for image in values]
        counts = np.array([count for _, count in repaired])
        if counts.any():
            values = np.stack([image for image, _ in repaired])
        return values, {"bad_pixels": counts}

    def _apply(self, level: int, out: Region) -> tuple[Array, Arrays]:
        index = level - 1
        source = self.chain.step_source(index, out)
        block = self.take(index, source)
        block = block.view()
        block.flags.writeable = False
        step, spec = self.chain.steps[index], self.chain.levels[index]

        def compute(pixels: Any) -> tuple[Array, Arrays]:
            values, figures = step.apply(pixels, source, out, spec, self.chain.fitted(index))
            return to_host(values), figures

        if self._place is not None and "gpu" in step.devices:
            values, figures = self._place(compute, block)
        else:
            values, figures = compute(block)
        if values.shape != out.shape:
            message = f"{step.name} gave {values.shape} voxels where {out.shape} were asked for"
            raise StackError(message)
        return values, figures
