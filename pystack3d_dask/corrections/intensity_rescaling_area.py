"""Intensity rescaling by the mean gray level of one area: a factor per slice.

Method: mean-field normalization over a region that should look the same in every slice
(Quéméré and David, PyStack3D, JOSS 2024, step ``intensity_rescaling_area``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pystack3d_dask.core.area import Area, area_region, check_area
from pystack3d_dask.core.block import Block
from pystack3d_dask.core.charts import Chart, Lines
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import StackFit, Summaries, known
from pystack3d_dask.core.step import FitScope
from pystack3d_dask.core.traits import ReferenceLayout, ReportCharts
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.corrections.plausible import doubt_thresholds
from pystack3d_dask.errors import Problem
from pystack3d_dask.kernels.intensity.masks import check_thresholds, limits, within

LARGEST_FACTOR = 1e6
FITTED = ("means", "factors")


@dataclass(frozen=True, kw_only=True)
class IntensityRescalingArea(ReportCharts, ReferenceLayout, StackFit):
    """Multiply each slice so that an area has the same mean gray level everywhere.

    The factor of a slice is the median over all slices of the mean in the area, over the
    slice's own mean. A slice without a pixel between the thresholds keeps factor 1 and
    takes no part in the median.

    Parameters
    ----------
    area : tuple of int, optional
        ``[xmin, xmax, ymin, ymax]`` in pixels, origin bottom left; the whole image by
        default.
    threshold_min, threshold_max : float, optional
        Only pixels between them, inclusive, are averaged. Of an acquisition of integers, values
        are judged clipped and truncated to its type.
    factors_range : tuple of float
        Factors are clipped to this range.
    """

    name: ClassVar[str] = "intensity_rescaling_area"
    purpose: ClassVar[str] = "brightness jumps: gives one area the same mean in every slice"
    usual_place: ClassVar[int] = 40
    template: ClassVar[str] = """\
area = {kept}
# threshold_min = 2
# threshold_max = 250
factors_range = [0.8, 1.2]
"""
    version: ClassVar[int] = 2
    nanoseconds: ClassVar[float] = 1.0

    area: Area | None = None
    threshold_min: float | None = None
    threshold_max: float | None = None
    factors_range: tuple[float, float] = (0.8, 1.2)

    @property
    def fit_scope(self) -> FitScope:
        return "stack"

    def check(self, spec: StackSpec) -> Iterator[Problem]:
        yield from check_area(f"{self.name}.area", self.area, spec)
        yield from check_thresholds(self.name, self.threshold_min, self.threshold_max)
        yield from doubt_thresholds(self.name, self.threshold_min, self.threshold_max, spec)
        low, high = self.factors_range
        if not 0 < low <= high <= LARGEST_FACTOR:
            yield Problem(
                f"{self.name}.factors_range",
                f"[min, max] with 0 < min <= max <= {LARGEST_FACTOR:g} expected, "
                f"found {[low, high]}",
            )

    @property
    def fits_bad_slices(self) -> bool:
        return True  # each slice has a factor, and a median decides what all come to

    def summary_source(self, out: Region, spec: StackSpec) -> Region:
        return area_region(self.area, spec).with_z(out.start[0], out.stop[0])

    def summarize(self, block: Block, partial: Arrays | None = None) -> dict[int, Arrays]:
        summaries = {}
        low, high = limits(self.threshold_min, self.threshold_max, block.spec.source_dtype)
        for k, (z, image) in enumerate(block.images()):
            shown = image if block.padding is None else image[~block.padding[k]]
            mask = within(shown, low, high)
            pixels = shown if mask is None else shown[mask]
            summaries[z] = {
                "count": np.array(pixels.size),
                "total": pixels.sum(dtype=np.float64),
            }
        return summaries

    def finalize(
        self, summaries: Summaries, spec: StackSpec, partial: Arrays | None = None
    ) -> Arrays:
        count = np.zeros(spec.shape[0], np.int64)
        total = np.zeros(spec.shape[0], np.float64)
        for z, summary in summaries.items():
            count[z], total[z] = summary["count"], summary["total"]
        means = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
        return {
            "factors": area_factors(means, count > 0, self.factors_range),
            "means": means,
            "valid": count > 0,
        }

    def remarks(self, fitted: Arrays, spec: StackSpec) -> Iterator[str]:
        empty = np.flatnonzero(~fitted["valid"])
        if len(empty):
            yield (
                f"{self.name}: {spec.listed(empty)} has no pixel between the thresholds in the "
                "area and stays as it is"
            )

    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        factors = known(fitted)["factors"][block.out.start[0] : block.out.stop[0]]
        values = block.values * factors.astype(block.spec.arithmetic)[:, np.newaxis, np.newaxis]
        return values, {"factor": factors}

    def reference_outputs(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> dict[str, Array | Arrays]:
        fit = known(fitted)
        return {
            "outputs/means.npy": fit["means"],
            "outputs/factors.npy": fit["factors"],
        }

    def charts(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> Iterator[Chart]:
        if fitted is not None:
            means, factors = (np.where(fitted["valid"], fitted[k], np.nan) for k in FITTED)
            yield Lines(
                name="factors",
                title="Means in the area, and factors",
                text="Each slice is multiplied by its factor, which brings the mean in the area to "
                "the median of the stack. Where the factor is at an end of factors_range, "
                f"{self.factors_range[0]:g} or {self.factors_range[1]:g}, it does not.",
                panels={
                    "mean in the area": {"before": means, "after": means * factors},
                    "factor": {"": factors},
                },
            )


def area_factors(means: Array, valid: Array, factors_range: tuple[float, float]) -> Array:
    """Return the factor of each slice.

    Parameters
    ----------
    means : ndarray of float, shape (slices,)
        Mean gray level in the area.
    valid : ndarray of bool, shape (slices,)
        Slices that had pixels between the thresholds; others get factor 1.
    factors_range : tuple of float
        Smallest and largest factor. A valid slice of mean 0 gets factor 1 too: no factor
        can bring it to the median.

    Returns
    -------
    ndarray of float64, shape (slices,)
    """
    usable = valid & (means != 0)
    if not usable.any():
        return np.ones_like(means)
    ratio = np.divide(np.median(means[valid]), means, out=np.ones_like(means), where=usable)
    return np.where(usable, np.clip(ratio, *factors_range), 1.0)
