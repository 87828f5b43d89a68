"""Intensity rescaling: the declaration. Its two methods have a module each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from pystack3d_dask.core.area import check_area
from pystack3d_dask.core.block import Block
from pystack3d_dask.core.charts import Chart
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import StackFit, Summaries
from pystack3d_dask.core.step import FitScope
from pystack3d_dask.core.traits import ReferenceLayout, ReportCharts
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.corrections.histogram_matching import ALL_SLICES, HistogramMatching
from pystack3d_dask.corrections.neighbor_brightness import Anchor, NeighborBrightness
from pystack3d_dask.corrections.plausible import doubt_range, doubt_window
from pystack3d_dask.errors import Problem
from pystack3d_dask.kernels.intensity.histograms import check_bins
from pystack3d_dask.kernels.intensity.running_mean import check_window

USUAL = 10  # slices of a running mean, also in stacks that have fewer
LARGEST_LEVEL = float(np.finfo(np.float32).max)
FINEST_RANGE = 1e-9  # of the levels themselves, for which doubles can tell bins apart
MOST_NEIGHBORS = 8


@dataclass(frozen=True, kw_only=True)
class IntensityRescaling(ReportCharts, ReferenceLayout, StackFit):
    """Give each slice the brightness of the slices around it.

    Parameters
    ----------
    method : {"histogram", "neighbors"}
        Match the histogram of each slice to that of the slices around it; or compare neighboring
        slices pixel by pixel, and undo the jumps of gain and offset that this shows.
    neighbors : int
        With "neighbors": slices on each side that a slice is compared with.
    anchor : {"none", "auto"}, float or tuple of int
        With "neighbors": what tells slow changes, which are undone as well. "auto": dark and bright
        parts, where they change together, as they do with a detector that drifts
        (`kernels.intensity.slow_changes`). A gray level: the material that is brighter, which
        keeps its level then. An area ``[xmin, xmax, ymin, ymax]`` in pixels, origin bottom left:
        what it shows, which does. A preview sees too few slices to show this.
    nbins : int
        With "histogram": bins of the histograms.
    range_bins : tuple of float, optional
        Gray levels that the bins cover. Values outside are left out of the histograms, and
        mapped by going on from the outer bins. By default the range of the stack without
        outliers, such as hot pixels, and without fill values, such as black borders, see
        `kernels.intensity.gray_range`. In precision "source" the minimum and
        maximum of the stack, and values outside count in the outer bins.
    filter_size : int
        Slices in the running mean that makes the target; -1 for all of them.

    Notes
    -----
    Blank slices stay as they are and take no part in the targets of others, except in
    precision "source".

    A histogram also changes where the specimen does: its porosity is taken for brightness. Pixels
    that show the same place in neighboring slices are not misled so.
    """

    name: ClassVar[str] = "intensity_rescaling"
    purpose: ClassVar[str] = (
        "brightness jumps: compares neighboring slices pixel by pixel, "
        "or matches each slice's histogram to its neighbors'"
    )
    usual_place: ClassVar[int] = 20
    template: ClassVar[str] = """\
method = "neighbors"            # slices are compared pixel by pixel, and jumps are undone
anchor = "auto"                 # slow changes, too, where dark and bright parts change together;
                                # 120: what is brighter keeps its level, or {kept}: an area does
# method = "histogram"          # instead: each histogram becomes that of the slices around it
# filter_size = 10              # slices averaged to make it; -1: all, which also removes what
                                # really changes along z
# nbins = 256
# range_bins = [0, 255]         # by default the stack's, without fill values and outliers
"""
    nanoseconds: ClassVar[float] = 3.0
    version: ClassVar[int] = 5

    method: Literal["histogram", "neighbors"] = "histogram"
    neighbors: int = 3
    anchor: Anchor = "none"
    nbins: int = 256
    range_bins: tuple[float, float] | None = None
    filter_size: int = USUAL

    @property
    def devices(self) -> tuple[str, ...]:
        return ("cpu", "gpu")

    @property
    def fit_scope(self) -> FitScope:
        return "stack"

    @property
    def fits_bad_slices(self) -> bool:
        return self.method == "neighbors"  # where slices that are unlike others mislead none

    def check(self, spec: StackSpec) -> Iterator[Problem]:
        if not 1 <= self.neighbors <= MOST_NEIGHBORS:
            yield Problem(
                f"{self.name}.neighbors",
                f"1 to {MOST_NEIGHBORS} slices on each side expected, found {self.neighbors}",
            )
        if isinstance(self.anchor, tuple):
            yield from check_area(f"{self.name}.anchor", self.anchor, spec)
        yield from check_bins(f"{self.name}.nbins", self.nbins)
        if self.filter_size < 1 and self.filter_size != ALL_SLICES:
            yield Problem(
                f"{self.name}.filter_size",
                f"1 or more slices, or -1 for all, expected, found {self.filter_size}",
            )
        yield from check_window(f"{self.name}.filter_size", self.filter_size)
        yield from doubt_window(f"{self.name}.filter_size", self.filter_size, spec, USUAL)
        yield from doubt_range(f"{self.name}.range_bins", self.range_bins, spec)
        if self.range_bins is not None:
            yield from self._check_range(*self.range_bins)

    def scratch_bytes(self, region: Region, spec: StackSpec) -> int:
        return self._on(spec).scratch_bytes(region)

    def fit_rounds(self, spec: StackSpec) -> int:
        return self._on(spec).fit_rounds

    def summary_source(self, out: Region, spec: StackSpec) -> Region:
        return self._on(spec).summary_source(out)

    def summary_scratch_bytes(self, out: Region, spec: StackSpec) -> int:
        return self._on(spec).summary_scratch_bytes(out)

    def estimate_slices(self, shown: Collection[int], spec: StackSpec) -> set[int]:
        return self._on(spec).estimate_slices(shown)

    def summarize(self, block: Block, partial: Arrays | None = None) -> dict[int, Arrays]:
        return self._on(block.spec).summarize(block, partial)

    def finalize(
        self, summaries: Summaries, spec: StackSpec, partial: Arrays | None = None
    ) -> Arrays:
        return self._on(spec).finalize(summaries, partial)

    def remarks(self, fitted: Arrays, spec: StackSpec) -> Iterator[str]:
        yield from (f"{self.name}: {text}" for text in self._on(spec).remarks(fitted))

    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        return self._on(block.spec).apply(block, fitted), {}

    def reference_outputs(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> dict[str, Array | Arrays]:
        return self._on(spec).reference_outputs(fitted)

    def charts(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> Iterator[Chart]:
        if fitted is not None:
            yield from self._on(spec).charts(fitted)

    def _on(self, spec: StackSpec) -> HistogramMatching | NeighborBrightness:
        """Return the chosen method on a stack."""
        if self.method == "neighbors":
            return NeighborBrightness(spec=spec, neighbors=self.neighbors, anchor=self.anchor)
        return HistogramMatching(
            spec=spec,
            nbins=self.nbins,
            range_bins=self.range_bins,
            filter_size=self.filter_size,
        )

    def _check_range(self, low: float, high: float) -> Iterator[Problem]:
        path, largest = f"{self.name}.range_bins", max(abs(low), abs(high))
        if not low < high:
            yield Problem(path, f"[min, max] with min < max expected, found {[low, high]}")
        elif largest > LARGEST_LEVEL or high - low < FINEST_RANGE * largest:
            yield Problem(
                path,
                f"gray levels that are far enough apart for {self.nbins} bins between them, "
                f"{LARGEST_LEVEL:g} at most, expected, found {[low, high]}",
            )
