"""Harm of a correction, as the report shows it."""

from __future__ import annotations

import numpy as np

from pystack3d_dask.core.charts import Table
from pystack3d_dask.core.typing import Arrays
from pystack3d_dask.engine.glimpses import known_harm
from pystack3d_dask.kernels.taken import NAMES, RUN, Harm, harm


def harm_chart(figures: Arrays) -> Table | None:
    """Return what a step took away, run by run, if that was seen.

    Parameters
    ----------
    figures : dict of ndarray, shape (slices, ...)
        Of one channel.
    """
    whole = known_harm(figures)
    if whole is None or not whole.rms:
        return None
    starts = np.flatnonzero(~np.isnan(figures[NAMES[0]]))
    by_run = [harm({name: figures[name][[z]] for name in NAMES}) for z in starts]
    every = [*by_run, whole]
    return Table(
        name="taken_away",
        title="What was taken away",
        text="Windows of slices that follow each other, before and after. A stripe is in one slice "
        "only, the specimen in its neighbors, too: what they share should stay, unless it is "
        "curtains that go on through slices. As much would be taken from turned slices where it is "
        "a specimen that looks alike in both directions; of curtains, or of upright structure, "
        "little. The squared error is that without such curtains: where it falls, slices are "
        f"better for it. In all: {_in_words(whole)}.",
        columns={
            "slices": [*(f"{z} to {z + RUN - 1}" for z in starts), "all"],
            "taken away, gray levels rms": [_rounded(each.rms) for each in every],
            "of it in neighbors, too, %": [_rounded(100 * each.share) for each in every],
            "as of slices turned by 90°, %": [_rounded(100 * each.turned) for each in every],
            "squared error, change": [_rounded(each.change) for each in every],
        },
    )


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _in_words(found: Harm) -> str:
    if np.isnan(found.uncertainty):
        return f"{found.change:+.2g} squared gray levels"
    return f"{found.change:+.2g} squared gray levels, give or take {2 * found.uncertainty:.1g}"
