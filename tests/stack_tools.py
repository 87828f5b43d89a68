"""Small stacks, a step run on all of one, and slices in known poses."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from pystack3d_dask.core.chain import Chain, Gather, Work
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import Summaries, fitted_in_rounds, stack_fit
from pystack3d_dask.core.step import Fits, Step
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.engine.block import run_block


def spec_of(images: Array, precision: Any = "float32", **given: Any) -> StackSpec:
    """Return the spec of an acquisition."""
    shape = Region.full(images.shape).shape
    return StackSpec(
        shape=shape, dtype=images.dtype, source_dtype=images.dtype, precision=precision, **given
    )


def fit(step: Step, images: Array, spec: StackSpec, fill: tuple[float, ...] = ()) -> Arrays:
    """Return the stack-wide fit of a step."""
    chain = Chain((step,), spec, fill=fill)

    def look(number: int, partial: Arrays | None) -> Summaries:
        work = Work(reads=0, end=0, gathers=(Gather(0, number),))
        known = {} if partial is None else {step.name: partial}
        report = run_block(
            chain, work, spec.region, lambda region: images[region.slices], lambda *_: None, known
        )
        return report.summaries[step.name]

    return fitted_in_rounds(stack_fit(step), chain.levels[0], look)


def correct(
    step: Step,
    images: Array,
    spec: StackSpec | None = None,
    blocks: list[Region] | None = None,
    fits: Fits | None = None,
    fill: tuple[float, ...] = (),
) -> Array:
    """Return what a step makes of a stack, cast as its output spec says; it may need ``fits``."""
    spec = spec or spec_of(images)
    chain = Chain((step,), spec, fits or {}, fill=fill)
    if step.fit_scope == "stack":
        chain = chain.with_fits({step.name: fit(step, images, spec, fill)})
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


def registration_fit(
    pairwise: Array, shape: tuple[int, int], grid: tuple[int, int] = (1, 1)
) -> Arrays:
    """Return a fit of registration_calculation on whole images of ``shape``."""
    pairwise = np.asarray(pairwise, float)
    return {
        "pairwise": pairwise,
        "correlation": np.ones(pairwise.shape[:2]),
        "foreground": np.zeros(pairwise.shape[:2]),
        "origin": np.array([0, 0]),
        "grid": np.array(grid),
        "first": np.array([0, 0]),
        "size": np.array([shape[0] // grid[0], shape[1] // grid[1]]),
    }


def turned(angle: float, center: tuple[float, float], shift: tuple[float, float]) -> Array:
    """Return the matrix that turns by degrees about a center (x, y), then shifts."""
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    turn = np.array([[c, -s], [s, c]])
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = np.array(center) - turn @ center + shift
    return matrix


def posed(poses: list[Array], shape: tuple[int, int], seed: int = 0) -> Array:
    """Return slices that show one texture: what is at q in the first is at ``pose q`` in each."""
    margin = 40
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=[n + 2 * margin for n in shape]), 2.5)
    texture = ndimage.spline_filter(125 + 30 * noise / noise.std())
    y, x = np.mgrid[: shape[0], : shape[1]]
    images = []
    for pose in poses:
        columns, rows, _ = np.tensordot(np.linalg.inv(pose), [x, y, np.ones(shape)], axes=1)
        places = [rows + margin, columns + margin]
        images.append(ndimage.map_coordinates(texture, places, prefilter=False))
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def largest_error(found: Array, expected: Array, shape: tuple[int, int]) -> float:
    """Return how far apart two matrices take the corners of an image, in pixels."""
    corners = np.array([[x, y, 1] for x in (0, shape[1] - 1) for y in (0, shape[0] - 1)])
    difference = (np.asarray(found) - expected) @ corners.T
    return float(np.hypot(difference[0], difference[1]).max())
