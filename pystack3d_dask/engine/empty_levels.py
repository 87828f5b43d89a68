"""Gray levels that no pixel of a slice has, between those in use: gaps in its histogram."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pystack3d_dask.core.chain import Chain
from pystack3d_dask.core.formatting import percent
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.kernels.backend import to_host

LOOKED_AT = {1: 2**18, 2: 2**20}  # pixels of a slice, in whole rows, by bytes of one
PER_LEVEL = 10  # pixels that levels on both sides have, or more: fewer leave some empty by chance
ASIDE = 16  # levels on either side
TAIL = 0.005  # of the pixels at either end: levels there are hardly used
MOST = 0.05  # of the levels in use that may be empty


def empty_levels(image: Any) -> Arrays:
    """Return the share of the gray levels in use that no pixel has.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Of numpy or cupy.

    Returns
    -------
    dict of ndarray
        ``empty_levels``, 0 to 1; NaN where there are too few pixels to tell. Nothing of types
        other than integers of up to 16 bits.
    """
    if image.dtype.kind not in "iu" or image.dtype.itemsize > 2 or not image.size:
        return {}
    rows = image[:: max(1, image.size // LOOKED_AT[image.dtype.itemsize])]
    values = to_host(rows).ravel().astype(np.int64)
    counts = np.bincount(values - values.min())
    below = counts.cumsum()
    used = (below > TAIL * values.size) & (below - counts < (1 - TAIL) * values.size)
    used &= _beside(counts) >= PER_LEVEL * ASIDE
    share = np.mean(counts[used] == 0) if used.any() else np.nan
    return {"empty_levels": np.array(share)}


def _beside(counts: Array) -> Array:
    """Return how many pixels have the levels next to each, on the side that has fewer."""
    window = np.ones(ASIDE, np.int64)
    summed = np.convolve(counts, window)  # those up to a level, and before
    below = np.append(0, summed)[: len(counts)]
    above = np.append(summed[ASIDE:], 0)
    return np.asarray(np.minimum(below, above))


def empty_remarks(chain: Chain, figures: Sequence[Arrays]) -> Iterator[str]:
    """Yield in which slices corrections left gaps between gray levels.

    Parameters
    ----------
    chain : Chain
        The steps.
    figures : sequence of dict
        Those of each level, by name: arrays of shape (slices, ...); empty where not known.
    """
    shares = figures[-1].get("empty_levels")
    spec = chain.source
    if shares is None or len(figures) == 1 or spec.dither or spec.precision == "source":
        return
    given = figures[0].get("empty_levels", np.zeros(1))
    usual = float(np.nanmedian(given)) if np.isfinite(given).any() else 0.0
    some = np.flatnonzero(shares > usual + MOST)  # NaN is not
    if len(some):
        yield (
            f"{percent(float(np.median(shares[some])))} of the gray levels in use are empty in "
            f"{chain.levels[-1].listed(some)}, where corrections raised the contrast of whole "
            "numbers; dither = true at the top of the parameter file fills gaps of one level"
        )
