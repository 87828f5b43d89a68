"""One pass on one block: slices stream through the steps in a rolling window.

Arrays come in through ``read`` and go out through ``emit``; there is no other input or
output here, and no scheduling. The engine and the lazy face both run this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.block_report import BlockReport
from pystack3d_dask.core.chain import Chain, Gather, Work, demands, halo_depth
from pystack3d_dask.core.spec import Region
from pystack3d_dask.core.stack_fit import ALL_PADDING, stack_fit
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.engine.clipping import clipping
from pystack3d_dask.engine.empty_levels import empty_levels
from pystack3d_dask.engine.glimpses import glimpse, is_seen
from pystack3d_dask.engine.padding import as_image, corrected, padding_found
from pystack3d_dask.errors import StackError
from pystack3d_dask.kernels.backend import NoRoomError, Send, namespace, to_host
from pystack3d_dask.kernels.casting import cast, cast_measured, repair
from pystack3d_dask.kernels.dither import dithered
from pystack3d_dask.kernels.padding import has_one_of, padding

LOG = logging.getLogger("pystack3d_dask")
Result = TypeVar("Result")
Read = Callable[[Region], Array]
Emit = Callable[[int, int, Array], None]
Place = Callable[[Callable[[Send], Any]], Any]
Partials = dict[str, Arrays]


def run_block(
    chain: Chain,
    work: Work,
    block: Region,
    read: Read,
    emit: Emit,
    partials: Partials | None = None,
    place: Place | None = None,
    *,
    measures: bool = True,
    deliver: Send = to_host,
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
        `kernels.backend.compute_on_gpu`. What they return stays there until a step that
        cannot, a fit or ``emit`` needs it. Slices go there one by one, small ones are computed
        in batches (`Step.gpu_batch`), which are halved where there is no room; where there is
        none for one slice, the CPU computes the step for the rest of the block.
    measures : bool
        Whether figures are wanted.
    deliver : callable
        Sends stored slices to where ``emit`` wants them: arrays of NumPy by default.

    Returns
    -------
    BlockReport
    """
    stream = _Stream(chain, work, block, read, place, measures)
    report = BlockReport(summaries={chain.steps[g.index].name: {} for g in work.gathers})
    batch = max(1, halo_depth(chain, work))
    start, stop = block.z.start, block.z.stop
    for first in range(start, stop, batch):
        part = block.with_z(first, min(first + batch, stop))
        wanted = demands(chain, work, part)
        for level in work.stores:
            frame = block if level == work.end else chain.levels[level].region
            for z in wanted[level].owned:
                image = stream.take(level, frame.with_z(z, z + 1))[0]
                image = deliver(stream.stored(level, z, image))
                stream.measure_levels(level, z, image)
                emit(level, z, image)
        for gather in work.gathers:
            found = _summarize(stream, gather, wanted[gather.index].owned, partials or {})
            report.summaries[chain.steps[gather.index].name].update(found)
        stream.forget(block.with_z(part.z.stop, stop))
    if work.stores:
        report.figures = stream.figures
        report.glimpses = stream.glimpses
    return report


def _summarize(
    stream: _Stream, gather: Gather, slices: range, partials: Partials
) -> dict[int, Arrays]:
    step, spec = stack_fit(stream.chain.steps[gather.index]), stream.chain.levels[gather.index]
    found: dict[int, Arrays] = {}
    for z in slices:
        out = spec.region.with_z(z, z + 1)
        source = step.summary_source(out, spec)
        if source.size:
            block = stream.block(gather.index, source, out, to_host)
            own = step.summarize(as_image(block), partials.get(step.name))
            if z in own and block.is_all_padding(z):
                own[z] = {**own[z], ALL_PADDING: np.array(True)}
            found |= own
    return found


def as_it_is(image: Any) -> Any:
    """Leave an image where it is."""
    return image


