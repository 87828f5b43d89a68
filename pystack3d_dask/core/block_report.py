"""Diagnostics and summaries of a block."""

from __future__ import annotations

from dataclasses import dataclass, field

from pystack3d_dask.core.typing import Arrays


@dataclass
class BlockReport:
    """Diagnostics and summaries of a block, beside its pixels.

    Parameters
    ----------
    figures : dict
        By level and slice: ``raw`` and ``cast``, the statistics before and after casting,
        what `clipping` returns, ``bad_pixels`` and ``blank`` on level 0, and the figures of the
        step that made the level.
    summaries : dict
        By step name and slice: what the step's `summarize` returned; and `glimpses` of slices
        before and after steps.
    """

    figures: dict[int, dict[int, Arrays]] = field(default_factory=dict)
    summaries: dict[str, dict[int, Arrays]] = field(default_factory=dict)
