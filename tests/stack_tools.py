"""Small stacks, and a step run on all of one."""

from __future__ import annotations

from typing import Any

import numpy as np

from pystack3d_dask.block import run_block
from pystack3d_dask.chain import Chain, Gather, Work
from pystack3d_dask.spec import Array, Arrays, Region, StackSpec
from pystack3d_dask.step import Step


def spec_of(images: Array, precision: Any = "float32", **given: Any) -> StackSpec:
    """Return the spec of an acquisition."""
    shape = Region.full(images.shape).shape
    return StackSpec(
        shape=shape, dtype=images.dtype, source_dtype=images.dtype, precision=precision, **given
    )


def fit(step: Step, images: Array, spec: StackSpec) -> Arrays:
    """Return the stack-wide fit of a step."""
    chain, partial = Chain((step,), spec), None
    for number in range(step.fit_rounds(spec)):
        work = Work(reads=0, end=0, gathers=(Gather(0, number),))
        known = {} if partial is None else {step.name: partial}
        report = run_block(
            chain, work, spec.region, lambda region: images[region.slices], lambda *_: None, known
        )
        partial = step.finalize(report.summaries[step.name], spec, partial)
    return partial or {}


def correct(
    step: Step, images: Array, spec: StackSpec | None = None, blocks: list[Region] | None = None
) -> Array:
    """Return what a step makes of a stack, cast as its output spec says."""
    spec = spec or spec_of(images)
    chain = Chain((step,), spec)
    if step.fit_scope == "stack":
        chain = chain.with_fits({step.name: fit(step, images, spec)})
    out = chain.levels[1]
    values = np.empty(out.shape, out.dtype)
    for block in blocks or [out.region]:

        def emit(level: int, z: int, image: Array, block: Region = block) -> None:
            values[block.with_z(z, z + 1).slices] = image

        run_block(
            chain,
            Work(reads=0, end=1, stores=(1,)),
            block,
            lambda region: images[region.slices],
            emit,
        )
    return values
