"""Check of slices: which ones show something else than their neighbors, or nothing usable."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.charts import Chart, Lines
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import StackFit, Summaries, around
from pystack3d_dask.core.step import FitScope
from pystack3d_dask.core.traits import FindsBadSlices, ReportCharts
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.kernels.bad_slices.judgment import AROUND, FEWEST, REASONS, Reason, judge
from pystack3d_dask.kernels.bad_slices.slice_figures import STEPS, SliceFigures, slice_figures
from pystack3d_dask.kernels.bad_slices.tiles import tile_edges
from pystack3d_dask.kernels.bad_slices.unlikeness import unlikeness
from pystack3d_dask.kernels.registration.overlay import (
    CellView,
    cell_size,
    comparing_bytes,
    overlaid,
)

COMPARED = 2  # slices before each one that it is compared with


@dataclass(frozen=True, kw_only=True)
class SliceCheck(FindsBadSlices, ReportCharts, StackFit):
    """Find bad slices; pixels stay as they are.

    Slices that are bad take no part in the fits of later corrections, and are listed with the
    reason. `SliceRepair` replaces them, or leaves them out. A slice is compared with those
    around it alone, so that nothing that changes along z makes it bad
    (`kernels.bad_slices.judgment`): noise, blank parts, blur, brightness far off, parts that are
    shifted, the slice before once more.

    Parameters
    ----------
    channel : str
        Name of the channel that is looked at; the first one by default. A slice that is bad
        there counts as bad in all.

    Notes
    -----
    The fit has ``reason`` and ``score``, shape (slices,): a `Reason`, and how many times what is
    tolerated; above 1 for bad slices. ``is_worse`` marks those of them that interpolation between
    good slices would bring nearer to the truth. Fewer than five slices are not judged, since one
    of them cannot be told to be the odd one.

    In precision "source" bad slices are listed, but take part in all fits, as with PyStack3D.
    """

    name: ClassVar[str] = "slice_check"
    purpose: ClassVar[str] = (
        "finds bad slices by what they show (noise, blank parts, blur, wrong exposure, parts that "
        "are shifted, duplicates); they are listed, and take no part in later fits"
    )
    usual_place: ClassVar[int] = 15
    template: ClassVar[str] = """\
