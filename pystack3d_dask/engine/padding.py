"""Corrections of what is image alone: padding keeps its gray level, wherever it is moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.chain import Chain
from pystack3d_dask.core.step import Step
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.kernels.backend import namespace
from pystack3d_dask.kernels.padding import filled_up, moved_off

MOSTLY = 0.5  # of an interpolated pixel


def padding_found(image: Array, where: Array, levels: Sequence[float]) -> Arrays:
    """Return the shares of a slice that are padding, by gray level, as figure ``padding``."""
    return {"padding": np.array([np.mean(where & (image == level)) for level in levels])}


def padding_remarks(chain: Chain, figures: Sequence[Arrays]) -> Iterator[str]:
    """Yield which gray levels of padding no slice has.

    Parameters
    ----------
    chain : Chain
        The steps.
    figures : sequence of dict
        Those of each level, by name: arrays of shape (slices, ...); empty where not known.
    """
    level = chain.looks_for_fill
    shares = None if level is None or level >= len(figures) else figures[level].get("padding")
    for missing in () if shares is None else np.flatnonzero(shares.sum(axis=0) == 0):
        yield (
            f"fill: no slice has padding of gray level {chain.fill[missing]:g}, which would be an "
            "area that touches an edge or covers more than 0.5 % of the slice"
        )


def as_image(block: Block) -> Block:
    """Return a block as corrections see it: padding has the mean of its slice."""
    if block.padding is None:
        return block
    pairs = zip(block.values, block.padding, strict=True)
    values = namespace(block.values).stack([filled_up(*each) for each in pairs])
    return replace(block, values=values)


def corrected(
    step: Step, block: Block, fitted: Arrays | None, *, stays: bool
) -> tuple[Any, Arrays, Any]:
    """Return what a step makes of a block, and where its output is padding.

    Parameters
    ----------
    step : Step
        The correction.
    block : Block
        Its input, as it is.
    fitted : dict of ndarray, optional
        What the step works with.
    stays : bool
        Whether pixels keep their places.

    Returns
    -------
    values : ndarray, shape ``block.out.shape``
        Those of `Step.apply`, and the gray levels of padding where that is.
    figures : dict of ndarray
        Those of `Step.apply`.
    padding : ndarray of bool, shape ``block.out.shape``, or False
        Where it is; False where there is none.
    """
    levels = block.spec.fill
    values, figures = step.apply(as_image(block), fitted)
    if not levels:
        return values, figures, False
    xp = namespace(values)
    values = values.astype(np.float32)
    where = block.padding
    goes_beyond_edges = step.only_moves and step.keeps_slices and not step.keeps_values
    if where is None and not goes_beyond_edges:
        return moved_off(values, levels), figures, False
    if where is not None and stays:
        own, given = block.inside(where), block.inside(block.values)
        return xp.where(own, given, moved_off(values, levels)), figures, own
    own = _no_image(step, block, fitted)
    given = xp.full(values.shape, levels[0], np.float32)
    for level in levels[1:] if where is not None else ():
        share = _made_of(block.values == level, step, block, fitted)
        given = xp.where(share > MOSTLY, np.float32(level), given)
    return xp.where(own, given, moved_off(values, levels)), figures, own


def _no_image(step: Step, block: Block, fitted: Arrays | None) -> Any:
    """Return where a step that moves pixels has mostly padding, or nothing, to make one of."""
    every = namespace(block.values).ones(block.values.shape, bool)
    image = every if block.padding is None else ~block.padding
    usual: Any = 1.0 if step.only_moves else _made_of(every, step, block, fitted)
    return _made_of(image, step, block, fitted) < MOSTLY * usual


def _made_of(where: Any, step: Step, block: Block, fitted: Arrays | None) -> Any:
    """Return what a step makes of 1 at some places, and 0 elsewhere."""
    shown = replace(block, values=where.astype(np.float32), padding=None)
    return step.apply(shown, fitted)[0]