class _Stream:
    """The rolling windows of one block: computes slices when asked, keeps those still needed."""

    def __init__(
        self,
        chain: Chain,
        work: Work,
        block: Region,
        read: Read,
        place: Place | None,
        measures: bool,
    ) -> None:
        self.chain = chain
        self.work = work
        self._place = place
        self._batches: dict[str, int] = {}  # by step, slices that the GPU takes at once
        self._no_room: set[str] = set()  # what the GPU cannot take
        self.figures: dict[int, dict[int, Arrays]] = {}
        self.glimpses: dict[int, dict[int, Arrays]] = {}
        self._read = read
        self._region = block
        self._block = demands(chain, work, block)
        self._windows: dict[int, dict[int, Array]] = {level: {} for level in self._block}
        self._padding: dict[int, dict[int, Any]] = {level: {} for level in self._block}
        first = work.reads if work.from_source else work.reads + 1
        self._measured = range(first, max(work.stores, default=-1) + 1) if measures else range(0)

    def take(self, level: int, region: Region, send: Send = as_it_is) -> Any:
        """Return a region of a level, computing the slices that are not there yet.

        Slices are sent to where they are needed one by one, and stay there. Several must be sent
        to one place.
        """
        self._provide(level, region.z)
        return self._cut(self._windows[level], level, region, send)

    def block(self, level: int, source: Region, out: Region, send: Send) -> Block:
        """Return a region of a level as the input of a correction; its pixels are read-only."""
        pixels = self.take(level, source, send)
        if isinstance(pixels, np.ndarray):
            pixels = pixels.view()
            pixels.flags.writeable = False
        spec, where = self.chain.levels[level], None
        if spec.fill:
            where = self._cut(self._padding[level], level, source, send)
            where = where if where.any() else None
        return Block(pixels, source, out, spec, where)

    def _cut(self, window: dict[int, Any], level: int, region: Region, send: Send) -> Any:
        for z in region.z:
            window[z] = send(window[z])
        _, rows, columns = region.relative_to(self._block[level].region).slices
        images = [window[z][rows, columns] for z in region.z]
        return images[0][np.newaxis] if len(images) == 1 else namespace(images[0]).stack(images)

    def stored(self, level: int, z: int, image: Any) -> Any:
        """Return a slice of a level in the type that it is stored in."""
        spec, dtype = self.chain.levels[level], self.chain.result_dtype
        if not self.work.finishes or level != self.work.end or spec.dtype == dtype:
            return image

        def cast(image: Any) -> tuple[Any, Array, Array]:
            if spec.dither and dtype.kind in "iu":
                given, image = image, dithered(image, z, self._region.start[1:])
                if spec.fill:
                    image = namespace(image).where(has_one_of(given, spec.fill), given, image)
            return cast_measured(image, dtype, spec.precision)

        if namespace(image) is np:
            stored, before, after = cast(image)
        else:
            stored, before, after = self._placed("casting", lambda send: cast(send(image)))
        if level in self._measured:
            own = self.figures[level][z]
            own["cast"] = after
            own |= clipping(image, stored, before, spec.precision)
        return stored

    def measure_levels(self, level: int, z: int, image: Any) -> None:
        """Note how a slice of the result uses the gray levels of its type."""
        if self.work.finishes and level == self.work.end and level in self._measured:
            self.figures[level][z] |= empty_levels(image)

    def forget(self, rest: Region) -> None:
        """Drop the slices that the ``rest`` of the block does not need."""
        wanted = demands(self.chain, self.work, rest) if rest.size else {}
        for level, window in self._windows.items():
            region = wanted[level].region if level in wanted else None
            for z in [z for z in window if region is None or z < region.start[0]]:
                del window[z]
                self._padding[level].pop(z, None)

    def _provide(self, level: int, slices: range) -> None:
        missing = [z for z in slices if z not in self._windows[level]]
        if missing:
            self._compute(level, range(missing[0], missing[-1] + 1))

    def _compute(self, level: int, slices: range) -> None:
        out = self._block[level].region.with_z(slices.start, slices.stop)
        if level == self.work.reads:
            self._keep(level, slices, *self._input(out))
            return
        step = self.chain.steps[level - 1]
        if self._place is None or "gpu" not in step.devices or step.name in self._no_room:
            self._apply(level, out, to_host)
            return
        batch = self._batches.setdefault(step.name, step.gpu_batch(self.chain.levels[level - 1]))
        slices = self._with_next(level, slices, batch)
        out = out.with_z(slices.start, slices.stop)
        # what all need at once, which may be less work; then in batches, which take less room
        self._provide(level - 1, self.chain.step_source(level - 1, out).z)
        while slices:
            some = slices[: self._batches[step.name]]
            if self._is_computed_there(level, out.with_z(some.start, some.stop)):
                slices = slices[len(some) :]

    def _with_next(self, level: int, slices: range, batch: int) -> range:
        """Return slices of a level, and those after them that the block lacks: a batch of them."""
        wanted = self._needed[level] - self._windows[level].keys()
        stop = slices.stop
        while stop - slices.start < batch and stop in wanted:
            stop += 1
        return range(slices.start, stop)

    @cached_property
    def _needed(self) -> dict[int, set[int]]:
        """Slices of each level that the block needs: resampling may leave some out."""
        needed: dict[int, set[int]] = {level: set() for level in self._block}
        for z in self._region.z:
            one = self._region.with_z(z, z + 1)
            for level, demand in demands(self.chain, self.work, one).items():
                needed[level].update(demand.region.z)
        return needed

    def _is_computed_there(self, level: int, out: Region) -> bool:
        """Compute slices on the GPU; where it has no room, halve the batch and return False.

        What it has no room for one of is computed on the CPU.
        """
        name, count = self.chain.steps[level - 1].name, len(out.z)
        compute = partial(self._apply, level, out)
        if count == 1 or self._place is None:
            self._placed(name, compute)
            return True
        try:
            self._place(compute)
        except NoRoomError as error:
            self._batches[name] = count // 2
            LOG.info("%s: no room for %d slices at once on the GPU: %s", name, count, error)
            return False
        return True

    def _placed(self, what: str, compute: Callable[[Send], Result]) -> Result:
        """Compute on the GPU; on the CPU, if that has, or had, no room for it."""
        if self._place is not None and what not in self._no_room:
            try:
                found: Result = self._place(compute)
            except NoRoomError as error:
                message = "%s: computed on the CPU, for the GPU has no room for it: %s"
                LOG.warning(message, what, error)
                self._no_room.add(what)
            else:
                return found
        return compute(to_host)

    def _input(self, region: Region) -> tuple[Array, Arrays]:
        values = self._read(region)
        if values.dtype.kind != "f" or not self.work.from_source:
            return values, {}
        repaired = [repair(image) for image in values]
        counts = np.array([count for _, count in repaired])
        if counts.any():
            values = np.stack([image for image, _ in repaired])
        pixels = values.shape[1] * values.shape[2]
        return values, {"bad_pixels": counts, "blank": counts == pixels}

    def _apply(self, level: int, out: Region, send: Send) -> None:
        """Compute slices of a level where ``send`` sends their input."""
        index = level - 1
        source = self.chain.step_source(index, out)
        step, shapes = self.chain.steps[index], [self.chain.levels[k].shape for k in (index, level)]
        block = self.block(index, source, out, send)
        is_in_place = step.keeps_values or not step.only_moves
        stays = shapes[0] == shapes[1] and step.keeps_slices and is_in_place
        values, figures, where = corrected(step, block, self.chain.fitted(index), stays=stays)
        if values.shape != out.shape:
            message = f"{step.name} gave {values.shape} voxels where {out.shape} were asked for"
            raise StackError(message)
        self._keep(level, out.z, values, figures, where)
        if step.takes_what_is_new:
            self._glimpse(level, block, values)

    def _glimpse(self, level: int, block: Block, values: Any) -> None:
        """Note windows of the slices by which it is judged what a step took away."""
        slices = self.chain.levels[level].shape[0]
        for z in block.out.z:
            if self._is_measured(level, z) and is_seen(z, slices):
                self.glimpses.setdefault(level, {})[z] = glimpse(block, values, z)

    def _is_measured(self, level: int, z: int) -> bool:
        return level in self._measured and z in self._block[level].owned

    def _keep(
        self, level: int, slices: range, values: Array, figures: Arrays, where: Any = None
    ) -> None:
        spec = self.chain.levels[level]
        if spec.fill:
            self._keep_padding(level, slices, values, where)
        for offset, z in enumerate(slices):
            raw = values[offset]
            if self._is_measured(level, z):
                own = {name: array[offset] for name, array in figures.items()}
                image, own["raw"], own["cast"] = cast_measured(raw, spec.dtype, spec.precision)
                own |= clipping(raw, image, own["raw"], spec.precision)
                own |= empty_levels(image) if level == 0 else {}
                if level == self.chain.looks_for_fill:
                    own |= padding_found(to_host(raw), self._padding[level][z], spec.fill)
                self.figures.setdefault(level, {})[z] = own
            else:
                image = cast(raw, spec.dtype, spec.precision)
            self._windows[level][z] = image

    def _keep_padding(self, level: int, slices: range, values: Any, where: Any) -> None:
        """Note where slices are padding, which is known if a correction has just made them."""
        fill = self.chain.fill
        for offset, z in enumerate(slices):
            image = values[offset]
            if level == self.chain.looks_for_fill:
                found = padding(to_host(image), fill)
            elif where is None:  # as it was stored
                found = has_one_of(image, fill)
            elif where is False:
                found = namespace(image).zeros(image.shape, bool)
            else:
                found = where[offset]
            self._padding[level][z] = found