# channel = ""                  # the one that is looked at; by default the first
"""
    nanoseconds: ClassVar[float] = 0.1
    keeps_values: ClassVar[bool] = True
    only_moves: ClassVar[bool] = True

    channel: str = ""

    @property
    def fit_scope(self) -> FitScope:
        return "stack"

    @property
    def fit_channel(self) -> str | None:
        return self.channel

    @property
    def needs(self) -> tuple[str, ...]:
        return ()  # pixels pass through, with or without the fit

    @property
    def fits_bad_slices(self) -> bool:
        return True

    def output_spec(self, spec: StackSpec, fitted: Arrays | None = None) -> StackSpec:
        if fitted is None or spec.precision == "source":
            return spec
        return replace(spec, bad=tuple(sorted({*spec.bad, *bad_slices(fitted)})))

    def summary_source(self, out: Region, spec: StackSpec) -> Region:
        return out.with_z(max(out.start[0] - COMPARED, 0), out.stop[0])

    def summary_scratch_bytes(self, out: Region, spec: StackSpec) -> int:
        return comparing_bytes(out.shape[1:])

    def estimate_slices(self, shown: Collection[int], spec: StackSpec) -> set[int]:
        """Return the slices shown and those around them."""
        return around(shown, AROUND, spec)

    def summarize(self, block: Block, partial: Arrays | None = None) -> dict[int, Arrays]:
        found, shown = {}, block.image_or_nan
        for z in block.out.z:
            last = z - block.source.start[0]
            images = block.values[max(last - COMPARED, 0) : last + 1]
            views = [
                CellView.of(image, block.spec.ends)
                for image in shown[max(last - COMPARED, 0) : last + 1]
            ]
            unlike = [_compared(view, views[-1]) for view in reversed(views[:-1])]
            is_copy = len(images) > 1 and np.array_equal(images[-1], images[-2])
            found[z] = {
                "unlike": np.array(unlike, np.float32),
                "copy": np.array(is_copy),
                **_packed(slice_figures(images[-1], views[-1].cells)),
            }
        return found

    def finalize(
        self, summaries: Summaries, spec: StackSpec, partial: Arrays | None = None
    ) -> Arrays:
        count = spec.shape[0]
        tiles = [len(tile_edges(n // cell_size(spec.shape[1:]))) - 1 for n in spec.shape[1:]]
        unlike = np.full((COMPARED, count, *tiles), np.nan)
        is_copy = np.zeros(count, bool)
        figures = [SliceFigures(np.nan, np.nan, np.nan, np.full(2 * len(STEPS), np.nan))] * count
        for z, summary in summaries.items():
            for distance, tile in enumerate(summary["unlike"], start=1):
                if z - distance in summaries:
                    unlike[distance - 1, z] = tile
            is_copy[z] = bool(summary["copy"])
            figures[z] = _unpacked(summary)
        judged = judge(figures, unlike[0], unlike[1], is_copy)
        return {
            "reason": judged.reason,
            "score": judged.score,
            "is_worse": judged.is_worse,
            "contrast": np.array([each.contrast for each in figures]),
            "detail": np.array([each.detail[0] for each in figures]),
        }

    def bad_content(self, fitted: Arrays) -> dict[int, str]:
        return {z: REASONS[Reason(int(fitted["reason"][z]))] for z in bad_slices(fitted)}

    def remarks(self, fitted: Arrays, spec: StackSpec) -> Iterator[str]:
        count = spec.shape[0]
        bad = self.bad_content(fitted)
        if count < FEWEST:
            yield f"{self.name}: {count} slices are too few to judge one by the others"
        elif bad:
            what = "listed only" if spec.precision == "source" else "take no part in later fits"
            yield f"{self.name}: {len(bad)} of {count} slices are bad, and {what}"
        for reason in Reason:
            mine = [z for z, why in bad.items() if why == REASONS[reason]]
            if mine:
                yield f"{self.name}: {REASONS[reason]}: {spec.listed(mine)}"

    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        return block.values, {}

    def charts(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> Iterator[Chart]:
        if fitted is None:
            return
        yield Lines(
            name="bad_slices",
            title="Bad slices",
            text="How far each slice is from those around it, over what is tolerated: above 1 it "
            "is bad. Below: the contrast of slices, and the mean squared difference of pixels "
            "that lie side by side.",
            panels={
                "score": {"": fitted["score"]},
                "contrast, gray levels": {"": fitted["contrast"]},
                "detail, gray levels²": {"": fitted["detail"]},
            },
            flags=self.bad_content(fitted),
        )


def bad_slices(fitted: Arrays) -> list[int]:
    """Return the indices of the slices that a check found bad."""
    return [int(z) for z in np.flatnonzero(fitted["reason"])]


def _compared(first: CellView, second: CellView) -> Array:
    """Return how unlike two slices are, tile by tile; NaN where they cannot be compared."""
    tiles = [len(tile_edges(extent)) - 1 for extent in first.cells.shape]
    shared = overlaid(first, second)
    if shared is None:
        is_one_blank = first.thin.any() != second.thin.any()
        return np.full(tiles, 1.0 if is_one_blank else np.nan)
    found = unlikeness(*shared)
    return found if list(found.shape) == tiles else np.full(tiles, np.nan)


def _packed(figures: SliceFigures) -> Arrays:
    return {key: np.array(value) for key, value in figures._asdict().items()}


def _unpacked(summary: Arrays) -> SliceFigures:
    unknown, level, contrast = (float(summary[key]) for key in SliceFigures._fields[:3])
    return SliceFigures(unknown, level, contrast, summary["detail"])
