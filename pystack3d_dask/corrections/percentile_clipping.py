"""Percentile clipping: the gray levels between two percentiles fill the whole range.

Method: contrast stretching (Gonzalez and Woods, Digital Image Processing, section 3.2), as
`skimage.exposure.rescale_intensity` does it between percentiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import Summaries, known
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.corrections.levels import full_range
from pystack3d_dask.corrections.scoped import Scoped
from pystack3d_dask.errors import Problem
from pystack3d_dask.kernels.intensity.histograms import added_counts, count_levels
from pystack3d_dask.kernels.intensity.quantiles import (
    Limits,
    of_sorting_keys,
    ranked,
    ranks,
    sorting_keys,
)
from pystack3d_dask.kernels.jit import compiled

LEADING = np.uint32(16)  # bits of a float that are counted in the first round
HALF = np.uint32((1 << 16) - 1)


@dataclass(frozen=True, kw_only=True)
class PercentileClipping(Scoped):
    """Make one percentile black and another white; what lies beyond is clipped.

    Black and white are the ends of the type of the acquisition, 0 and 1 of a stack of
    floats.

    Parameters
    ----------
    percentiles : tuple of float
        Of the gray levels, 0 to 100.
    scope : {"stack", "slice"}
        Percentiles of the whole stack, or of each slice: then a slice that shows something
        bright gets darker.

    Notes
    -----
    Percentiles are exact, linear between neighboring values. Those of a stack of
    integers are of values rounded to its type, so that one look at it is enough; floats
    are looked at twice, by their leading bits and by the others. A stack, or slice, whose
    two percentiles are the same stays as it is.
    """

    name: ClassVar[str] = "percentile_clipping"
    purpose: ClassVar[str] = (
        "exposure: contrast between two percentiles, of the stack or of each slice"
    )
    usual_place: ClassVar[int] = 90
    template: ClassVar[str] = """\
percentiles = [0.5, 99.5]       # gray levels that become black and white
scope = "stack"                 # percentiles of all slices; "slice": of each
"""
    nanoseconds: ClassVar[float] = 2.0

    percentiles: Limits = (0.5, 99.5)

    def check(self, spec: StackSpec) -> Iterator[Problem]:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            yield Problem(
                f"{self.name}.percentiles",
                f"[low, high] with 0 <= low < high <= 100 expected, found {[low, high]}",
            )

    def fit_rounds(self, spec: StackSpec) -> int:
        return 1 if spec.is_integer else 2

    def summary_scratch_bytes(self, out: Region, spec: StackSpec) -> int:
        return 0 if spec.is_integer else 16 * out.shape[1] * out.shape[2]

    def summarize(self, block: Block, partial: Arrays | None = None) -> dict[int, Arrays]:
        return {z: _count(image, block.spec, partial) for z, image in block.image_pixels()}

    def finalize(
        self, summaries: Summaries, spec: StackSpec, partial: Arrays | None = None
    ) -> Arrays:
        if spec.is_integer:
            levels, counts = added_counts(summaries.values(), spec.source_dtype)
            ends, fraction = ranks(int(counts.sum()), self.percentiles)
            found = levels[ranked(counts, ends)[0]]
        elif partial is None:
            counts = np.zeros(int(HALF) + 1, np.int64)
            for summary in summaries.values():
                counts[summary["leading"]] += summary["counts"]
            ends, fraction = ranks(int(counts.sum()), self.percentiles)
            leading, rank = ranked(counts, ends)
            return {"leading": leading, "rank": rank, "fraction": fraction}
        else:
            found, fraction = _by_all_bits(summaries, partial), partial["fraction"]
        low, high = (float(value) for value in _between(found, fraction))
        return {"limits": np.array([low, high])}

    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        if self.scope == "slice":
            pixels = (own for _, own in block.image_pixels())
            limits = np.array([np.percentile(own, self.percentiles) for own in pixels])
        else:
            limits = np.tile(known(fitted)["limits"], (len(block.values), 1))
        values = np.empty(block.values.shape, block.spec.arithmetic)
        for image, (low, high), result in zip(block.values, limits, values, strict=True):
            if low < high:
                _stretch(image, low, high, *full_range(block.spec), result)
            else:
                result[:] = image
        return block.inside(values), {"limits": limits}


def _count(image: Array, spec: StackSpec, partial: Arrays | None) -> Arrays:
    if spec.is_integer:
        return count_levels(image, spec.source_dtype)
    keys = sorting_keys(image).ravel()
    leading = keys >> LEADING
    if partial is None:
        counts = np.bincount(leading)
        occurring = np.flatnonzero(counts)
        return {"leading": occurring, "counts": counts[occurring]}
    found = {}
    for each in np.unique(partial["leading"]):
        trailing, counts = np.unique(keys[leading == each] & HALF, return_counts=True)
        found[f"trailing{each}"], found[f"counts{each}"] = trailing, counts
    return found


def _by_all_bits(summaries: Summaries, partial: Arrays) -> Array:
    """Return the values of the ranks whose leading bits are known."""
    counts = {int(each): np.zeros(int(HALF) + 1, np.int64) for each in partial["leading"].flat}
    for summary in summaries.values():
        for each, total in counts.items():
            total[summary[f"trailing{each}"]] += summary[f"counts{each}"]
    keys = [
        (each << int(LEADING)) + int(ranked(counts[each], rank)[0])
        for each, rank in zip(
            partial["leading"].ravel().tolist(), partial["rank"].flat, strict=True
        )
    ]
    values = of_sorting_keys(np.array(keys, np.uint32))
    return values.reshape(partial["leading"].shape)


def _between(ends: Array, fraction: Array) -> Array:
    below, above = ends.astype(np.float64)
    return np.asarray(below + (above - below) * fraction)


@compiled()
def _stretch(image: Array, low: float, high: float, black: float, white: float, out: Array) -> None:
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            value = min(max(float(image[y, x]), low), high)
            out[y, x] = black + (value - low) / (high - low) * (white - black)
