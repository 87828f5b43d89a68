"""Diagnostics, summaries and glimpses of a block."""

from __future__ import annotations

from dataclasses import dataclass, field

from pystack3d_dask.core.typing import Arrays


@dataclass
class BlockReport:
    """Diagnostics, summaries and glimpses of a block, beside its pixels.

    Parameters
    ----------
    figures : dict
        By level and slice: ``raw`` and ``cast``, the statistics before and after casting,
        what `clipping` returns, ``bad_pixels`` and ``blank`` on level 0, and the figures of the
        step that made the level.
    summaries : dict
        By step name and slice: what the step's `summarize` returned.
    glimpses : dict
        By level and slice: windows before and after the step that made the level.
    """

    figures: dict[int, dict[int, Arrays]] = field(default_factory=dict)
    summaries: dict[str, dict[int, Arrays]] = field(default_factory=dict)
    glimpses: dict[int, dict[int, Arrays]] = field(default_factory=dict)
