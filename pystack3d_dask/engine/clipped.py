"""Remarks on pixels that lost their value at the limits of a type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pystack3d_dask.core.chain import Chain
from pystack3d_dask.core.formatting import percent
from pystack3d_dask.core.typing import Array, Arrays

LEAST = 0.001  # of the pixels of the stack: less is noise
LEAST_IN_SLICE = 0.01  # of the pixels of a slice


def clipped_remarks(chain: Chain, figures: Sequence[Arrays]) -> Iterator[str]:
    """Yield which share of the pixels of a channel casts clipped, in which slices, and why.

    Parameters
    ----------
    chain : Chain
        The steps, with the fits that are known.
    figures : sequence of dict
        Those of each level, by name: arrays of shape (slices, ...); empty where not known.

    Yields
    ------
    str
        Pixels that were at the limit before are not counted, as far as their number tells.
    """
    before: Array | None = None
    for level, known in enumerate(figures):
        if "at_limits" not in known:
            continue
        shares = known["at_limits"]
        if level:
            new = np.minimum(known["clipped"], shares - _aligned(before, shares))
            for end in (0, 1):
                yield from _remark(chain, level, end, new[:, end], figures)
        before = shares


def _aligned(before: Array | None, shares: Array) -> Array:
    """Return shares of an earlier level by slice; their mean where slices are others by now."""
    if before is None:
        return np.zeros(shares.shape)
    return before if len(before) == len(shares) else np.nan_to_num(before).mean(axis=0)


def _remark(
    chain: Chain, level: int, end: int, shares: Array, figures: Sequence[Arrays]
) -> Iterator[str]:
    shares = np.maximum(np.nan_to_num(shares), 0)
    total, worst = float(shares.mean()), int(np.argmax(shares))
    if total < LEAST and shares[worst] < LEAST_IN_SLICE:
        return
    limits, spec = np.iinfo(chain.result_dtype), chain.levels[level]
    limit = (limits.min, limits.max)[end]
    some = np.flatnonzero(shares >= LEAST)
    where = "all slices" if len(some) == len(shares) else spec.listed(some)
    yield (
        f"{_origin(chain, level, end, limit, figures)}: values "
        f"{('below', 'above')[end]} the range of {limits.dtype} were clipped by the "
        f"{'final cast' if spec.precision == 'float32' else 'cast after the step'}: "
        f"{percent(total)} of the pixels are at {limit} that were not, in {where}; the most, "
        f"{percent(float(shares[worst]))}, in {spec.listed([worst])}"
    )


def _origin(chain: Chain, level: int, end: int, limit: int, figures: Sequence[Arrays]) -> str:
    """Return the name of the first step that left values beyond a limit."""
    if chain.levels[level].precision == "source":
        return chain.steps[level - 1].name
    for step, known in zip(chain.steps[:level], figures[1:], strict=False):
        extremes = known.get("raw")
        if extremes is None:
            continue
        beyond = extremes[:, 0] < limit - 0.5 if end == 0 else extremes[:, 1] > limit + 0.5
        if beyond.any():
            return step.name
    return chain.steps[level - 1].name
